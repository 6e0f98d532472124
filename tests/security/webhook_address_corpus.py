"""Places that webhooks must never be sent to, however they are written or named.

The kinds are those of OWASP's cheat sheet on server-side request forgery, PortSwigger's URL validation bypasses and the
IANA special-purpose registries, and what cloud machines serve to themselves.
"""

ADDRESSES = (
    # This machine, and "this network".
    "127.0.0.1", "127.0.0.2", "127.1.2.3", "127.255.255.254", "0.0.0.0", "0.0.0.1", "0.255.255.255",
    # Private, shared and link-local networks.
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255", "100.64.0.1",
    "100.127.255.254", "169.254.0.1", "169.254.255.254",
    # What a machine in a cloud may know of itself: AWS and most others, ECS, Alibaba, Oracle, Azure.
    "169.254.169.254", "169.254.170.2", "169.254.169.123", "100.100.100.200", "192.0.0.192", "168.63.129.16",
    # Protocols, documentation, benchmarks, relays, multicast, reserved, broadcast.
    "192.0.0.1", "192.0.0.8", "192.0.0.170", "192.0.2.1", "198.51.100.7", "203.0.113.9", "192.31.196.1", "192.52.193.1",
    "192.88.99.1", "192.175.48.1", "198.18.0.1", "198.19.255.255", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255",
    # IPv6: this machine, unspecified, unique local, link-local, site-local, multicast, discard-only, dummy.
    "::1", "::", "fc00::1", "fd00::1", "fd12:3456:789a::1", "fe80::1", "fe80::1%lo", "febf::1", "fec0::1", "ff02::1",
    "ff05::2", "100::1", "100:0:0:1::1", "5f00::1", "4000::1", "8000::1",
    # Metadata again.
    "fd00:ec2::254", "fd20:ce::254",
    # IPv4 inside IPv6: mapped, compatible, translated, 6to4, Teredo, NAT64, ISATAP.
    "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0",
    "::ffff:192.168.1.1", "::ffff:100.64.0.1", "::127.0.0.1", "::10.0.0.1", "::7f00:1", "::ffff:0:127.0.0.1",
    "2002:7f00:1::", "2002:0a00:1::1", "2002:a9fe:a9fe::", "2002:c0a8:101::1", "2001::1", "2001:0:7f00:1::",
    "2001:0:4136:e378:8000:63bf:80ff:fffe", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe",
    "64:ff9b::192.168.0.1", "64:ff9b:1::1", "64:ff9b:1::7f00:1", "2a00:1450::5efe:127.0.0.1",
    "2a00:1450::200:5efe:10.0.0.1",
    # Documentation, benchmarks, ORCHID, AS112.
    "2001:db8::1", "3fff::1", "2001:2::1", "2001:10::1", "2001:20::1", "2620:4f:8000::1",
)  # fmt: skip
"""What a name may resolve to."""

PUBLIC = (
    "93.184.215.14", "1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1",
    "192.167.255.255", "11.0.0.1", "223.255.255.255", "169.253.255.255", "2606:4700:4700::1111", "2a00:1450:4001::1",
    "64:ff9b::1.1.1.1", "::ffff:8.8.8.8",
)  # fmt: skip
"""What it may well be."""

NUMBERS = (
    "2130706433", "017700000001", "0x7f000001", "0x7F.0x0.0x0.0x1", "0177.0.0.1", "0177.0.0.01", "127.1", "127.0.1",
    "0x7f.1", "0", "0.0", "0x0", "00000177.1", "127.00000.00000.1", "0xa9fea9fe", "2852039166", "025177524776",
    "0xa.0.0.1", "10.1", "192.168.1", "3232235521", "0300.0250.0.1", "1.0x100000001", "127.0.0.1.", "127.0.0.256",
    "1.2.3.4.5", "0x", "08.8.8.8",
)  # fmt: skip
"""Hosts that a parser of URLs or the C library may take for an address, or that are none at all."""

NAMES = (
    "localhost", "LOCALHOST", "LocalHost", "localhost.", "localhost.localdomain", "a.localhost", "db.localhost",
    "ip6-localhost", "ip6-loopback", "router.local", "printer.LOCAL", "vault.internal", "metadata.google.internal",
    "metadata.goog.internal", "kubernetes.default.svc.cluster.local", "host.docker.internal", "gateway.home.arpa",
    "nas.lan", "wiki.corp", "intranet", "database", "redis", "metadata", "api.intranet", "box.home", "x.private",
    "abcdefghijklmnop.onion", "nothing.invalid",
)  # fmt: skip
"""Names that say themselves that they are not of the public internet."""

