"""Work that is whole in one call, on a connection of the pool; repeated only where nothing of it can have happened."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, TypeVar

from app_kernel.core.errors import ConnectionLost
from app_kernel.db.drivers.base import Unit
from app_kernel.db.drivers.pool import Pool
from app_kernel.db.drivers.units import check_text, run_unit
from app_kernel.db.drivers.wire import Connection, Wire
from app_kernel.db.errors import SchemaStale

T = TypeVar("T")

CONFLICT_RETRIES = 5
"""How often work that a deadlock took back is run again."""
LOCK_RETRIES = 2
"""How often a change of the schema that got no lock is tried again; between, those who waited behind it go on."""


class Tries:
    """How often a piece of work may still be repeated, by the reason."""

    __slots__ = ("_wire", "conflicts", "locks", "lost", "stale")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.conflicts = CONFLICT_RETRIES
        self.locks = LOCK_RETRIES
        self.lost = self.stale = 1

    def again(self, exc: BaseException, *, undone: bool) -> bool:
        """Whether work that failed like this is to be repeated; `undone` says that nothing of it can have happened."""
        wire = self._wire
        if wire.is_lost(exc):
            self.lost -= 1
            return (undone or wire.was_never_sent(exc)) and self.lost >= 0
        if wire.is_conflict(exc):
            self.conflicts -= 1
            return self.conflicts >= 0
        if wire.is_lock_timeout(exc):
            self.locks -= 1
            return self.locks >= 0
        if wire.may_be_stale(exc):
            self.stale -= 1
            return self.stale >= 0
        return False


class Runner:
    """Runs single statements and units on the connections of a pool."""

    def __init__(self, pool: Pool, wire: Wire, begin: str) -> None:
        self.pool = pool
        self.wire = wire
        self.begin = begin
        """Begins a transaction in which a look after a lock sees what was committed before it."""

    async def single(
        self,
        sql: str,
        params: Sequence[Any],
        *,
        reads: bool,
        leaves_state: bool = False,
        isolated: bool = False,
    ) -> list[Any]:
        """The rows of one statement, which is its own transaction.

        With `reads` it may be run twice. With `isolated` it is sure to see what was committed before it got its
        locks, whatever the server's default is.
        """
        self.check(sql)
        tries: Tries | None = None
        wraps = self.wraps(sql, isolated=isolated)
        pool = self.pool
        while True:
            connection = await pool.acquire()
            try:
                if wraps:
                    rows: list[Any] = await self._single_wrapped(connection, sql, params)
                else:
                    rows = await connection.fetch(sql, *params)
            except self.wire.foreign as exc:
                tries = tries or Tries(self.wire)
                await self.give_back(connection, exc, leaves_state=leaves_state)
                if tries.again(exc, undone=reads):
                    continue
                raise self._cut(exc, undone=reads) from exc
            except BaseException:
                pool.discard(connection)
                raise
            (pool.discard if leaves_state else pool.release)(connection)
            return rows

    async def transact(self, after_begin: str, unit: Unit[T], *, leaves_state: bool = False) -> T:
        """The result of a unit in a transaction of its own; `after_begin` goes to the server together with BEGIN."""
        tries = Tries(self.wire)
        pool = self.pool
        while True:
            connection = await pool.acquire()
            committing = False
            try:
                attempt = self.attempt(connection, after_begin)
                result = await attempt.run(unit)
                committing = True
                await attempt.commit()
            except self.wire.foreign as exc:
                await self.give_back(connection, exc, leaves_state=leaves_state)
                if not tries.again(exc, undone=not committing):
                    raise self._cut(exc, undone=not committing) from exc
                await asyncio.sleep(random.uniform(0, 0.02))  # noqa: S311 - spreads retries, hides nothing
            except Exception:
                await self.give_back(connection, None, leaves_state=leaves_state)
                raise
            except BaseException:
                pool.discard(connection)
                raise
            else:
                (pool.discard if leaves_state else pool.release)(connection)
                return result

    async def script(self, sql: str) -> None:
        """Runs several statements of our own in one round trip; they bring their own transaction."""
        connection = await self.pool.acquire()
        try:
            await connection.execute(sql)
        except self.wire.foreign as exc:
            await self.give_back(connection, exc)
            raise self._cut(exc, undone=False) from exc
        except BaseException:
            self.pool.discard(connection)
            raise
        self.pool.release(connection)

    def check(self, sql: str) -> None:
        """Raises InvalidQuery for a statement that cannot be sent."""
        check_text(sql)

    def wraps(self, sql: str, *, isolated: bool) -> bool:
        """Whether even a single statement needs a transaction around it."""
        return False

    def attempt(self, connection: Connection, after_begin: str) -> "Attempt":
        """How the statements of one transaction are sent."""
        return Attempt(self, connection, after_begin)

    async def start(self, connection: Connection, after_begin: str) -> None:
        """Begins a transaction; raises SchemaStale where a guard in `after_begin` says so."""
        try:
            await connection.execute(self.begin + after_begin)
        except self.wire.foreign as exc:
            if self.wire.is_other_generation(exc):
                raise SchemaStale from exc
            raise

    async def _single_wrapped(self, connection: Connection, sql: str, params: Sequence[Any]) -> list[Any]:
        await connection.execute(self.begin)
        rows = await connection.fetch(sql, *params)
        await self.wire.commit(connection)
        return rows

    async def give_back(self, connection: Connection, exc: BaseException | None, *, leaves_state: bool = False) -> None:
        """Gives a connection back on which something failed, its transaction rolled back; closes it where in doubt."""
        pool, wire = self.pool, self.wire
        if exc is not None and wire.is_lost(exc):
            pool.suspect_idle()
        if leaves_state or (exc is not None and not wire.is_reusable(exc)):
            pool.discard(connection)
            return
        try:
            if exc is not None and wire.may_be_stale(exc):
                await connection.forget_statements()
            if connection.is_in_transaction():
                await connection.execute("ROLLBACK")
        except wire.foreign:
            pool.discard(connection)
        except BaseException:
            pool.discard(connection)
            raise
        else:
            pool.release(connection)

    def _cut(self, exc: BaseException, *, undone: bool) -> Exception:
        """Our error; a write whose end nobody heard of may have happened, and then no other error would be true."""
        if not undone and isinstance(exc, TimeoutError):
            return ConnectionLost()
        return self.wire.to_ours(exc)


class Attempt:
    """One transaction of a unit on a connection: BEGIN, its statements one by one, COMMIT."""

    def __init__(self, runner: Runner, connection: Connection, after_begin: str) -> None:
        self.runner = runner
        self.connection = connection
        self.after_begin = after_begin

    async def run(self, unit: Unit[T]) -> T:
        """The result of the unit, which is not committed yet."""
        await self.runner.start(self.connection, self.after_begin)
        return await run_unit(unit, self.connection.fetch, self.runner.check)

    async def commit(self) -> None:
        """Commits; raises as `Wire.commit`."""
        await self.runner.wire.commit(self.connection)
