"""Where this service is for a browser, as far as that can be known: a client chooses what it writes into `Host`."""

import ipaddress
import re
from urllib.parse import urlsplit

from starlette.types import Scope

from app_kernel.core.config import ServiceConfig

_DEFAULT_PORTS = {"http": 80, "https": 443}
# The whole of the header: parsers and browsers disagree on where the host is in `evil.example\@localhost`.
_local = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\]|testserver)(?::[0-9]{1,5})?", re.IGNORECASE).fullmatch
_origin = re.compile(r"(https?)://((?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?)", re.IGNORECASE).fullmatch


def host_of(scope: Scope) -> str:
    """The Host header; empty without one, and with two."""
    found = [value for name, value in scope["headers"] if name == b"host"]
    return found[0].decode("latin-1") if len(found) == 1 else ""


def is_loopback(host: str) -> bool:
    """Whether a host of the settings is this machine, as far as its name says (RFC 6761, 6.3)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_local_host(host: str) -> bool:
    """Whether a Host header names this very machine, where nobody else's page can be."""
    return _local(host) is not None


def own_base(config: ServiceConfig, scope: Scope) -> str | None:
    """Where browsers reach this application: `public_url`, without it this machine's own address; None where unknown.

    Outside production the address of the request will do if it is this machine's, which poisons nothing.
    """
    if config.public_url:
        return config.public_url.rstrip("/")
    host = host_of(scope)
    if config.production or not is_local_host(host):
        return None
    return f"{scope.get('scheme', 'http')}://{host}{scope.get('root_path', '')}"


def own_path(config: ServiceConfig, scope: Scope) -> str:
    """The path under which browsers see this application: that of `public_url`, or of its mount."""
    if config.public_url:
        return urlsplit(config.public_url).path.rstrip("/")
    return str(scope.get("root_path", ""))


def origin_of(url: str) -> str | None:
    """The origin of a URL as browsers write it: lower case, without the scheme's own port; None for no http(s) URL."""
    try:
        parts = urlsplit(url.lower())
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    at = "" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{host}{at}"


def is_origin_of_host(origin: str, host: str, *, secure: bool) -> bool:
    """Whether an Origin header names the host that the request came to; over TLS only an https origin does.

    By host and port alone otherwise: behind a proxy that ends TLS the scheme of the request is not the browser's.
    """
    found = _origin(origin)
    if found is None or not host or (secure and found[1].lower() != "https"):
        return False
    return found[2].lower() == host.lower()
