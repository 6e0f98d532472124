"""Signals by NOTIFY: sent by a task of its own, never in a user's transaction, and heard on a connection of its own.

NOTIFY makes commits wait for one another, so the signals of some milliseconds are one statement. Behind a pooler in
transaction mode nobody can listen: there a signal reaches this process only, and others find out when they next look.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from app_kernel.core.errors import StoreError
from app_kernel.db.drivers.postgres_connection import Connection
from app_kernel.db.drivers.postgres_errors import FOREIGN
from app_kernel.db.drivers.signal_hub import SignalHub

CHANNEL = "app_kernel"
"""The one channel of all signals of a server's database; who sent one, in which schema, and what it is about is in its
payload."""
BACKOFF_SECONDS = (0.2, 5.0)
"""The first and the longest pause before a broken listener connects again."""
CHECK_SECONDS = 20.0
ANSWER_SECONDS = 5.0


class PostgresSignals(SignalHub):
    """The signals of one open database."""

    def __init__(
        self,
        notify: Callable[[list[str]], Awaitable[object]],
        connect: Callable[[], Awaitable[Connection]] | None,
        schema: str,
    ) -> None:
        super().__init__()
        self._notify = notify
        self._connect = connect
        self.reaches_others = connect is not None
        self._schema = schema
        """Other schemas of the same server's database have tables, and so signals, of their own."""
        self._self = secrets.token_hex(8)

    async def _send(self, channels: list[str]) -> None:
        await self._notify([f"{self._self} {self._schema} {channel}" for channel in channels])

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        said = payload.split(" ")
        if len(said) == 3 and said[0] != self._self and said[1] == self._schema:
            self._wake(said[2])

    async def _listen(self) -> None:
        connect = self._connect
        if connect is None:
            return
        pause, longest = BACKOFF_SECONDS
        while True:
            with suppress(StoreError, *FOREIGN):
                connection = await connect()
                pause = BACKOFF_SECONDS[0]
                try:
                    await self._listen_on(connection)
                finally:
                    connection.terminate()
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    async def _listen_on(self, connection: Connection) -> None:
        """Returns, or raises, when the connection is broken."""
        broken = asyncio.Event()
        connection.add_termination_listener(lambda _: broken.set())
        await connection.add_listener(CHANNEL, self._heard)
        # What was said while nobody listened.
        for channel in tuple(self._callbacks):
            self._wake(channel)
        while not broken.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await broken.wait()
                    return
            await connection.execute("SELECT 1", timeout=ANSWER_SECONDS)


def notification(payloads: list[str]) -> str:
    """The statements that send these payloads, without waiting for a disk; payloads hold no quotes."""
    calls = ", ".join(f"pg_notify('{CHANNEL}', '{payload}')" for payload in payloads)
    return f"BEGIN; SET LOCAL synchronous_commit = off; SELECT {calls}; COMMIT"
