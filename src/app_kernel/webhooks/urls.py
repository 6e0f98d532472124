"""Which URLs webhooks have. Read strictly: what two parsers could understand differently is refused."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any

from app_kernel.core.errors import InvalidWebhook, WebhookAddressRefused
from app_kernel.webhooks.addresses import is_public

LONGEST_URL = 2000
LONGEST_HOST = 253
DEFAULT_PORTS = {"http": 80, "https": 443}

REFUSED_PORTS = frozenset(
    {
        # Those that browsers do not speak HTTP to (Fetch standard, 2.9): other protocols might understand it.
        0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104,
        109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526,
        530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045,
        4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
        # Of servers that should not be open to anybody: SMB, Docker, databases, caches, remote desktops.
        445, 1433, 1521, 2375, 2376, 2379, 2380, 3306, 3389, 5432, 5900, 6379, 10250, 11211, 27017,
    }
)  # fmt: skip
_REFUSED_NAMES = (
    "localhost", "localdomain", "local", "internal", "intranet", "lan", "home.arpa", "home", "corp", "private", "onion",
    "invalid", "ip6-localhost", "ip6-loopback",
)  # fmt: skip

_is_url = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<rest>(?:/[A-Za-z0-9\-._~:/@!$&'()*+,;=%\[\]]*)?(?:\?[A-Za-z0-9\-._~:/?@!$&'()*+,;=%\[\]]*)?)"
).fullmatch
_is_name = re.compile(
    r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
).fullmatch
# What a parser of URLs may take for an IPv4 address: 2130706433, 0x7f.1, 0177.0.0.1.
_ends_in_number = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)").fullmatch


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook goes."""

    scheme: str
    host: str
    """A name, or an address without brackets; in lower case."""
    port: int
    path: str
    """With the query."""

    @property
    def origin(self) -> str:
        """The URL up to the path: what may be shown to those who may not see the rest, which can hold a secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}")


def check_url(url: Any, *, https_only: bool, allow_private: bool) -> Target:
    """The parts of a URL that a webhook may have, as far as the URL alone tells: names are looked up when it is sent.

    Raises InvalidWebhook for what is no such URL, WebhookAddressRefused for a place that nothing is sent to.
    """
    if not isinstance(url, str) or not 0 < len(url) <= LONGEST_URL:
        raise InvalidWebhook(f"url is a text of 1 to {LONGEST_URL} characters, such as https://example.com/hooks")
    found = _is_url(url)
    if found is None:
        raise InvalidWebhook(_what_is_wrong(url))
    scheme, host = found["scheme"].lower(), found["host"].lower().strip("[]")
    if scheme not in DEFAULT_PORTS or (scheme == "http" and https_only):
        raise WebhookAddressRefused(f"The URL of a webhook begins with https://{'' if https_only else ' or http://'}")
    port = DEFAULT_PORTS[scheme] if found["port"] is None else int(found["port"])
    if port > 65535 or port in REFUSED_PORTS:
        raise WebhookAddressRefused(f"Webhooks are not sent to port {port}, where no web server should be.")
    is_address = _check_host(host, bracketed=found["host"].startswith("["))
    if not allow_private:
        _check_public(host, is_address=is_address)
    rest = found["rest"]
    return Target(scheme, host, port, rest if rest.startswith("/") else f"/{rest}")


def _what_is_wrong(url: str) -> str:
    """A sentence that helps; it never repeats the URL, which may hold a secret."""
    if "@" in url.partition("://")[2].partition("/")[0]:
        return "The URL of a webhook has no user or password; receivers check the signature instead."
    if "#" in url:
        return "The URL of a webhook has no fragment (#...), which is never sent."
    if not url.isascii():
        return "Write the URL in ASCII: the host in Punycode (xn--...), other characters as %xx."
    return "This is no URL of a webhook; write one such as https://example.com/hooks, without spaces and backslashes."


def _check_host(host: str, *, bracketed: bool) -> bool:
    """Whether a host is an address; raises InvalidWebhook for one that is neither that nor a name."""
    try:
        if bracketed or _ends_in_number(host):
            parse = IPv6Address if bracketed else IPv4Address
            parse(host)
            return True
    except AddressValueError:
        raise InvalidWebhook("The host of this URL is no IP address; write it as 192.0.2.1 or [2001:db8::1].") from None
    if len(host) > LONGEST_HOST or not _is_name(host):
        raise InvalidWebhook("The host of this URL is no name of a machine.")
    return False


def _check_public(host: str, *, is_address: bool) -> None:
    if is_address:
        if not is_public(host):
            raise WebhookAddressRefused
    elif "." not in host or any(host == name or host.endswith(f".{name}") for name in _REFUSED_NAMES):
        raise WebhookAddressRefused(
            "Webhooks are not sent to names of a private network; WEBHOOK_ALLOW_PRIVATE=true allows it for development."
        )
