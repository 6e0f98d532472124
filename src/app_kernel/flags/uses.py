"""When flags are evaluated is written in batches beside the requests, at most once a minute by each process.

An evaluation only notes the name in memory. What cannot be written, as on a read-only database, is dropped and never
fails a request; a process that is killed loses the notes of its last minute.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from app_kernel.core.context import Context, in_context
from app_kernel.core.errors import StoreError
from app_kernel.core.kernel import Kernel
from app_kernel.flags import store

COLLECT = 1.0
"""Seconds for which the first uses after a pause are collected before they are written."""
LAST_WORDS = 2.0
"""Seconds that a stopping service gives to the last write."""

_log = logging.getLogger("app_kernel.flags")


class Uses:
    """The flags that one service has evaluated and not written so yet."""

    def __init__(self, kernel: Kernel) -> None:
        self.names: set[str] = set()
        self._kernel = kernel
        self._wake: asyncio.Event | None = None
        self._failing = False

    def note(self, *names: str) -> None:
        """Notes that flags were evaluated just now."""
        self.names.update(names)
        if self._wake is not None and names:
            self._wake.set()

    async def flush(self) -> None:
        """Writes what was noted; what cannot be written is dropped."""
        names, self.names = self.names, set()
        if not names:
            return
        try:
            # In whichever task this runs: nobody's request, and of two services in one process the right one.
            with in_context(Context(kernel=self._kernel)):
                await store.write_uses(self._kernel.db.connection(), names)
            self._failing = False
        except StoreError as exc:
            # Once, not every minute: a read-only database is a way to run a service.
            if not self._failing:
                _log.warning("flag_uses_not_written", extra={"error": type(exc).__name__})
            self._failing = True

    @asynccontextmanager
    async def written(self) -> AsyncIterator[None]:
        """Writes beside the requests while the block runs, and once more at its end."""
        self._wake = asyncio.Event()
        task = asyncio.create_task(self._run(self._wake))
        try:
            yield
        finally:
            self._wake = None
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS):
                    await self.flush()

    async def _run(self, wake: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        written = -store.WRITE_EVERY.total_seconds()
        while True:
            await wake.wait()
            await asyncio.sleep(max(COLLECT, written + store.WRITE_EVERY.total_seconds() - loop.time()))
            wake.clear()
            written = loop.time()
            await self.flush()
