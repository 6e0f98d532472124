"""SQLite over apsw: reads inline on the event loop as long as they are short, writes in one thread."""

import asyncio
import queue
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

import apsw

from app_kernel.core.database_figures import SAMPLED, DatabaseFigures, PoolFigures
from app_kernel.core.errors import DatabaseClosed, KernelError, StorageReadOnly, Unavailable
from app_kernel.db.dialects.sqlite import SqliteDialect
from app_kernel.db.drivers.base import ANY_GENERATION, Driver, Lease, Row, Snapshot, Unit, Work
from app_kernel.db.drivers.counted import counted, counted_read
from app_kernel.db.drivers.file_lease import FileLease
from app_kernel.db.drivers.local_signals import LocalSignals
from app_kernel.db.drivers.sqlite_connection import (
    GENERATION,
    PROGRESS_STEPS,
    connect,
    deadline_handler,
    read_generation,
)
from app_kernel.db.drivers.sqlite_errors import to_ours
from app_kernel.db.drivers.sqlite_snapshot import copy_file, open_snapshot
from app_kernel.db.drivers.sqlite_statements import run_raw, run_statement
from app_kernel.db.drivers.sqlite_transaction import SqliteTransaction
from app_kernel.db.drivers.sqlite_writer import SqliteWriter

T = TypeVar("T")

INLINE_LOOKS = 10
"""Looks after which a reader thread takes a read over from the event loop: about 2 ms, or twenty hops.

Steps are counted instead of time, because a busy machine takes time away from a short statement too."""
INLINE_SECONDS = 0.02
"""Time after which it does so in any case: the steps of a statement that waits for a disk are few."""
SHORT_SECONDS = 0.001
"""A read that a thread did in less of its own time goes back to the event loop."""
READER_THREADS = 2
"""More make a long find slower, not faster: they take turns at the interpreter's lock."""
_LONG_MEMORY = 1000
_READS = re.compile(r"\s*(SELECT|WITH|VALUES|EXPLAIN)\b", re.IGNORECASE)


