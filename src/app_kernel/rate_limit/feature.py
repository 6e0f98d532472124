"""What rate limits contribute to a service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from app_kernel.core.config import ServiceConfig
from app_kernel.core.feature import Feature
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import RateLimiter
from app_kernel.rate_limit.limiter import ServiceLimiter
from app_kernel.rate_limit.middleware import RateLimits


def create_feature(config: ServiceConfig) -> Feature | None:
    """The layer that counts requests and the limiter behind it; None when limits are switched off, decorators too."""
    if not config.rate_limit_enabled:
        return None
    return Feature(
        name="rate_limit", middleware=(_layer,), provides={RateLimiter: ServiceLimiter}, lifespan=_open_limiter
    )


def _layer(app: ASGIApp, kernel: Kernel) -> ASGIApp:
    return RateLimits(app, kernel, _limiter_of(kernel))


@asynccontextmanager
async def _open_limiter(kernel: Kernel) -> AsyncIterator[None]:
    async with _limiter_of(kernel).open():
        yield


def _limiter_of(kernel: Kernel) -> ServiceLimiter:
    return kernel.port(RateLimiter)  # type: ignore[type-abstract,return-value]  # this feature provides it
