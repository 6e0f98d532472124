"""Sessions in cookies, for browsers: out of reach of scripts, and useless to pages of other sites.

The access token is in an HttpOnly cookie with SameSite=Lax, the refresh token in one that only goes to /auth. As a
cookie comes along by itself, a request that changes something must also carry `X-CSRF-Token`, which another site's page
can neither read nor guess, and no foreign Origin (OWASP CSRF Prevention: signed double submit, bound to the session).
"""

import hmac
from collections.abc import Iterable, Sequence

from starlette.types import Scope

from app_kernel.auth.tokens import secret_bytes
from app_kernel.core.access_docs import BEARER, CSRF_TOKEN, REFRESH_COOKIE, SESSION_COOKIE
from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import CrossSiteRequest
from app_kernel.core.own_address import host_of, is_origin_of_host, origin_of, own_path

CSRF_HEADER = b"x-csrf-token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing (RFC 9110, 9.2.1)."""
REFRESH_PATH = "/auth"


class SessionCookies:
    """The cookies of one service: their names, how they are set, and whether a request may use them."""

    def __init__(self, config: ServiceConfig, secrets: Sequence[str]) -> None:
        self._config = config
        public = config.public_url or ""
        self._secure = config.production or public.lower().startswith("https://")
        # A prefix that browsers hold us to: nobody can set such a cookie from a subdomain or without TLS (RFC 6265bis).
        self.session = "__Host-session" if self._secure else "session"
        self.csrf = "__Host-csrf" if self._secure else "csrf"
        self.refresh = "__Secure-refresh" if self._secure else "refresh"
        self._keys = tuple(hmac.digest(secret_bytes(secret), b"app_kernel csrf", "sha256") for secret in secrets)
        self._origins = frozenset([*config.cors_origins, origin_of(public) or "*"]) - {"*"}

    def security_schemes(self) -> dict[str, dict[str, str]]:
        """What the OpenAPI document says of a session: of its access token, its cookies, and what comes with these."""
        cookie = {"type": "apiKey", "in": "cookie"}
        return {
            BEARER: {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "An access token that one has already.",
            },
            SESSION_COOKIE: {
                **cookie,
                "name": self.session,
                "description": "The access token of a session that was begun with `cookie`.",
            },
            REFRESH_COOKIE: {
                **cookie,
                "name": self.refresh,
                "description": "The refresh token of such a session; it goes to /auth alone.",
            },
            CSRF_TOKEN: {
                "type": "apiKey",
                "in": "header",
                "name": "X-CSRF-Token",
                "description": "What GET /auth/csrf answers; a request that changes something by a cookie needs it.",
            },
        }

    def csrf_token(self, session_id: str) -> str:
        """What a page of this session sends in X-CSRF-Token."""
        return _mac(self._keys[0], session_id)

    def read(self, scope: Scope, name: str) -> str | None:
        """The value of a cookie; None without it, and None when it comes twice, as one of them is somebody else's."""
        wanted = f"{name}=".encode()
        found = [
            pair[len(wanted) :]
            for header, value in scope["headers"]
            if header == b"cookie"
            for pair in (part.strip() for part in value.split(b";"))
            if pair.startswith(wanted)
        ]
        return found[0].decode("latin-1") if len(found) == 1 else None

    def require_same_site(self, scope: Scope, session_id: str) -> None:
        """Raises CrossSiteRequest unless the page that sent this is one of this session's own."""
        headers = scope["headers"]
        origin = next((value.decode("latin-1") for name, value in headers if name == b"origin"), None)
        if scope["type"] == "websocket":
            # A browser lets every page open one with our cookies, and none of them can send a header of its own.
            if origin is None or not self._is_own(scope, origin):
                raise CrossSiteRequest
            return
        if scope["method"] in SAFE_METHODS:
            return
        if origin is not None and not self._is_own(scope, origin):
            raise CrossSiteRequest
        given = [value for name, value in headers if name == CSRF_HEADER]
        if len(given) != 1 or not any(
            hmac.compare_digest(_mac(key, session_id).encode(), given[0]) for key in self._keys
        ):
            raise CrossSiteRequest

    def require_own_page(self, scope: Scope) -> None:
        """Raises CrossSiteRequest when another site's page asks for cookies, to sign its visitor in as another user."""
        origin = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"), None)
        if origin is not None and not self._is_own(scope, origin):
            raise CrossSiteRequest("Only the service's own pages sign in with cookies; name others in CORS_ORIGINS.")

    def to_set(
        self, scope: Scope, session_id: str, tokens: tuple[str, str], lifetimes: tuple[int, int]
    ) -> Iterable[tuple[str, str]]:
        """The headers that put a session's access and refresh token, with their seconds to live, into cookies."""
        access, refresh = tokens
        for_access, for_refresh = lifetimes
        yield self._set(self.session, access, "/", for_access, "HttpOnly; SameSite=Lax")
        yield self._set(self.refresh, refresh, self._refresh_path(scope), for_refresh, "HttpOnly; SameSite=Strict")
        yield self._set(self.csrf, self.csrf_token(session_id), "/", for_refresh, "SameSite=Lax")

    def to_clear(self, scope: Scope) -> Iterable[tuple[str, str]]:
        """The headers that take the cookies back."""
        yield self._set(self.session, "", "/", 0, "HttpOnly; SameSite=Lax")
        yield self._set(self.refresh, "", self._refresh_path(scope), 0, "HttpOnly; SameSite=Strict")
        yield self._set(self.csrf, "", "/", 0, "SameSite=Lax")

    def _set(self, name: str, value: str, path: str, seconds: int, attributes: str) -> tuple[str, str]:
        secure = "; Secure" if self._secure else ""
        return "set-cookie", f"{name}={value}; Path={path}; Max-Age={max(seconds, 0)}; {attributes}{secure}"

    def _is_own(self, scope: Scope, origin: str) -> bool:
        return origin in self._origins or is_origin_of_host(origin, host_of(scope), secure=self._secure)

    def _refresh_path(self, scope: Scope) -> str:
        """Where the refresh cookie goes, as the browser sees it: behind a mount or a proxy's prefix too."""
        prefix = getattr(scope["app"].state, "api_prefix", "") if "app" in scope else ""
        return f"{own_path(self._config, scope)}{prefix}{REFRESH_PATH}"


def _mac(key: bytes, session_id: str) -> str:
    return hmac.digest(key, session_id.encode(), "sha256").hex()
