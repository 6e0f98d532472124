"""The limiter of a service: Redis where there is one, this process for itself where there is none and while it is away.

With Redis the hits that it allowed are noted here as well. So a caller whom this process alone has seen too often is
refused without asking Redis, and an outage gives nobody a second allowance: what this process let through counts on,
before, during and after it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from app_kernel.core.events import HitCountedLocally
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Allowance
from app_kernel.logs import get_logger
from app_kernel.rate_limit.memory import MemoryLimiter

if TYPE_CHECKING:
    from app_kernel.rate_limit.shared import SharedLimiter

_log = get_logger("app_kernel.rate_limit")


class ServiceLimiter:
    """Implements `app_kernel.core.ports.RateLimiter`."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._memory = MemoryLimiter()
        self._shared: SharedLimiter | None = None
        self._tells_of_local = kernel.hears(HitCountedLocally)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """For the time of the block hits are counted in the service's Redis, where it has one."""
        self._memory.clear()
        if self._kernel.redis is None:
            yield
            return
        # Redis need not be installed where it is not used.
        from app_kernel.rate_limit.shared import SharedLimiter  # noqa: PLC0415

        shared = SharedLimiter(self._kernel.redis, f"{self._kernel.name}:rate_limit:", _tell_of_outage)
        await shared.connect()
        self._shared = shared
        try:
            yield
        finally:
            self._shared = None
            await shared.close()

    async def hit(self, bucket: str, limit: int, window: int) -> Allowance:
        """Counts one hit in the sliding window of `bucket` if there is room for it; never raises for a Redis away.

        The limit holds across all processes of the service with Redis, and for this process alone without. A bucket is
        named `kind:whose`, such as `user:42`; one that is hit with another window is another bucket. A limit below 1
        allows nothing and counts nothing. Raises ValueError for a window below 1.
        """
        if limit < 1 or window < 1:
            return _nothing(limit, window)
        shared, memory = self._shared, self._memory
        if shared is None:
            return memory.hit(bucket, limit, window)
        refusal = memory.refusal(bucket, limit, window)
        if refusal is not None:
            return refusal
        allowance = await shared.hit(bucket, limit, window)
        if allowance is None:
            if self._tells_of_local:
                await self._kernel.emit(HitCountedLocally())
            return memory.hit(bucket, limit, window)
        if allowance.allowed:
            memory.note(bucket, limit, window)
        return allowance


def _nothing(limit: int, window: int) -> Allowance:
    if window < 1:
        raise ValueError(f"The window of a limit must be at least 1 second, not {window!r}.")
    return Allowance(False, limit, window, 0, float(window))


def _tell_of_outage(error: Exception | None) -> None:
    if error is None:
        _log.info("rate_limiter_shared_again")
    else:
        _log.warning("rate_limiter_counts_locally", error=type(error).__name__, reason=str(error))
