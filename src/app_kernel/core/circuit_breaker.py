"""A circuit breaker before a server: from a failure on nobody asks it any more but a task of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context

from app_kernel.core.cancellation import cancel_task


class CircuitBreaker:
    """Opens with the first failure that it is told of, and closes with the first good probe; of one event loop.

    `probe()` says why the server cannot be asked, or None when it can, and is called so many seconds after a failure
    as `pause` says, and after each one more. `on_change(error)` hears that it opens, and with None that it is closed.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[Exception | None]],
        pause: float,
        on_change: Callable[[Exception | None], None],
    ) -> None:
        self._probe = probe
        self._pause = pause
        self._on_change = on_change
        self._probing: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the server did not answer the last time, so that nobody is to wait for it."""
        return self._probing is not None

    def trip(self, error: Exception) -> None:
        """Opens it; nothing happens where it is open."""
        if self._probing is None:
            # Not in the name of the request that happened to be the first one to fail.
            self._probing = asyncio.create_task(self._probe_until_it_answers(), context=Context())
            self._on_change(error)

    async def end(self) -> None:
        """Ends its probes; one that is open stays open."""
        await cancel_task(self._probing)

    async def _probe_until_it_answers(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            if await self._failure() is None:
                break
        self._probing = None
        self._on_change(None)

    async def _failure(self) -> Exception | None:
        try:
            return await self._probe()
        except Exception as exc:  # noqa: BLE001 - a probe that fails in any way has reached nobody
            return exc
