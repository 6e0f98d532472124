"""Addresses: which of them may carry a sign-in, which pages it may return to, and where the provider sends browsers.

A target is compared as a parsed URL, and what is sent to the browser is always the configured text, never the caller's
(OWASP Unvalidated Redirects; RFC 9700, 4.1.3).
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import SplitResult, parse_qs, urlencode, urlsplit, urlunsplit

from starlette.requests import Request

from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import SignInRefused
from app_kernel.core.own_address import is_loopback, own_base

LONGEST_URL = 2000
LONGEST_TARGET = 500
"""As a target is kept in a cookie, of which browsers take 4096 bytes."""
OWN_PARAMETERS = frozenset({"code", "error", "linked"})
"""What a sign-in adds to the target's query."""

_PORTS: Mapping[str, int] = {"http": 80, "https": 443}
# What browsers and parsers read differently: space, controls, backslashes, and letters beyond ASCII in any place.
_ambiguous = re.compile(r"[^\x21-\x7e]|\\").search
_host = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?").fullmatch

Address = tuple[str, str, int, str, str]


def parse_address(text: str) -> Address | None:
    """Scheme, host, port, path and query of an absolute http(s) URL; None for anything that is not plainly one."""
    if not text or len(text) > LONGEST_URL or _ambiguous(text):
        return None
    parts = _split(text)
    if parts is None or parts.scheme not in _PORTS or "#" in text or "@" in parts.netloc:
        return None
    if not text.lower().startswith(f"{parts.scheme}://") or not _is_host(parts):
        return None
    try:
        port = parts.port if parts.port is not None else _PORTS[parts.scheme]
    except ValueError:
        return None
    return parts.scheme, parts.hostname or "", port, parts.path or "/", parts.query


def find_address_problem(text: object, *, loopback_http: bool = True) -> str | None:
    """What is wrong with an address that a sign-in depends on; None when it may be used."""
    address = parse_address(text) if isinstance(text, str) else None
    if address is None:
        return "must be an absolute URL such as https://accounts.example.com, without a user, a fragment or spaces"
    scheme, host = address[:2]
    if scheme != "https" and not (loopback_http and is_loopback(host)):
        return "must begin with https://" + (" (http:// is for loopback only)" if loopback_http else " in production")
    return None


class Targets:
    """The pages that a sign-in may return to."""

    def __init__(self, urls: Iterable[str]) -> None:
        self._by_address = {parse_address(url): url for url in urls}
        self._default = next(iter(self._by_address.values()), None)

    def choose(self, wanted: str | None) -> str | None:
        """The configured page that is meant, the first one if none is named; None when none is configured.

        Raises SignInRefused for any other page.
        """
        if wanted is None:
            return self._default
        address = parse_address(wanted)
        found = self._by_address.get(address) if address is not None else None
        if found is None:
            raise SignInRefused("This service does not send anybody to that page; it is not in oauth_redirect_urls.")
        return found


def find_target_problems(urls: Iterable[str]) -> Iterator[str]:
    """What is wrong with the configured pages, one sentence each."""
    for url in urls:
        problem = find_address_problem(url)
        if problem is not None:
            yield f"oauth_redirect_urls: {url[:100]!r} {problem}"
        elif len(url) > LONGEST_TARGET:
            yield f"oauth_redirect_urls: {url[:100]!r} has more than {LONGEST_TARGET} characters"
        elif taken := sorted(OWN_PARAMETERS & set(parse_qs(urlsplit(url).query, keep_blank_values=True))):
            yield f"oauth_redirect_urls: {url[:100]!r} has the parameter {taken[0]!r}, which a sign-in adds itself"


def with_parameter(target: str, name: str, value: str) -> str:
    """The target with one more parameter."""
    parts = urlsplit(target)
    query = f"{parts.query}&" if parts.query else ""
    return urlunsplit(parts._replace(path=parts.path or "/", query=query + urlencode({name: value})))


def callback_base(config: ServiceConfig, request: Request) -> str:
    """Where browsers reach this service; raises SignInRefused where nothing but a Host header says that."""
    base = own_base(config, request.scope)
    if base is None:
        raise SignInRefused("Signing in elsewhere needs the setting public_url.")
    return base


def _split(text: str) -> SplitResult | None:
    try:
        return urlsplit(text)
    except ValueError:
        return None


def _is_host(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        try:
            return ipaddress.ip_address(host).version == 6
        except ValueError:
            return False
    # A port that is no number is refused by the caller; "host:" without one is spelt by nobody.
    return bool(_host(host)) and not parts.netloc.endswith(":")
