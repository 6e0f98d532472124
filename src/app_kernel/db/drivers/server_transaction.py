"""A transaction that stays open between calls, on a connection of its own until it ends or its time is over.

A savepoint always lies behind the latest call that succeeded, and one that fails goes back to it: PostgreSQL ends a
transaction in which anything failed, and a unit of several statements is to leave nothing of itself anywhere. After
reads it stays where it is, which spares them a round trip.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from app_kernel.core.errors import (
    ConnectionLost,
    DatabaseClosed,
    StoreError,
    TransactionInOtherTask,
    TransactionTimeout,
)
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.drivers.base import Driver, Row, Transaction, Unit
from app_kernel.db.drivers.counted import counted, counted_read
from app_kernel.db.drivers.pool import Pool
from app_kernel.db.drivers.units import Answer, answer, run_unit, writing_values
from app_kernel.db.drivers.wire import Connection, MovedOn, Wire
from app_kernel.db.errors import SchemaStale

T = TypeVar("T")

SAVE = "SAVEPOINT kernel_call"
_SAVE_AGAIN = f"RELEASE SAVEPOINT kernel_call; {SAVE}"
_NEST = f"RELEASE SAVEPOINT kernel_call; SAVEPOINT {{name}}; {SAVE}"
_KEEP_NESTED = f"RELEASE SAVEPOINT {{name}}; {SAVE}"
_DROP_NESTED = f"ROLLBACK TO SAVEPOINT {{name}}; RELEASE SAVEPOINT {{name}}; {SAVE}"
_LOST = "The connection to the database broke inside a transaction; nothing of the transaction was kept."
DEFINE_BEFORE = "Call ensure_fields() before the transaction for the fields that it will need."
SAVE_SECONDS = 0.25
"""How long a call that was cancelled while it set a savepoint may still wait for a lock that it asked for with it."""
TAKE_BACK_SECONDS = 2.0
"""How long a call that was cancelled may take to be undone, before the whole transaction is given up."""


class ServerTransaction(Transaction):
    """Made by the driver, which calls `start`."""

    dialect: Dialect

    def __init__(self, driver: Driver, connection: Connection, pool: Pool, wire: Wire, moved_on: MovedOn) -> None:
        self.dialect = driver.dialect
        self.generation = driver.generation
        self._pool = pool
        self._wire = wire
        self._connection = connection
        self._moved_on = moved_on
        self._loop = asyncio.get_running_loop()
        self._end: StoreError | None = None
        """Why no call is served any more; None while it is open."""
        self._busy = False
        self._depth = 0
        """How many savepoints of the caller's are open."""
        self._unsaved = False
        """Whether something was written since the savepoint was set."""
        self._defined = False
        self._leaves_state = False

    async def start(self, begin: str, seconds: float) -> None:
        """Begins; raises what the driver raises, and then the connection is still the caller's."""
        self._deadline = self._loop.time() + seconds
        await self._connection.execute(f"{begin}{self._limit(seconds)}; {SAVE}", timeout=seconds)
        self._timer = self._loop.call_at(self._deadline, self._expire)

    @abstractmethod
    def _limit(self, seconds: float) -> str:
        """What has the server end it by itself a little later, should this whole process have been frozen."""

    @abstractmethod
    def _check(self, sql: str) -> None:
        """Raises InvalidQuery for a statement that cannot be sent."""

    @abstractmethod
    def _guard(self, table: str, generation: int) -> str:
        """Statements after which nobody can change the table; the last fails if the schema is at another generation."""

    @abstractmethod
    async def _read_generation(self) -> int:
        """The schema's generation, as a statement of this transaction's."""

    @counted_read
    async def fetch(self, sql: str, params: Sequence[Any], *, observed: bool = False) -> list[Row]:
        self._check(sql)

        async def work() -> list[Row]:
            await self._save()
            rows: list[Row] = await self._fetch(sql, *params)
            if observed:
                self.generation = max(self.generation, await self._observe(sql, rows))
            return rows

        return await self._call(work)

    async def _observe(self, sql: str, rows: list[Row]) -> int:
        """The generation that a statement with these rows saw."""
        generation: int = rows[0][-1] if rows else await self._read_generation()
        return generation

    @counted("write")
    async def write(self, unit: Unit[T], generation: int, table: str) -> T:
        return await self._write(unit, generation, table)

    @counted("write")
    async def run(self, sql: str, params: Sequence[Any]) -> list[Row]:
        return await self._run(sql, params)

    async def _write(self, unit: Unit[T], generation: int, table: str) -> T:
        async def work() -> T:
            await self._save(self._guard(table, generation))
            result = await run_unit(unit, self._fetch, self._check)
            self._unsaved = True
            return result

        with writing_values(self._wire):
            return await self._call(work)

    async def _run(self, sql: str, params: Sequence[Any]) -> list[Row]:
        self._check(sql)

        async def work() -> list[Row]:
            await self._save()
            rows: list[Row] = await self._fetch(sql, *params)
            self._unsaved = True
            return rows

        return await self._call(work)

    @counted("define")
    async def define(self, unit: Unit[T]) -> T:
        return await self._define(unit)

    @abstractmethod
    async def _define(self, unit: Unit[T]) -> T:
        """Runs a unit that changes the schema."""

    async def _execute_raw(self, sql: str, params: Sequence[Any], *, leaves_state: bool) -> Answer:
        """One statement of the caller's that changes no schema."""
        self._leaves_state |= leaves_state
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
        name = f"kernel_nested_{self._depth + 1}"
        try:
            await self._settle(lambda: self._execute(_NEST.format(name=name)))
        except asyncio.CancelledError:
            if self._end is None:
                # Where this fails, the transaction is over, and its savepoints with it.
                with suppress(StoreError):
                    await self._settle(lambda: self._execute(_DROP_NESTED.format(name=name)))
            raise
        self._depth += 1

    async def end_nested(self, *, keep: bool) -> None:
        async def work() -> None:
            name = f"kernel_nested_{self._depth}"
            self._depth -= 1
            await self._execute((_KEEP_NESTED if keep else _DROP_NESTED).format(name=name))
            if self._defined and not keep:
                await self._connection.forget_statements()
                self.generation = await self._read_generation()

        await self._settle(work)

    async def _call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does the work, or takes back what it did; a statement that is out of date is prepared anew, once."""
        self._check_open()
        self._busy = True
        try:
            result = await self._try_twice(work)
        except self._wire.foreign as exc:
            raise self._wire.to_ours(exc) from exc
        finally:
            self._busy = False
        self._check_time()
        return result

    async def _try_twice(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        except BaseException as exc:
            await self._take_back(exc)
            if not self._wire.may_be_stale(exc):
                raise
        try:
            return await work()
        except BaseException as exc:
            await self._take_back(exc)
            raise

    async def _settle(self, work: Callable[[], Awaitable[None]]) -> None:
        """Does what must not stop midway: to its end also when the task is cancelled, or the transaction is over."""
        self._check_open()
        self._busy = True
        await to_the_end(self._done_or_over(work))

    async def _done_or_over(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
            self._unsaved = False
        except self._wire.foreign as exc:
            raise self._over(exc) from exc
        finally:
            self._busy = False
        self._check_time()

    def _check_open(self) -> None:
        if self._busy and self._end is None:
            raise TransactionInOtherTask
        self._check_time()

    def _check_time(self) -> None:
        """Raises why the transaction is over, also where its timer could not run because the loop stood still."""
        if self._end is None and self._loop.time() >= self._deadline:
            self._give_up(TransactionTimeout())
        if self._end is not None:
            raise self._end

    async def _save(self, then: str = "") -> None:
        """Makes sure that going back to the savepoint takes nothing with it that succeeded."""
        sql = _SAVE_AGAIN + then if self._unsaved else then.removeprefix("; ")
        if not sql:
            return
        try:
            if self._unsaved:
                # Between the old savepoint and the new one a cancelled call would have nothing to go back to.
                await to_the_end(self._execute(sql), lambda task: self._loop.call_later(SAVE_SECONDS, task.cancel))
            else:
                await self._execute(sql)
        except self._wire.foreign as exc:
            if self._wire.is_other_generation(exc):
                raise SchemaStale from exc
            raise
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
        if self._is_over_with(exc) or self._end is not None or self._loop.time() >= self._deadline:
            self._over(exc)
        else:
            await to_the_end(self._go_back(exc))
        if self._end is not None and isinstance(exc, Exception):
            raise self._end from exc

    def _is_over_with(self, exc: BaseException) -> bool:
        """Whether nothing is left to go back to after this failure."""
        foreign = isinstance(exc, self._wire.foreign)
        return foreign and (self._wire.is_lost(exc) or self._wire.ended_transaction(exc))

    async def _go_back(self, exc: BaseException) -> None:
        try:
            await self._connection.execute("ROLLBACK TO SAVEPOINT kernel_call", timeout=TAKE_BACK_SECONDS)
        except self._wire.foreign as broken:
            self._over(broken)
            return
        self._unsaved = False
        if self._wire.may_be_stale(exc) or self._defined:
            await self._connection.forget_statements()

    async def _commit(self) -> None:
        try:
            await self._wire.commit(self._connection)
        except self._wire.foreign as exc:
            ours = self._wire.to_ours(exc)
            if self._wire.was_never_sent(exc) and self._wire.is_lost(exc):
                ours = ConnectionLost(_LOST)
            self._give_up(ours if isinstance(ours, StoreError) else ConnectionLost())
            raise ours from exc
        except BaseException:
            # Nothing that the driver is known to raise: the connection must not be lost to the pool for it.
            self._give_up(ConnectionLost())
            raise
        self.committed = True
        self._end = DatabaseClosed("This transaction was committed; it takes no further calls.")
        self._moved_on(self.generation)
        self._give_back()

    async def _roll_back(self) -> None:
        try:
            await self._connection.execute("ROLLBACK", timeout=TAKE_BACK_SECONDS)
            if self._defined:
                await self._connection.forget_statements()
        except self._wire.foreign:
            self._pool.discard(self._connection)
        except BaseException:
            self._pool.discard(self._connection)
            raise
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

    def _over(self, exc: BaseException) -> StoreError:
        """Ends it because of a failure that cannot be taken back, unless it has ended; why it has."""
        if self._end is not None:
            return self._end
        if isinstance(exc, self._wire.foreign) and self._wire.is_lost(exc):
            self._pool.suspect_idle()
        late = self._loop.time() >= self._deadline
        why: StoreError = TransactionTimeout() if late else ConnectionLost(_LOST)
        if not late and isinstance(exc, self._wire.foreign) and self._wire.ended_transaction(exc):
            ours = self._wire.to_ours(exc)
            why = ours if isinstance(ours, StoreError) else why
        self._give_up(why)
        return why

    def _give_up(self, why: StoreError) -> None:
        self._timer.cancel()
        self._end = why
        self._pool.discard(self._connection)


async def to_the_end(
    work: Coroutine[Any, Any, T], when_cancelled: Callable[["asyncio.Task[T]"], object] | None = None
) -> T:
    """The result of work that goes on when this task is cancelled, however often; then raises.

    `when_cancelled` is given the work when that happens first, so that it may hurry; this ends when the work does.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as exc:
            if cancelled is None and when_cancelled is not None:
                when_cancelled(task)
            cancelled = cancelled or exc
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        # Looked at, so that nobody complains that it was not.
        task.exception()
    raise cancelled
