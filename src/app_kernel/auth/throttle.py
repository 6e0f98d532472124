"""How failed logins hold back the next ones: the limits, and whose failures count."""

from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address

PER_ACCOUNT = 10
"""Failed logins that one account takes in a window."""
PER_NETWORK = 30
"""Failed logins that one address takes in a window, over all accounts."""
WINDOW = timedelta(seconds=60)
KEEP_FAILURES = timedelta(hours=1)
KNOWN_FOR = timedelta(days=30)
"""How long an address from which the account signed in is held back by its own failures only."""


def network_of(address: str | None) -> str | None:
    """What a client's failures are counted under: its IPv4 address, or the /64 of an IPv6 one, which is one subscriber.

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


def window_around(instant: datetime) -> tuple[datetime, datetime]:
    """The first and last instant whose failures count now.

    It ends a window ahead: another process's clock may run ahead of ours, but one that jumped by hours must not lock
    accounts for hours.
    """
    return instant - WINDOW, instant + WINDOW


def seconds_until_free(oldest_that_counts: datetime, instant: datetime) -> int:
    """Whole seconds after which the failure that fills the limit no longer counts, 1 to 60."""
    left = (oldest_that_counts + WINDOW - instant).total_seconds()
    return min(max(int(left) + 1, 1), int(WINDOW.total_seconds()))
