"""Which origins' pages may call the service from a browser (Fetch standard, CORS protocol).

`cors_origins=["*"]` lets every origin read what needs no cookie; named origins are reflected exactly as they are
written and may send credentials. An origin that is not named gets no CORS header at all.
"""

import re

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app_kernel.core.config import ServiceConfig
from app_kernel.core.exchange import exchange_of
from app_kernel.core.feature import Feature
from app_kernel.core.kernel import Kernel

EXPOSED = (
    "X-Request-ID", "Retry-After", "RateLimit", "RateLimit-Policy", "WWW-Authenticate", "Idempotency-Replayed",
)  # fmt: skip
"""Headers that a page may read from an answer, beside the few that it always may."""

_names = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, \t-]*").fullmatch
_VARY = (b"vary", b"Origin")
_EXPOSE = (b"access-control-expose-headers", ", ".join(EXPOSED).encode())
_ANYBODY = (b"access-control-allow-origin", b"*")
_CREDENTIALS = (b"access-control-allow-credentials", b"true")


class Cors:
    """Pure ASGI. Starlette's middleware answers preflights; other answers get their headers without a wrapper."""

    def __init__(self, app: ASGIApp, kernel: Kernel) -> None:
        origins = kernel.config.cors_origins
        self.app = app
        self._anybody = origins == ["*"]
        self._origins = frozenset(origin.encode() for origin in origins)
        self._preflight = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=["*"],
            allow_headers=["*"],
            allow_credentials=not self._anybody,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            exchange = exchange_of(scope)
            origin = exchange.request_headers.get(b"origin")
            if origin is not None and scope["method"] == "OPTIONS" and _is_preflight(exchange.request_headers):
                response = self._preflight.preflight_response(request_headers=Headers(scope=scope))
                await response(scope, receive, send)
                return
            self._add_headers(exchange.extra_headers, origin)
        await self.app(scope, receive, send)

    def _add_headers(self, added: list[tuple[bytes, bytes]], origin: bytes | None) -> None:
        if not self._anybody:
            added.append(_VARY)  # caches must keep the answers to different origins, and to none, apart
        if origin is None:
            return
        if self._anybody:
            added += (_ANYBODY, _EXPOSE)
        elif origin in self._origins:
            added += ((b"access-control-allow-origin", origin), _CREDENTIALS, _EXPOSE)


def _is_preflight(headers: dict[bytes, bytes]) -> bool:
    # The answer repeats the header names that were asked for, so they must be nothing else.
    named = _names(headers.get(b"access-control-request-headers", b""))
    return b"access-control-request-method" in headers and named is not None


def create_feature(config: ServiceConfig) -> Feature | None:
    """The CORS layer; None when no origin is allowed, so that browsers apply their same-origin rule."""
    return Feature(name="cors", middleware=(Cors,)) if config.cors_origins else None
