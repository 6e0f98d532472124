"""What requests only note in memory is written beside them, in batches.

A process that is killed loses what was noted since its last write; one that ends writes it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from app_kernel.core.cancellation import cancel_task
from app_kernel.core.context import Context, in_context
from app_kernel.core.kernel import Kernel
from app_kernel.core.outbox import Message

COLLECT = 1.0
"""Seconds for which notes are collected before they are written."""
LAST_WORDS = 2.0
"""Seconds that a stopping service gives to the last write."""

_log = logging.getLogger("app_kernel")


class Unsent:
    """Messages on their way into the outbox.

    Those that a try has failed with are sent again with the same ids, as it may have succeeded all the same.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, kernel: Kernel) -> None:
        """Puts them into the outbox of the service; raises what the database does, and keeps them then."""
        if self.messages:
            await kernel.db.connection().privileged.send_messages(self.messages)
            self.messages = []


class Beside:
    """Calls `write` some time after notes were made, and once more at the end.

    `write` takes what was noted out of memory and writes it; what it cannot write it drops or keeps, as it likes. A
    failure of any kind is logged as `event`, once until it works again, and never reaches a request. Two writes are at
    least `every` seconds apart.
    """

    def __init__(
        self,
        kernel: Kernel,
        write: Callable[[], Awaitable[None]],
        event: str,
        *,
        log: logging.Logger = _log,
        collect: float = COLLECT,
        every: float = 0.0,
    ) -> None:
        self._kernel = kernel
        self._write = write
        self._event = event
        self._log = log
        self._collect = collect
        self._every = every
        self._writing = asyncio.Lock()
        self._wake: asyncio.Event | None = None
        self._called_early = False
        self._failing = False

    def call(self) -> None:
        """Something was noted; from the event loop of the service only."""
        if self._wake is not None:
            self._wake.set()
        else:
            self._called_early = True

    async def flush(self) -> None:
        """Writes now, after a write that is under way: two at once would take each other's notes for written."""
        try:
            # In whichever task this runs: nobody's request, and of two services in one process the right one.
            async with self._writing:
                with in_context(Context(kernel=self._kernel)):
                    await self._write()
            self._failing = False
        except Exception as exc:  # noqa: BLE001 - whatever it is, the requests go on, and so do the next writes
            # Once, not every time: a read-only database is a way to run a service.
            if not self._failing:
                self._log.warning(self._event, extra={"error": type(exc).__name__, "reason": str(exc)})
            self._failing = True

    @asynccontextmanager
    async def written(self) -> AsyncIterator[None]:
        """Writes beside the requests while the block runs, and once more at its end."""
        self._writing, self._wake = asyncio.Lock(), asyncio.Event()
        if self._called_early:
            self._wake.set()
        task = asyncio.create_task(self._run(self._wake))
        try:
            yield
        finally:
            self._wake = None
            await cancel_task(task)
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS):
                    await self.flush()

    async def _run(self, wake: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        written = -self._every
        while True:
            await wake.wait()
            await asyncio.sleep(max(self._collect, written + self._every - loop.time()))
            wake.clear()
            written = loop.time()
            await self.flush()
