"""The connections of one open database: at most so many, each with one user at a time, and none reused that is unclean.

The drivers' own pools ask the server to reset a connection each time it comes back, which is one more round trip; ours
leave nothing behind that would need it.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

from app_kernel.core.database_figures import PoolFigures
from app_kernel.core.errors import DatabaseClosed, PoolTimeout
from app_kernel.db.drivers.wire import Connection, Wire

CHECK_IDLE_SECONDS = 20.0
"""A connection that lay idle for longer is asked whether it still answers: firewalls forget quiet ones silently."""
ANSWER_SECONDS = 1.0
CLOSE_SECONDS = 2.0
"""A connection that cannot say goodbye in this time is dropped."""


class Pool:
    """Hands out connections, the most recently used first, and those who wait are served in their order."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._idle: deque[Connection] = deque()
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._slots_used = 0
        """Connections that are open, opening or closing."""
        self._leased: set[Connection] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._accepts = False
        self._closed = True
        self._changed = asyncio.Event()
        self._suspicious_until = 0.0
        self._timeouts = 0

    def open(self) -> None:
        """Begins to serve, in the running event loop; connections are made when they are needed."""
        self._loop = asyncio.get_running_loop()
        self._accepts = True
        self._closed = False

    async def acquire(self) -> Connection:
        """A connection for the caller alone; raises PoolTimeout, DatabaseClosed, ConnectTimeout or Unavailable.

        Takes pool_timeout at most, and connect_timeout more where a connection is to be made.
        """
        if not self._accepts:
            raise DatabaseClosed
        deadline = self._loop.time() + self._wire.pool_timeout
        while self._idle:
            connection = self._idle.pop()
            if connection.is_closed():
                self._free_slot()
            elif self._was_idle_long(connection) and not await self._answers(connection, deadline):
                self._drop_silent(connection)
            else:
                self._leased.add(connection)
                return connection
        if self._slots_used < self._wire.pool_size:
            self._slots_used += 1
            return await self._connect()
        granted = await self._wait(deadline)
        return await self._connect() if granted is None else granted

    def release(self, connection: Connection) -> None:
        """Takes back a connection that is as clean as it was given; one that is not is closed."""
        if connection.is_closed() or connection.is_in_transaction():
            self.discard(connection)
        else:
            self._offer(connection)

    def discard(self, connection: Connection) -> None:
        """Takes back a connection that must not be used again: cancelled midway, broken, or with state in it."""
        self._leased.discard(connection)
        if connection.is_closed():
            self._free_slot()
        else:
            self._close_later(connection)

    def figures(self) -> PoolFigures:
        """How the connections stand."""
        return PoolFigures(
            waiting=sum(not waiter.done() for waiter in self._waiters),
            limit=self._wire.pool_size,
            in_use=len(self._leased),
            idle=len(self._idle),
            timeouts=self._timeouts,
        )

    def suspect_idle(self) -> None:
        """Has every idle connection asked before its next use, after one of them turned out to be dead."""
        self._suspicious_until = self._loop.time()

    async def close(self) -> None:
        """Serves those who wait already, then closes every connection; harmless when repeated."""
        if not self._accepts:
            return
        self._accepts = False
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wire.statement_timeout + self._wire.pool_timeout):
                while self._slots_used > len(self._idle):
                    self._changed.clear()
                    await self._changed.wait()
        self._closed = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(DatabaseClosed())
        for connection in [*self._idle, *self._leased]:
            self._close_later(connection)
        self._idle.clear()
        self._leased.clear()
        if self._closing:
            await asyncio.wait(self._closing)

    async def _connect(self) -> Connection:
        """A new connection in a slot that is counted already."""
        opening = self._loop.create_task(self._wire.connect())
        try:
            connection = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # It is made all the same, for the next one: drivers do not like to be stopped midway.
            opening.add_done_callback(self._keep_opened)
            raise
        except BaseException:
            self._free_slot()
            raise
        self._leased.add(connection)
        return connection

    def _keep_opened(self, opening: "asyncio.Task[Connection]") -> None:
        if opening.cancelled() or opening.exception() is not None:
            self._free_slot()
        else:
            self._offer(opening.result())

    def _offer(self, connection: Connection) -> None:
        """Hands a clean connection to whoever waits longest, or keeps it for the next one."""
        self._changed.set()
        waiter = None if self._closed else self._next_waiter()
        if waiter is not None:
            waiter.set_result(connection)
            self._leased.add(connection)
            return
        self._leased.discard(connection)
        if self._closed:
            self._close_later(connection)
        else:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)

    async def _wait(self, deadline: float) -> Connection | None:
        """A connection that came back, or None for a slot that became free and is the caller's now."""
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiters.append(waiter)
        limit = self._loop.call_at(deadline, self._give_up, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            # It may have been served in this very moment.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._return(waiter.result())
            raise
        finally:
            limit.cancel()
            # Those behind one who still waits go when they are met.
            while self._waiters and self._waiters[0].done():
                self._waiters.popleft()

    def _give_up(self, waiter: "asyncio.Future[Any]") -> None:
        if not waiter.done():
            self._timeouts += 1
            waiter.set_exception(PoolTimeout())

    def _return(self, granted: Connection | None) -> None:
        if granted is None:
            self._free_slot()
        else:
            self._offer(granted)

    def _next_waiter(self) -> "asyncio.Future[Connection | None] | None":
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _free_slot(self) -> None:
        waiter = None if self._closed else self._next_waiter()
        if waiter is not None:
            waiter.set_result(None)
        else:
            self._slots_used -= 1
            self._changed.set()

    def _was_idle_long(self, connection: Connection) -> bool:
        since = connection.idle_since
        return since <= self._suspicious_until or self._loop.time() - since > CHECK_IDLE_SECONDS

    async def _answers(self, connection: Connection, deadline: float) -> bool:
        seconds = min(ANSWER_SECONDS, max(deadline - self._loop.time(), 0.001))
        try:
            await connection.execute("SELECT 1", timeout=seconds)
        except self._wire.foreign:
            return False
        except BaseException:
            self._close_later(connection)
            raise
        return True

    def _drop_silent(self, connection: Connection) -> None:
        """Throws away a connection that does not answer, and those that are as old: each would cost as long a wait."""
        old = [other for other in self._idle if other.idle_since <= connection.idle_since]
        for other in old:
            self._idle.remove(other)
            self._close_later(other)
        # Without a farewell, which would keep its slot from who waits for it.
        connection.terminate()
        self._free_slot()

    def _close_later(self, connection: Connection) -> None:
        """Closes in the background: a statement that still runs is cancelled first, and its slot is free after that."""
        task = self._loop.create_task(self._close_one(connection))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_one(self, connection: Connection) -> None:
        try:
            await connection.close(timeout=CLOSE_SECONDS)
        except self._wire.foreign:
            connection.terminate()
        finally:
            self._free_slot()
