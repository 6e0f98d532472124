"""Signals by a table of counters, at which every process that listens looks a few times a second.

MySQL has nothing that wakes another connection. The same look finds a change of the schema whose process has died.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from app_kernel.core.errors import StoreError
from app_kernel.db.dialects.mysql_catalog import LAST_GENERATION
from app_kernel.db.dialects.mysql_marks import mark
from app_kernel.db.drivers.base import Row
from app_kernel.db.drivers.signal_hub import SignalHub

LOOK_SECONDS = 0.25
"""How long a signal of another process takes at most, in a database that answers."""
CHANGING = "/changing"
"""Not a channel: what the look says of a change of the schema."""
_LOOK = (
    f"""SELECT '{CHANGING}', 1 FROM "kernel_meta" WHERE "key" = 'generation' AND "value" > {LAST_GENERATION}"""  # noqa: S608 - a number
    ' UNION ALL SELECT "channel", "number" FROM "kernel_signals"'
)


class MySqlSignals(SignalHub):
    """The signals of one open database."""

    def __init__(
        self,
        fetch: Callable[[str], Awaitable[list[Row]]],
        run: Callable[[str, list[str]], Awaitable[object]],
        mend: Callable[[], Awaitable[object]],
    ) -> None:
        super().__init__()
        self._fetch = fetch
        self._run = run
        self._mend = mend
        self._seen: dict[str, int] | None = None

    async def _send(self, channels: list[str]) -> None:
        rows = ", ".join(f"({mark(at + 1)}, 1)" for at in range(len(channels)))
        await self._run(
            f'INSERT INTO "kernel_signals" ("channel", "number") VALUES {rows}'  # noqa: S608 - marks only
            ' ON DUPLICATE KEY UPDATE "number" = "number" + 1',
            channels,
        )

    async def _listen(self) -> None:
        while True:
            with suppress(StoreError):
                await self._look()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        numbers = {str(row[0]): int(row[1]) for row in await self._fetch(_LOOK)}
        if numbers.pop(CHANGING, 0):
            await self._mend()
        if self._seen is None:
            # What was said while nobody looked.
            for channel in tuple(self._callbacks):
                self._wake(channel)
        else:
            for channel, number in numbers.items():
                # Also after a signal of this process's own: to tell those apart could lose one of another's.
                if number > self._seen.get(channel, 0):
                    self._wake(channel)
        self._seen = numbers
