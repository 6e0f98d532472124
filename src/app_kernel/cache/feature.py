"""What the cache contributes to a service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app_kernel.cache.service import ServiceCache
from app_kernel.core.config import ServiceConfig
from app_kernel.core.feature import Feature
from app_kernel.core.kernel import Kernel


def create_feature(config: ServiceConfig) -> Feature | None:
    """The cache behind `cache` and `cached`."""
    return Feature(name="cache", provides={ServiceCache: ServiceCache}, lifespan=_open_cache)


@asynccontextmanager
async def _open_cache(kernel: Kernel) -> AsyncIterator[None]:
    async with kernel.port(ServiceCache).open():
        yield
