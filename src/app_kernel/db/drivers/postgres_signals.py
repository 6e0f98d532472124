"""Signals by NOTIFY: sent by a task of its own, never in a user's transaction, and heard on a connection of its own.

NOTIFY makes commits wait for one another, so the signals of some milliseconds are one statement. Behind a pooler in
transaction mode nobody can listen: there a signal reaches this process only, and others find out when they next look.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from app_kernel.core.errors import StoreError
from app_kernel.db.drivers.postgres_connection import Connection
from app_kernel.db.drivers.postgres_errors import FOREIGN

CHANNEL = "app_kernel"
"""The one channel of all signals of a server's database; who sent one, in which schema, and what it is about is in its
payload."""
MERGE_SECONDS = 0.02
BACKOFF_SECONDS = (0.2, 5.0)
"""The first and the longest pause before a broken listener connects again."""
CHECK_SECONDS = 20.0
ANSWER_SECONDS = 5.0
_PLAIN = re.compile(r"[A-Za-z0-9_.:-]{1,200}")


class PostgresSignals:
    """The signals of one open database."""

    def __init__(
        self,
        send: Callable[[list[str]], Awaitable[object]],
        connect: Callable[[], Awaitable[Connection]] | None,
        schema: str,
    ) -> None:
        self._send = send
        self._connect = connect
        self._schema = schema
        """Other schemas of the same server's database have tables, and so signals, of their own."""
        self._self = secrets.token_hex(8)
        self._callbacks: dict[str, list[Callable[[], object]]] = {}
        self._called: set[str] = set()
        """Channels whose listeners here will be called soon, so that a burst of signals is one call."""
        self._unsent: set[str] = set()
        self._sender: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._is_open = False

    def open(self) -> None:
        """Begins, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._is_open = True

    async def close(self) -> None:
        """Sends what is unsent and stops listening."""
        self._is_open = False
        self._callbacks.clear()
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait([self._listener])
        if self._sender is not None:
            await asyncio.wait([self._sender])

    def signal(self, channel: str) -> None:
        """Wakes whoever listens to `channel`, here and in other processes; never blocks or raises."""
        # RuntimeError: the loop is closed, so nobody listens there any more.
        with suppress(RuntimeError):
            if not self._is_open:
                return
            self._wake(channel)
            if self._connect is not None and _PLAIN.fullmatch(channel):
                self._unsent.add(channel)
                if self._sender is None or self._sender.done():
                    self._sender = self._loop.create_task(self._send_all())

    def on_signal(self, channel: str, callback: Callable[[], object]) -> Callable[[], None]:
        """Calls back after a signal; returns what ends that."""
        self._callbacks.setdefault(channel, []).append(callback)
        if self._listener is None and self._connect is not None:
            self._listener = self._loop.create_task(self._listen(self._connect))

        def end() -> None:
            listening = self._callbacks.get(channel, [])
            if callback in listening:
                listening.remove(callback)
            if not listening:
                self._callbacks.pop(channel, None)

        return end

    def _wake(self, channel: str) -> None:
        if channel in self._callbacks and channel not in self._called:
            self._called.add(channel)
            self._loop.call_soon(self._call, channel)

    def _call(self, channel: str) -> None:
        # First, so that a signal which comes during the calls leads to others.
        self._called.discard(channel)
        for callback in tuple(self._callbacks.get(channel, ())):
            callback()

    async def _send_all(self) -> None:
        while self._unsent:
            channels, self._unsent = sorted(self._unsent), set()
            # Best effort: who does not hear of it finds out when it next looks.
            with suppress(StoreError):
                await self._send([f"{self._self} {self._schema} {channel}" for channel in channels])
            if self._is_open:
                await asyncio.sleep(MERGE_SECONDS)

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        said = payload.split(" ")
        if len(said) == 3 and said[0] != self._self and said[1] == self._schema:
            self._wake(said[2])

    async def _listen(self, connect: Callable[[], Awaitable[Connection]]) -> None:
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
