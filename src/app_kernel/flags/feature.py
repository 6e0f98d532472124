"""What flags contributes to a service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app_kernel.core.config import ServiceConfig
from app_kernel.core.feature import Feature
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import FlagCopy, FlagFigures
from app_kernel.flags.live import LiveFlags
from app_kernel.flags.routes import router
from app_kernel.flags.tables import TABLES


class _Copy(FlagCopy):
    """The flags of one service, while it runs."""

    def __init__(self, kernel: Kernel) -> None:
        self.live: LiveFlags | None = None

    def figures(self) -> FlagFigures:
        return FlagFigures(0, None, 0, False) if self.live is None else self.live.figures()


def create_feature(config: ServiceConfig) -> Feature | None:
    """Feature flags and the routes under /flags."""
    # Its lifespan, not its work: a worker process evaluates flags too.
    return Feature(
        name="flags",
        tables=TABLES,
        router=router,
        tags={"flags": "Feature flags: everybody asks, admins change them."},
        provides={FlagCopy: _Copy},
        lifespan=_evaluated,
    )


@asynccontextmanager
async def _evaluated(kernel: Kernel) -> AsyncIterator[None]:
    copy = kernel.find_port(FlagCopy)  # type: ignore[type-abstract]  # a port is asked for by its protocol
    live = LiveFlags(kernel)
    if isinstance(copy, _Copy):
        copy.live = live
    async with live.evaluated():
        yield
