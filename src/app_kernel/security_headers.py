"""Headers that tell browsers to be strict, on every answer that has none of its own (OWASP REST security)."""

from starlette.types import ASGIApp, Receive, Scope, Send

from app_kernel.core.config import ServiceConfig
from app_kernel.core.exchange import exchange_of
from app_kernel.core.feature import Feature
from app_kernel.core.kernel import Kernel

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
# Only an answer over TLS may say so (RFC 6797, 7.2).
TLS_HEADERS = (*HEADERS, (b"strict-transport-security", b"max-age=31536000"))


class SecurityHeaders:
    """Pure ASGI; the outermost layer sends what is added here."""

    def __init__(self, app: ASGIApp, kernel: Kernel) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            exchange_of(scope).extra_headers.extend(TLS_HEADERS if scope.get("scheme") == "https" else HEADERS)
        await self.app(scope, receive, send)


def create_feature(config: ServiceConfig) -> Feature:
    """The security headers."""
    return Feature(name="security_headers", middleware=(SecurityHeaders,))
