"""Who stands behind an IP address, as far as counting what they do is concerned."""

from ipaddress import IPv6Address, ip_address


def network_of(address: str | None) -> str | None:
    """What a client is counted under: its IPv4 address, or the /64 of an IPv6 one, which is one subscriber.

    An IPv4 address inside IPv6 (::ffff:a.b.c.d) counts as the IPv4 address. None when the address is not known or no
    IP address, such as the peer of a Unix socket.
    """
    if address is None:
        return None
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