class SqliteDriver(Driver):
    """One database file. `:memory:` is a private temporary file, so that it behaves like any other."""

    dialect: SqliteDialect = SqliteDialect()

    def __init__(
        self, path: str, *, synchronous: str = "FULL", busy_seconds: float = 10, statement_seconds: float = 30
    ) -> None:
        self.figures = DatabaseFigures()
        self._path = path
        self._synchronous = synchronous
        self._busy_seconds = busy_seconds
        self._statement_seconds = statement_seconds
        self._temporary: str | None = None
        self._reader: apsw.Connection | None = None
        self._seen = -1
        self._looks = 0
        self._deadline = 0.0
        self._known_long: dict[str, None] = {}
        self.is_filled = False
        """Whether all of it is about to be filled: rows then come before those that they refer to, and indexes are
        built over a whole table at once, which takes the disk instead of memory."""

    async def open(self) -> None:
        if self._path == ":memory:":
            self._temporary = tempfile.mkdtemp(prefix="app-kernel-")
            self._path = str(Path(self._temporary) / "memory.db")
            self._synchronous = "OFF"
        else:
            self._path = _make_directory(self._path)
        self._seen = -1
        self._signals = LocalSignals(self._path)
        self._writer = SqliteWriter(self._open_writer, Path(self._path).name, busy_seconds=self._busy_seconds)
        try:
            await self._writer.open()
            # Opening may meet another process that recovers the file, so only reading does without waiting.
            self._reader = self._open_reader(busy_seconds=self._busy_seconds)
        except BaseException as exc:
            # Also when the task was cancelled: nobody else knows of the thread and the files.
            await asyncio.shield(self._writer.close())
            self._remove_temporary()
            if isinstance(exc, apsw.Error):
                raise to_ours(exc) from exc
            raise
        self._reader.set_busy_handler(None)
        self._reader.set_progress_handler(self._is_over_budget, PROGRESS_STEPS)
        self._readers = _ReaderThreads(self)
        self.generation = self._writer.generation

    async def close(self) -> None:
        if self._reader is None:
            return
        reader, self._reader = self._reader, None
        # A task of its own, because one that is cancelled midway must not leave threads and files behind.
        await asyncio.shield(asyncio.create_task(self._close(reader)))

    async def _close(self, reader: apsw.Connection) -> None:
        self._signals.close()
        await self._readers.close()
        reader.close()
        # Last, because only the last connection, if it may write, moves the log into the file and removes it.
        await self._writer.close()
        self._remove_temporary()

    def _remove_temporary(self) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    async def fetch(self, sql: str, params: Sequence[Any], *, observed: bool = False) -> list[Row]:
        figures = self.figures
        # What succeeds at once and is not timed needs no second coroutine around it: a twentieth of a read.
        if sql not in self._known_long and (figures.reads + 1) % SAMPLED:
            try:
                rows = self._fetch_inline(sql, params)
            except apsw.InterruptError:
                self._remember_long(sql)
            except (apsw.Error, KernelError):
                pass  # it is asked for again, and counted
            else:
                figures.reads += 1
                return rows
        return await self._fetch(sql, params, observed=observed)

    @counted_read
    async def _fetch(self, sql: str, params: Sequence[Any], *, observed: bool = False) -> list[Row]:
        if sql not in self._known_long:
            try:
                return self._fetch_inline(sql, params)
            except apsw.InterruptError:
                self._remember_long(sql)
            except apsw.BusyError:
                pass
            except apsw.Error as exc:
                raise to_ours(exc) from exc
        if self._reader is None:
            raise DatabaseClosed
        rows, generation, seconds = await self._readers.run(lambda connection: _fetch_timed(connection, sql, params))
        if seconds < SHORT_SECONDS:
            self._known_long.pop(sql, None)
        self.generation = max(self.generation, generation)
        return rows

    @counted("write")
    async def write(self, unit: Unit[T], generation: int, table: str) -> T:
        return await self._writer.submit(unit, generation)

    @counted("write")
    async def run(self, sql: str, params: Sequence[Any]) -> list[Row]:
        def work() -> Work[list[Row]]:
            return (yield sql, params)

        return await self._writer.submit(work, ANY_GENERATION)

    @counted("transaction")
    async def begin(self, seconds: float) -> SqliteTransaction:
        transaction = SqliteTransaction(self._writer, seconds, committed=self._committed)
        transaction.figures = self.figures
        await transaction.begin()
        return transaction

    def pool(self) -> PoolFigures:
        if self._reader is None:
            return PoolFigures(waiting=0)
        writer = self._writer
        return PoolFigures(waiting=writer.waiting, commits=writer.commits, units=writer.units)

    def _committed(self, generation: int) -> None:
        self.generation = max(self.generation, generation)

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        if self._reader is None:
            raise DatabaseClosed
        return open_snapshot(lambda: self._open_reader(busy_seconds=self._busy_seconds), self.dialect)

    async def copy_file(self, path: str) -> None:
        """Makes a file a copy of the database as of this instant, and checks it; others may write meanwhile."""
        if self._reader is None:
            raise DatabaseClosed
        await copy_file(lambda: self._open_reader(busy_seconds=self._busy_seconds), path)

    async def acquire_lease(self, name: str) -> Lease | None:
        if self._reader is None:
            raise DatabaseClosed
        return FileLease.acquire(self._path, name)

    def signal(self, channel: str) -> None:
        self._signals.signal(channel)

    def on_signal(self, channel: str, callback: Callable[[], object]) -> Callable[[], None]:
        return self._signals.on_signal(channel, callback)

    @counted("define")
    async def define(self, unit: Unit[T]) -> T:
        writer = self._writer

        def work() -> Work[tuple[T, int]]:
            result = yield from unit()
            rows = yield (GENERATION, ())
            generation: int = rows[0][0]
            writer.moved_on(generation)
            return result, generation

        result, generation = await writer.submit(work, ANY_GENERATION, alone=True)
        self.generation = max(self.generation, generation)
        return result

    @counted("raw")
    async def execute(self, sql: str, params: Sequence[Any]) -> tuple[tuple[str, ...], list[Row]]:
        if _READS.match(sql):
            try:
                return await self._readers.run(lambda connection: run_statement(connection, sql, params))
            except StorageReadOnly:
                pass  # A WITH before an INSERT, or a function that writes: it belongs to the writer after all.
        writer = self._writer

        def work() -> Work[tuple[tuple[tuple[str, ...], list[Row]], int]]:
            connection = writer.connection
            connection.set_progress_handler(deadline_handler(self._statement_seconds), PROGRESS_STEPS)
            try:
                answer = run_raw(connection, sql, params)
            finally:
                connection.set_progress_handler(None)
            writer.moved_on(read_generation(connection))
            yield from ()
            return answer, writer.generation

        answer, generation = await writer.submit(work, ANY_GENERATION, alone=True)
        self.generation = max(self.generation, generation)
        return answer

    def _fetch_inline(self, sql: str, params: Sequence[Any]) -> list[Row]:
        reader = self._reader
        if reader is None:
            raise DatabaseClosed
        self._looks = 0
        self._deadline = time.monotonic() + INLINE_SECONDS
        rows: list[Row] = reader.execute(sql, params).fetchall()
        version = reader.data_version()
        if version != self._seen:
            self.generation = read_generation(reader)
            self._seen = version
        return rows

    def _is_over_budget(self) -> bool:
        self._looks += 1
        return self._looks > INLINE_LOOKS or time.monotonic() > self._deadline

    def _remember_long(self, sql: str) -> None:
        """A query that overran goes straight to a reader thread from now on, oldest forgotten first."""
        if len(self._known_long) >= _LONG_MEMORY:
            del self._known_long[next(iter(self._known_long))]
        self._known_long[sql] = None

    def _open_writer(self) -> apsw.Connection:
        connection = connect(
            self._path, read_only=False, synchronous=self._synchronous, busy_seconds=self._busy_seconds
        )
        if self.is_filled:
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute("PRAGMA temp_store = FILE")
        return connection

    def _open_reader(self, *, busy_seconds: float) -> apsw.Connection:
        return connect(self._path, read_only=True, synchronous=self._synchronous, busy_seconds=busy_seconds)


