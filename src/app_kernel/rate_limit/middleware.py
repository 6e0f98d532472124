"""The layer that counts requests, after it is known who calls and before anything is done for them."""

from functools import lru_cache

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from app_kernel.core.context import Context, current_context
from app_kernel.core.errors import RateLimited
from app_kernel.core.events import RequestLimited
from app_kernel.core.exchange import exchange_of
from app_kernel.core.kernel import Kernel
from app_kernel.core.limits import count_for, limit_headers, whole_seconds
from app_kernel.core.networks import network_of
from app_kernel.core.paths import path_below_root
from app_kernel.core.ports import RateLimiter
from app_kernel.rate_limit.accepted_keys import AcceptedKeys, mark_of
from app_kernel.rate_limit.route_limits import NamedLimit, RouteLimits

UNLIMITED = frozenset({"/healthz", "/readyz", "/metrics"})
SIGN_IN = frozenset(
    f"/auth/{name}"
    for name in ("login", "token", "register", "refresh", "forgot-password", "reset-password", "verify-email")
)
"""Counted by address whoever is signed in, so that nobody gets a second allowance of guesses for having an account."""

TRY_AGAIN_LATER = 1013
"""The close code of RFC 6455's registry."""


Charge = tuple[str, str, int, int]
"""Where a request counts: a policy (`default`, `anonymous`, `auth`, or `route` for one with a decorator), a bucket, a
limit and a window."""


class RateLimits:
    """Pure ASGI."""

    def __init__(self, app: ASGIApp, kernel: Kernel, limiter: RateLimiter) -> None:
        self.app = app
        self._kernel = kernel
        self._config = kernel.config
        self._limiter = limiter
        self._routes = RouteLimits(())
        self._accepted_keys = AcceptedKeys()
        self._prefix = self._auth = ""
        # Parsing an address costs more than the rest of the layer.
        self._network_of = lru_cache(maxsize=4096)(network_of)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            context = current_context()
            mark = mark_of(scope) if context.user is None and self._config.rate_limit_anonymous is not None else None
            charge = self._charge(scope, context, mark)
            if charge is not None and not await self._count(charge, scope, receive, send):
                return
            if mark is not None:
                send = self._accepted_keys.learning(mark, context, send)
        await self.app(scope, receive, send)

    async def _count(self, charge: Charge, scope: Scope, receive: Receive, send: Send) -> bool:
        """Whether the request may pass; raises RateLimited for one that is answered as others are."""
        policy, bucket, limit, window = charge
        allowance = await self._limiter.hit(bucket, limit, window)
        is_http = scope["type"] == "http"
        if is_http:
            exchange_of(scope).extra_headers += limit_headers(policy, allowance)
        if allowance.allowed:
            return True
        await self._kernel.emit(RequestLimited(policy))
        wait = whole_seconds(allowance.reset_after)
        if is_http:
            raise RateLimited(wait)
        await _refuse_handshake(wait, scope, receive, send)
        return False

    def _charge(self, scope: Scope, context: Context, mark: bytes | None) -> Charge | None:
        """Where the request counts, with what may be an API key; None for one that is not counted."""
        path = path_below_root(scope)
        if path in UNLIMITED:
            return None
        config, user = self._config, context.user
        named = self._own_limit(path, scope)
        if named is not None:
            limit = named.limit
            if limit.requests is None:
                return None
            who = f"user:{user.id}" if user is not None else self._caller(context)
            return ("route", f"{who}:{named.name}", limit.requests, limit.window)
        if self._signs_in(path, scope, is_signed_in=user is not None):
            bucket = f"{self._caller(context)}:auth"
            return ("auth", bucket, config.rate_limit_auth_requests, config.rate_limit_window)
        user_id = user.id if user is not None else self._accepted_keys.owner_of(mark)
        if user_id is not None:
            count_for(scope, user_id)
            return ("default", f"user:{user_id}", config.rate_limit_requests, config.rate_limit_window)
        if config.rate_limit_anonymous is not None:
            return ("anonymous", self._caller(context), config.rate_limit_anonymous, config.rate_limit_window)
        return None

    def _own_limit(self, path: str, scope: Scope) -> NamedLimit | None:
        """The limit of the decorated route that answers; routes may be added until the first request, and after it."""
        app = scope["app"]
        routes = app.routes
        if not self._routes.is_current(routes):
            self._routes = RouteLimits(routes)
            self._prefix = app.state.api_prefix
            self._auth = f"{self._prefix}/auth/"
        return self._routes.find(path, scope)

    def _signs_in(self, path: str, scope: Scope, *, is_signed_in: bool) -> bool:
        """Whether the request is one of those that sign in, make accounts or reset passwords."""
        if not path.startswith(self._auth):
            return False
        below = path.removeprefix(self._prefix)
        if below.startswith("/auth/oauth/"):
            return not is_signed_in
        return scope.get("method") == "POST" and (not is_signed_in or below.rstrip("/\n") in SIGN_IN)

    def _caller(self, context: Context) -> str:
        """The bucket of whoever is not signed in; all whose address nobody knows are one."""
        return f"address:{self._network_of(context.address) or context.address or 'unknown'}"


async def _refuse_handshake(wait: int, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a WebSocket's handshake with 429 where the server can, and else as every server can."""
    socket = WebSocket(scope, receive, send)
    await socket.receive()
    if "websocket.http.response" in scope.get("extensions", {}):
        headers = {"Retry-After": str(wait)}
        await socket.send_denial_response(PlainTextResponse("Too Many Requests", 429, headers))
    else:
        await socket.close(TRY_AGAIN_LATER)
