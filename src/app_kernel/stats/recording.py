"""What a process counted leaves it every ten seconds, with Redis every minute, through the outbox."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app_kernel.core.beside import Beside, Unsent
from app_kernel.core.events import RequestFinished
from app_kernel.core.kernel import Kernel
from app_kernel.core.outbox import Message
from app_kernel.stats.figures import Collected, Figures, Place
from app_kernel.stats.sink import TOPIC

FLUSH_SECONDS = 10.0
FLUSH_SECONDS_WITH_REDIS = 60.0
"""Each message stays in the outbox for a day then, and takes room there."""
IN_ONE_MESSAGE = 200
"""Routes in one message at most, so that a sink writes it well within its time."""


class Recording:
    """The figures of one service's requests on their way out of this process."""

    def __init__(self) -> None:
        self._collected = Collected()
        self._count = self._collected.count
        self._unsent = Unsent()
        self._noted = False
        self._beside: Beside | None = None

    def count(self, kernel: Kernel, event: RequestFinished) -> None:
        """Counts one request."""
        self._count(event)
        if not self._noted and self._beside is not None:
            self._noted = True
            self._beside.call()

    @asynccontextmanager
    async def written(self, kernel: Kernel) -> AsyncIterator[None]:
        """Writes what was counted while the block runs, and once more at its end."""

        async def write() -> None:
            await self._write(kernel)

        seconds = FLUSH_SECONDS if kernel.redis is None else FLUSH_SECONDS_WITH_REDIS
        self._beside = Beside(kernel, write, "request_stats_not_written", collect=seconds)
        try:
            async with self._beside.written():
                yield
        finally:
            self._beside = None

    async def flush(self) -> None:
        """Writes what was counted now, and not within the next seconds."""
        if self._beside is not None:
            await self._beside.flush()

    async def _write(self, kernel: Kernel) -> None:
        """Puts what was counted into the outbox; while that fails, what comes after it is added up in memory."""
        self._noted = False
        try:
            await self._unsent.send(kernel)
            kernel.dropped[TOPIC] += self._collected.lost
            self._collected.lost = 0
            self._unsent.messages = _messages(kernel, self._collected.take())
            await self._unsent.send(kernel)
        except BaseException:
            # There is something to be written whether or not another request comes.
            if self._beside is not None:
                self._noted = True
                self._beside.call()
            raise


def _messages(kernel: Kernel, taken: dict[Place, Figures]) -> list[Message]:
    rows = [[*place, *figures.to_values()] for place, figures in taken.items()]
    body = {"app": kernel.name, "days": kernel.config.stats_days}
    return [
        Message(TOPIC, {**body, "figures": rows[start : start + IN_ONE_MESSAGE]})
        for start in range(0, len(rows), IN_ONE_MESSAGE)
    ]
