"""A transaction that stays open between calls: the writer's thread serves it alone until it ends or times out."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from app_kernel.core.errors import DatabaseClosed, StoreError, TransactionTimeout
from app_kernel.db.dialects.sqlite import SqliteDialect
from app_kernel.db.drivers.base import ANY_GENERATION, Row, Transaction, Unit
from app_kernel.db.drivers.counted import counted, counted_read
from app_kernel.db.drivers.sqlite_connection import PROGRESS_STEPS, deadline_handler, read_generation
from app_kernel.db.drivers.sqlite_errors import as_ours
from app_kernel.db.drivers.sqlite_outcome import Outcome
from app_kernel.db.drivers.sqlite_statements import run_raw, run_unit
from app_kernel.db.errors import SchemaStale

if TYPE_CHECKING:
    from app_kernel.db.drivers.sqlite_writer import SqliteWriter

T = TypeVar("T")
Work = Callable[[apsw.Connection], Any]


class _Call(Outcome):
    """Something to do on the connection."""

    __slots__ = ("guarded", "keeps", "work")

    def __init__(self, work: Work, *, guarded: bool, keeps: bool = True) -> None:
        super().__init__()
        self.work = work
        self.guarded = guarded
        """Whether it takes back what it did when it fails."""
        self.keeps = keeps
        """Whether what the call before it did is settled by it, or may still be taken back."""

    def finish(self) -> None:
        """Tells the waiting task, from any thread."""
        # A closed loop has nobody who waits.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.deliver)


class SqliteTransaction(Transaction):
    """Other writers wait while it is open, so its time is limited."""

    dialect = SqliteDialect()

    def __init__(self, writer: "SqliteWriter", seconds: float, *, committed: Callable[[int], None]) -> None:
        self._writer = writer
        self._seconds = seconds
        self._deadline = 0.0
        self._committed = committed
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        self._depth = 0
        self._is_guarding = False
        """Whether the savepoint of the latest guarded call is still there, so that it can be taken back."""
        self._end: StoreError | None = None
        """Why no call is served any more; None while it is open."""

    # In the event loop.

    async def begin(self) -> None:
        """Waits for the writer; raises DatabaseBusy when another process keeps it too long."""
        try:
            await self._writer.begin(self)
        except asyncio.CancelledError:
            # It may have begun in this very moment.
            self._calls.put(_Call(self._roll_back, guarded=False))
            raise

    @counted_read
    async def fetch(self, sql: str, params: Sequence[Any], *, observed: bool = False) -> list[Row]:
        rows: list[Row] = await self._call(lambda connection: connection.execute(sql, params).fetchall(), guarded=False)
        return rows

    @counted("write")
    async def write(self, unit: Unit[T], generation: int, table: str) -> T:
        def work(connection: apsw.Connection) -> T:
            if generation not in (ANY_GENERATION, self.generation):
                raise SchemaStale
            return run_unit(connection, unit)

        result: T = await self._call(work)
        return result

    @counted("write")
    async def run(self, sql: str, params: Sequence[Any]) -> list[Row]:
        rows: list[Row] = await self._call(lambda connection: connection.execute(sql, params).fetchall())
        return rows

    @counted("define")
    async def define(self, unit: Unit[T]) -> T:
        def work(connection: apsw.Connection) -> T:
            result = run_unit(connection, unit)
            self.generation = read_generation(connection)
            return result

        result: T = await self._call(work)
        return result

    @counted("raw")
    async def execute(self, sql: str, params: Sequence[Any]) -> tuple[tuple[str, ...], list[Row]]:
        def work(connection: apsw.Connection) -> tuple[tuple[str, ...], list[Row]]:
            answer = run_raw(connection, sql, params)
            self.generation = read_generation(connection)
            return answer

        answer: tuple[tuple[str, ...], list[Row]] = await self._call(work)
        return answer

    async def commit(self) -> None:
        call = _Call(self._commit, guarded=False)
        self._put(call)
        try:
            await self._done(call)
        finally:
            if self.committed:
                self._committed(self.generation)

    async def rollback(self) -> None:
        await self._put_and_wait(_Call(self._roll_back, guarded=False))

    async def begin_nested(self) -> None:
        name = f"nested_{self._depth + 1}"
        call = _Call(lambda connection: connection.execute(f"SAVEPOINT {name}"), guarded=False)
        self._put(call)
        try:
            await self._done(call)
        except asyncio.CancelledError:
            await self._undo(call, lambda connection: take_back(connection, name))
            raise
        self._depth += 1

    async def end_nested(self, *, keep: bool) -> None:
        name = f"nested_{self._depth}"
        self._depth -= 1

        def work(connection: apsw.Connection) -> None:
            if keep:
                connection.execute(f"RELEASE {name}")
            else:
                take_back(connection, name)
                self.generation = read_generation(connection)

        call = _Call(work, guarded=False)
        self._put(call)
        await self._done(call)

    async def _call(self, work: Work, *, guarded: bool = True) -> Any:
        call = _Call(work, guarded=guarded)
        self._put(call)
        try:
            return await self._done(call)
        except asyncio.CancelledError:
            if guarded:
                await self._undo(call, self._take_back_last)
            raise

    async def _done(self, call: _Call) -> Any:
        """What the call gives. A task that is cancelled waits for its end all the same: the thread goes on with it."""
        try:
            return await asyncio.shield(call.future)
        except asyncio.CancelledError:
            await to_the_end(call.future)
            raise

    async def _undo(self, call: _Call, work: Work) -> None:
        """Takes back a call that was done although its task was cancelled."""
        if call.future.exception() is None:
            await self._put_and_wait(_Call(work, guarded=False, keeps=False))

    async def _put_and_wait(self, call: _Call) -> None:
        """Has a call done that takes something back; where the transaction is over nothing is left to take back."""
        # The thread may end it at any moment, so that no look would be enough.
        with suppress(StoreError):
            self._put(call)
            await to_the_end(call.future)
            call.future.exception()

    def _put(self, call: _Call) -> None:
        if self._end is not None:
            raise self._end
        self._calls.put(call)
        if self._has_ended():
            # In between: a call that was put after the thread's last look would wait for ever.
            self._refuse_waiting()

    def _has_ended(self) -> bool:
        return self._end is not None

    # In the writer's thread.

    def serve(self, connection: apsw.Connection, generation: int) -> None:
        """Runs what is asked for between BEGIN and the end, which the connection has reached when this returns."""
        self.generation = generation
        self._deadline = time.monotonic() + self._seconds
        connection.set_progress_handler(deadline_handler(self._seconds), PROGRESS_STEPS)
        try:
            while self._end is None:
                try:
                    call = self._calls.get(timeout=max(self._deadline - time.monotonic(), 0))
                except Empty:
                    self._end = TransactionTimeout()
                else:
                    self._run(connection, call)
                    call.finish()
        finally:
            connection.set_progress_handler(None)
            if self._end is None:
                self._end = DatabaseClosed()
            self._refuse_waiting()

    def _run(self, connection: apsw.Connection, call: _Call) -> None:
        if time.monotonic() >= self._deadline:
            self._end = call.error = TransactionTimeout()
            return
        try:
            if call.keeps and self._is_guarding:
                self._is_guarding = False
                connection.execute("RELEASE call")
            if call.guarded:
                connection.execute("SAVEPOINT call")
                self._is_guarding = True
            call.result = call.work(connection)
        except BaseException as exc:  # noqa: BLE001 - the waiting task gets whatever it was
            call.error = as_ours(exc)
            if time.monotonic() >= self._deadline:
                self._end = call.error = TransactionTimeout()
            elif not connection.in_transaction:
                # SQLite rolled the whole of it back: the disk is full, or a constraint says ON CONFLICT ROLLBACK.
                self._end = call.error if isinstance(call.error, StoreError) else DatabaseClosed()
            elif call.guarded:
                self._take_back_last(connection)

    def _take_back_last(self, connection: apsw.Connection) -> None:
        """Takes back the latest guarded call."""
        if self._is_guarding:
            self._is_guarding = False
            take_back(connection, "call")
            self.generation = read_generation(connection)

    def _commit(self, connection: apsw.Connection) -> None:
        try:
            connection.execute("COMMIT")
        except apsw.Error as exc:
            ours = as_ours(exc)
            self._end = ours if isinstance(ours, StoreError) else DatabaseClosed()
            raise
        self._end = _Committed()
        self.committed = True
        self._writer.moved_on(self.generation)

    def _roll_back(self, connection: apsw.Connection) -> None:
        self._end = _RolledBack()
        if connection.in_transaction:
            connection.execute("ROLLBACK")

    def _refuse_waiting(self) -> None:
        while True:
            try:
                call = self._calls.get_nowait()
            except Empty:
                return
            call.error = self._end
            call.finish()


def take_back(connection: apsw.Connection, savepoint: str) -> None:
    """Ends a savepoint and takes back what was done since."""
    connection.execute(f"ROLLBACK TO {savepoint}")
    connection.execute(f"RELEASE {savepoint}")


async def to_the_end(future: asyncio.Future[Any]) -> None:
    """Waits for a future, however often its task is cancelled meanwhile; the caller raises CancelledError again."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])


class _Committed(DatabaseClosed):
    """This transaction was committed; it takes no further calls."""


class _RolledBack(DatabaseClosed):
    """This transaction was rolled back; it takes no further calls."""
