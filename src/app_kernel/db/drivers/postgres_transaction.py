"""A transaction that stays open between calls, on a connection of its own until it ends or its time is over.

PostgreSQL ends a transaction in which anything failed; so a savepoint always lies behind the latest call that
succeeded, and one that fails goes back to it. After reads it stays where it is, which spares them a round trip.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]  # it brings no types

from app_kernel.core.errors import (
    ConnectionLost,
    DatabaseClosed,
    StoreError,
    TransactionInOtherTask,
    TransactionTimeout,
)
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.drivers.base import Driver, Row, Transaction, Unit
from app_kernel.db.drivers.postgres_connection import Connection
from app_kernel.db.drivers.postgres_errors import FOREIGN, is_lost, may_be_stale, to_ours, writing_values
from app_kernel.db.drivers.postgres_pool import PostgresPool
from app_kernel.db.drivers.postgres_runner import commit
from app_kernel.db.drivers.postgres_statements import (
    GENERATION,
    TAKE_SCHEMA_LOCK,
    Answer,
    RawStatement,
    answer,
    defining_unit,
    guard,
    run_unit,
    with_generation,
)
from app_kernel.db.errors import SchemaStale

T = TypeVar("T")

_SAVE = "SAVEPOINT kernel_call"
_SAVE_AGAIN = f"RELEASE SAVEPOINT kernel_call; {_SAVE}"
_NEST = "RELEASE SAVEPOINT kernel_call; SAVEPOINT kernel_nested; SAVEPOINT kernel_call"
_KEEP_NESTED = f"RELEASE SAVEPOINT kernel_nested; {_SAVE}"
_DROP_NESTED = f"ROLLBACK TO SAVEPOINT kernel_nested; RELEASE SAVEPOINT kernel_nested; {_SAVE}"
TAKE_BACK_SECONDS = 2.0
"""How long a call that was cancelled may take to be undone, before the whole transaction is given up."""


class PostgresTransaction(Transaction):
    """Made by the driver, which calls `start`."""

    dialect: Dialect

    def __init__(
        self, driver: Driver, connection: Connection, pool: PostgresPool, committed: Callable[[int], None]
    ) -> None:
        self.dialect = driver.dialect
        self.generation = driver.generation
        self._pool = pool
        self._connection = connection
        self._committed = committed
        self._loop = asyncio.get_running_loop()
        self._end: StoreError | None = None
        """Why no call is served any more; None while it is open."""
        self._busy = False
        self._unsaved = False
        """Whether something was written since the savepoint was set."""
        self._defined = False
        self._leaves_state = False

    async def start(self, begin: str, seconds: float) -> None:
        """Begins; raises what asyncpg raises, and then the connection is still the caller's."""
        self._deadline = self._loop.time() + seconds
        # The server ends it a little later by itself, should this whole process have been frozen.
        limit = round(seconds * 1000) + 1000
        await self._connection.execute(
            f"{begin}; SET LOCAL idle_in_transaction_session_timeout = {limit}; {_SAVE}", timeout=seconds
        )
        self._timer = self._loop.call_at(self._deadline, self._expire)

    async def fetch(self, sql: str, params: Sequence[Any], *, observed: bool = False) -> list[Row]:
        async def work() -> list[Row]:
            await self._save()
            rows: list[Row] = await self._fetch(sql, *params)
            if observed:
                seen = rows[0][-1] if rows else (await self._fetch(GENERATION))[0][0]
                self.generation = max(self.generation, seen)
            return rows

        return await self._call(work)

    async def write(self, unit: Unit[T], generation: int, table: str) -> T:
        async def work() -> T:
            await self._save(guard(self.dialect.table(table), generation))
            result = await run_unit(unit, self._fetch)
            self._unsaved = True
            return result

        with writing_values():
            return await self._call(work)

    async def run(self, sql: str, params: Sequence[Any]) -> list[Row]:
        async def work() -> list[Row]:
            await self._save()
            rows: list[Row] = await self._fetch(sql, *params)
            self._unsaved = True
            return rows

        return await self._call(work)

    async def define(self, unit: Unit[T]) -> T:
        return await self._define(with_generation(unit))

    async def execute(self, sql: str, params: Sequence[Any]) -> Answer:
        raw = RawStatement(sql)
        self._leaves_state |= raw.leaves_state
        if raw.defines:
            return await self._define(defining_unit(sql, params))
        return answer(await self.run(sql, params))

    async def commit(self) -> None:
        self._check_open()
        self._busy = True
        self._timer.cancel()
        await to_the_end(self._commit())

    async def rollback(self) -> None:
        if self._end is not None:
            return
        self._timer.cancel()
        self._end = DatabaseClosed("This transaction was rolled back; it takes no further calls.")
        if self._busy:
            self._pool.discard(self._connection)
        else:
            await to_the_end(self._roll_back())

    async def begin_nested(self) -> None:
        async def work() -> None:
            await self._execute(_NEST)
            self._unsaved = False

        await self._call(work)

    async def end_nested(self, *, keep: bool) -> None:
        async def work() -> None:
            await self._execute(_KEEP_NESTED if keep else _DROP_NESTED)
            self._unsaved = False
            if self._defined and not keep:
                await self._connection.forget_statements()
                self.generation = (await self._fetch(GENERATION))[0][0]

        await self._call(work)

    async def _define(self, unit: Unit[tuple[T, int]]) -> T:
        async def work() -> T:
            self._defined = True
            await self._save(TAKE_SCHEMA_LOCK)
            result, self.generation = await run_unit(unit, self._fetch)
            self._unsaved = True
            return result

        return await self._call(work)

    async def _call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does the work, or takes back what it did; a statement that is out of date is prepared anew, once."""
        self._check_open()
        self._busy = True
        try:
            try:
                return await work()
            except BaseException as exc:
                await self._take_back(exc)
                if not may_be_stale(exc):
                    raise
            try:
                return await work()
            except BaseException as exc:
                await self._take_back(exc)
                raise
        except FOREIGN as exc:
            raise to_ours(exc) from exc
        finally:
            self._busy = False

    def _check_open(self) -> None:
        if self._end is not None:
            raise self._end
        if self._busy:
            raise TransactionInOtherTask

    async def _save(self, then: str = "") -> None:
        """Makes sure that going back to the savepoint takes nothing with it that succeeded."""
        sql = _SAVE_AGAIN + then if self._unsaved else then.removeprefix("; ")
        if not sql:
            return
        try:
            await self._execute(sql)
        except asyncpg.DivisionByZeroError as exc:
            raise SchemaStale from exc
        finally:
            # Also where what follows failed: the savepoint is set before it.
            self._unsaved = False

    async def _execute(self, sql: str) -> None:
        await self._connection.execute(sql, timeout=self._left())

    async def _fetch(self, sql: str, *params: Any) -> Any:
        return await self._connection.fetch(sql, *params, timeout=self._left())

    def _left(self) -> float:
        return max(self._deadline - self._loop.time(), 0.001)

    async def _take_back(self, exc: BaseException) -> None:
        """Goes back to the savepoint after a failure; ends the transaction, and says so, where that cannot be done."""
        why = self._end or await self._why_lost(exc)
        if why is None:
            return
        if self._end is None:
            self._give_up(why)
        if isinstance(exc, Exception):
            raise why from exc

    async def _why_lost(self, exc: BaseException) -> StoreError | None:
        """What ended the transaction; None after going back to the savepoint."""
        if self._loop.time() >= self._deadline:
            return TransactionTimeout()
        if isinstance(exc, FOREIGN) and is_lost(exc):
            self._pool.suspect_idle()
            return ConnectionLost()
        try:
            await to_the_end(self._go_back(exc))
        except FOREIGN:
            return ConnectionLost()
        return None

    async def _go_back(self, exc: BaseException) -> None:
        await self._connection.execute("ROLLBACK TO SAVEPOINT kernel_call", timeout=TAKE_BACK_SECONDS)
        self._unsaved = False
        if may_be_stale(exc) or self._defined:
            await self._connection.forget_statements()

    async def _commit(self) -> None:
        try:
            await commit(self._connection)
        except FOREIGN as exc:
            ours = to_ours(exc)
            self._give_up(ours if isinstance(ours, StoreError) else ConnectionLost())
            raise ours from exc
        self._end = DatabaseClosed("This transaction was committed; it takes no further calls.")
        self._give_back()
        self._committed(self.generation)

    async def _roll_back(self) -> None:
        try:
            await self._connection.execute("ROLLBACK", timeout=TAKE_BACK_SECONDS)
            if self._defined:
                await self._connection.forget_statements()
        except FOREIGN:
            self._pool.discard(self._connection)
        else:
            self._give_back()

    def _give_back(self) -> None:
        if self._leaves_state:
            self._pool.discard(self._connection)
        else:
            self._pool.release(self._connection)

    def _expire(self) -> None:
        # A call that is under way runs into the same deadline and ends the transaction itself.
        if self._end is None and not self._busy:
            self._give_up(TransactionTimeout())

    def _give_up(self, why: StoreError) -> None:
        self._timer.cancel()
        self._end = why
        self._pool.discard(self._connection)


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """The result of work that is done to its end also when this task is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