class _Read:
    """A read on its way through a thread."""

    __slots__ = ("abandoned", "deadline", "future", "work")

    def __init__(self, work: Callable[[apsw.Connection], Any]) -> None:
        self.work = work
        self.future: Future[Any] = Future()
        self.abandoned = False
        """Whether nobody waits for it any more."""
        self.deadline = 0.0

    def is_over(self) -> bool:
        """The progress handler of the statement: whether it is to end now."""
        return self.abandoned or time.monotonic() > self.deadline


class _ReaderThreads:
    """Threads for reads that are too long for the event loop; started when first needed."""

    def __init__(self, driver: SqliteDriver) -> None:
        self._driver = driver
        self._queue: queue.SimpleQueue[_Read | None] = queue.SimpleQueue()
        self._under_way: set[_Read] = set()
        self._threads: list[threading.Thread] = []
        self._waiting = 0
        self._closed = False

    async def run(self, work: Callable[[apsw.Connection], T]) -> T:
        """What `work` returns for a reading connection, in a thread; raises QueryTimeout when it takes too long."""
        if self._closed:
            raise DatabaseClosed
        read = _Read(work)
        self._under_way.add(read)
        self._waiting += 1
        if len(self._threads) < min(READER_THREADS, self._waiting):
            thread = threading.Thread(target=self._serve, name="sqlite-reader", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._queue.put(read)
        try:
            result: T = await asyncio.wrap_future(read.future)
        except apsw.Error as exc:
            raise to_ours(exc) from exc
        else:
            return result
        finally:
            read.abandoned = True
            self._under_way.discard(read)
            self._waiting -= 1

    async def close(self) -> None:
        """Ends the reads under way, which would only delay a shutdown, and the threads."""
        self._closed = True
        for read in self._under_way:
            read.abandoned = True
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _serve(self) -> None:
        driver = self._driver
        connection: apsw.Connection | None = None
        while (read := self._queue.get()) is not None:
            future = read.future
            if not future.set_running_or_notify_cancel():
                continue
            try:
                if connection is None:
                    connection = driver._open_reader(busy_seconds=driver._busy_seconds)  # noqa: SLF001 - same file
                read.deadline = time.monotonic() + driver._statement_seconds  # noqa: SLF001 - same file
                connection.set_progress_handler(read.is_over, PROGRESS_STEPS)
                result = read.work(connection)
            except BaseException as exc:  # noqa: BLE001 - the waiting task gets whatever it was
                future.set_exception(exc)
            else:
                future.set_result(result)
        if connection is not None:
            connection.close()


def _fetch_timed(connection: apsw.Connection, sql: str, params: Sequence[Any]) -> tuple[list[Row], int, float]:
    """The rows, the schema's generation after they were read, and the seconds of this thread that they took."""
    began = time.thread_time()
    rows: list[Row] = connection.execute(sql, params).fetchall()
    seconds = time.thread_time() - began
    return rows, read_generation(connection), seconds


def _make_directory(path: str) -> str:
    """Makes the file's directory if it is missing; the file's absolute path."""
    file = Path(path).expanduser().absolute()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise Unavailable(f"The database's directory cannot be made: {exc.strerror}.") from exc
    return str(file)