URLS = (
    # Other schemes, and none.
    "file:///etc/passwd", "file://localhost/etc/passwd", "gopher://example.com:70/_x", "ftp://example.com/x",
    "unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun%2Fdocker.sock/x", "dict://example.com:2628/d",
    "ldap://example.com/x", "jar:http://example.com!/x", "data:text/plain,x", "javascript:alert(1)", "ws://example.com",
    "netdoc:///etc/passwd", "tftp://example.com/x", "smb://example.com/x", "ssh://example.com", "//example.com/x",
    "example.com/x", "/x", "", "https:", "https://", "https:///x", "https:example.com", "https:/example.com",
    "http:\\\\a.b",
    # Users, and who would be whose host.
    "https://user@example.com/", "https://user:secret@example.com/", "https://example.com@127.0.0.1/",
    "https://127.0.0.1@example.com/", "https://example.com:443@127.0.0.1/", "https://@example.com/",
    "https://example.com\\@127.0.0.1/", "https://127.0.0.1\\@example.com/", "https://example.com#@127.0.0.1/",
    "https://127.0.0.1#.example.com/", "https://example.com/#fragment", "https://a@b@127.0.0.1/",
    # What one parser drops and another one keeps.
    " https://example.com/", "https://example.com/ ", "https://exam ple.com/", "https://example.com\t/",
    "https://example.com/\r\nHost: 127.0.0.1", "https://example.com/a b", "https://example.com/\x00", "\thttps://example.com",
    "https://127.0.0.1\u3002/", "https://\uff11\uff12\uff17.0.0.1/", "https://\u2460\u2461\u2466.0.0.1/",
    "https://loc\u00adalhost/", "https://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/",
    "https://localhost%00.example.com/", "https://127.0.0.1%2f@example.com/", "https://%31%32%37.0.0.1/",
    "https://exa%6dple.com/", "https://[::1/", "https://::1/", "https://[127.0.0.1]/", "https://[::1%25lo]/",
    "https://[fe80::1%lo]/", "https://[v1.fe80::a]/", "https://[]/", "https://.example.com/", "https://example..com/",
    "https://-example.com/", "https://example-.com/", "https://example.com./", f"https://{'a' * 64}.com/",
    f"https://{'a.' * 130}com/", "https://example.com/<x>", 'https://example.com/"', "https://example.com/{x}",
    "https://example.com/^", "https://example.com/`", "https://example.com/|", "https://example.com?x#y",
    f"https://example.com/{'x' * 2000}",
    # Ports of other protocols, and none.
    *(f"https://example.com:{port}/" for port in (
        0, 1, 7, 21, 22, 23, 25, 53, 69, 110, 111, 135, 139, 143, 389, 445, 465, 587, 636, 993, 2049, 2375, 2379, 3306,
        3389, 5060, 5432, 5900, 6000, 6379, 6667, 11211, 10250, 27017, 65536, 99999,
    )),
    "https://example.com:/", "https://example.com:443:443/", "https://example.com:-1/", "https://example.com:0x50/",
    "https://example.com:80a/", "https://example.com: 80/", "https://example.com:+80/",
)  # fmt: skip
"""URLs that no webhook has."""


def host_in_url(address: str) -> str:
    """An address as a URL has it."""
    return f"[{address}]" if ":" in address else address


REFUSED = [
    *(f"https://{host_in_url(address)}/hook" for address in ADDRESSES),
    *(f"http://{host}:8080/hook" for host in (*NUMBERS, *NAMES)),
    *URLS,
]
"""All of them, as URLs."""

GOOD = (
    "https://example.com", "https://example.com/", "https://hooks.example.com/services/T0/B0/x?a=1&b=[2]",
    "HTTPS://Example.COM:8443/x", "https://xn--bcher-kva.example/", "https://8.8.8.8/x", "https://[2606:4700::1111]/x",
    "http://example.com:8080/x", "https://a_b.example.com/%C3%A9", "https://slack.com/webhook/xxx",
)  # fmt: skip
