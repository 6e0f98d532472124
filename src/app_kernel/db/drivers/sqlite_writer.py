"""The one thread that writes to a SQLite file: it runs units of work and commits those that wait together.

A thread hop costs more than a statement, so a whole unit is one hop; a commit costs more than ten units, so units
that wait share one. Each runs in a savepoint, so that one that fails takes only itself back.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from app_kernel.core.errors import DatabaseBusy, DatabaseClosed, KernelError
from app_kernel.db.drivers.base import ANY_GENERATION, Unit
from app_kernel.db.drivers.sqlite_connection import create_catalog, read_generation
from app_kernel.db.drivers.sqlite_errors import as_ours
from app_kernel.db.drivers.sqlite_outcome import Outcome
from app_kernel.db.drivers.sqlite_statements import run_unit
from app_kernel.db.errors import SchemaFact, SchemaStale

if TYPE_CHECKING:
    from app_kernel.db.drivers.sqlite_transaction import SqliteTransaction

T = TypeVar("T")

MAX_GROUP = 128
"""Units in one commit at most, so that the first of them does not wait for ever."""


class Job(Outcome):
    """One unit on its way through the writer."""

    __slots__ = ("abandoned", "alone", "claimed", "generation", "transaction", "unit")

    def __init__(
        self, unit: Unit[Any], generation: int, *, alone: bool, transaction: "SqliteTransaction | None" = None
    ) -> None:
        super().__init__()
        self.unit = unit
        self.transaction = transaction
        """One to open and to serve until it ends, in place of a unit."""
        self.generation = generation
        self.alone = alone
        self.claimed = False
        """Whether the thread has begun with it, so that its outcome must be awaited."""
        self.abandoned = False
        """Whether it waited too long, so that the thread leaves it out."""


class SqliteWriter:
    """Owns the writing connection and the thread that uses it."""

    def __init__(self, open_connection: Callable[[], apsw.Connection], name: str, *, busy_seconds: float) -> None:
        self._open_connection = open_connection
        self._busy_seconds = busy_seconds
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"sqlite-writer-{name}", daemon=True)
        self._opened: Future[None] = Future()
        self._closed = False
        self._transactions = 0
        """Transactions of callers, open or waiting to begin; while there are any, a unit waits only so long."""
        self._claiming = threading.Lock()
        self.commits = 0
        """Groups that were run, each of them one commit unless it failed; counted by the thread."""
        self.units = 0
        """Units in them."""
        self._held: Job | None = None
        """The job that comes next, because it must run alone."""
        self.generation = 0

    async def open(self) -> None:
        """Starts the thread; returns when the connection and the catalog are there."""
        self._thread.start()
        # Shielded, because the thread sets the future whether or not its opener still waits.
        await asyncio.shield(asyncio.wrap_future(self._opened))

    async def close(self) -> None:
        """Runs what waits, then ends the thread and closes the connection."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    async def submit(self, unit: Unit[T], generation: int, *, alone: bool = False) -> T:
        """Runs a unit in a transaction and returns its result once that is committed."""
        if self._closed:
            raise DatabaseClosed
        job = Job(unit, generation, alone=alone)
        self._queue.put(job)
        timer = None
        if self._transactions:
            timer = job.loop.call_later(self._busy_seconds, self._give_up, job)
        try:
            result: T = await job.future
        finally:
            if timer is not None:
                timer.cancel()
        return result

    def _give_up(self, job: Job) -> None:
        with self._claiming:
            if job.claimed:
                return
            job.abandoned = True
        if not job.future.done():
            job.future.set_exception(DatabaseBusy("A transaction kept the database longer than the busy timeout."))

    async def begin(self, transaction: "SqliteTransaction") -> None:
        """Returns when the transaction has begun; from then on nothing else is written until it ends."""
        if self._closed:
            raise DatabaseClosed
        job = Job(_nothing, ANY_GENERATION, alone=True, transaction=transaction)
        self._queue.put(job)
        self._transactions += 1
        timer = job.loop.call_later(self._busy_seconds, self._give_up, job)
        try:
            await job.future
        except BaseException:
            with self._claiming:
                job.abandoned = not job.claimed
            if job.abandoned:
                self._has_ended()
            raise
        finally:
            timer.cancel()

    @property
    def waiting(self) -> int:
        """Units that the thread has not begun with."""
        return self._queue.qsize() + (self._held is not None)

    def _has_ended(self) -> None:
        self._transactions -= 1

    def _run(self) -> None:
        try:
            self.connection = self._open_connection()
            create_catalog(self.connection)
            self.generation = read_generation(self.connection)
            self._seen = self.connection.data_version()
        except BaseException as exc:  # noqa: BLE001 - open() raises it in the task that waits
            self._opened.set_exception(as_ours(exc))
            return
        self._opened.set_result(None)
        try:
            while (job := self._held or self._queue.get()) is not None:
                group, self._held, last = self._gather(job)
                try:
                    self._run_group(group)
                except BaseException as exc:  # noqa: BLE001 - whatever it was, those who wait hear of it
                    for waiting in group:
                        waiting.error = as_ours(exc)
                _deliver(group)
                if job.claimed and job.transaction is not None:
                    with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                        job.loop.call_soon_threadsafe(self._has_ended)
                if last:
                    break
        finally:
            self.connection.close()

    def _gather(self, first: Job) -> tuple[list[Job], Job | None, bool]:
        """The jobs to commit together; the next one, where it must run alone; and whether the writer is to stop."""
        group = [first]
        while not first.alone and len(group) < MAX_GROUP:
            try:
                job = self._queue.get_nowait()
            except Empty:
                break
            if job is None:
                return group, None, True
            if job.alone:
                return group, job, False
            group.append(job)
        return group, None, False

    def _waiting(self) -> list[Job]:
        """The jobs that wait, taken out of the queue; a request to stop stays in it."""
        jobs = [] if self._held is None else [self._held]
        self._held = None
        while True:
            try:
                job = self._queue.get_nowait()
            except Empty:
                return jobs
            if job is None:
                self._queue.put(None)
                return jobs
            jobs.append(job)

    def _run_group(self, group: list[Job]) -> None:
        with self._claiming:
            group[:] = [job for job in group if not (job.abandoned or job.future.cancelled())]
            for job in group:
                job.claimed = True
        if not group:
            return
        self.commits += 1
        self.units += len(group)
        try:
            self._begin()
        except apsw.Error as exc:
            # Whoever holds the lock would make each of them wait in turn, so all hear of it now.
            self._rollback()
            group.extend(self._waiting())
            for job in group:
                job.error = as_ours(exc)
            return
        if len(group) == 1:
            self._run_begun(group[0])
        elif not self._try_together(group):
            for job in group:
                job.result = job.error = None
                self._run_alone(job)

    def _try_together(self, group: list[Job]) -> bool:
        """One transaction for all, a savepoint each; False when it must be done one by one."""
        connection = self.connection
        try:
            for job in group:
                connection.execute("SAVEPOINT unit")
                try:
                    job.result = self._work(job)
                except (KernelError, SchemaFact, apsw.Error) as exc:
                    job.error = as_ours(exc)
                    if not connection.in_transaction:
                        return False
                    connection.execute("ROLLBACK TO unit")
                except BaseException as exc:  # noqa: BLE001 - its own task gets it, the group goes on
                    job.error = exc
                    connection.execute("ROLLBACK TO unit")
                connection.execute("RELEASE unit")
            connection.execute("COMMIT")
        except apsw.Error:
            self._rollback()
            return False
        return True

    def _run_alone(self, job: Job) -> None:
        try:
            self._begin()
        except apsw.Error as exc:
            self._rollback()
            job.error = as_ours(exc)
        else:
            self._run_begun(job)

    def _serve(self, job: Job, transaction: "SqliteTransaction") -> None:
        """Hands the connection to a transaction of a caller's until that ends."""
        _deliver([job])
        try:
            transaction.serve(self.connection, self.generation)
        finally:
            self._rollback()

    def _run_begun(self, job: Job) -> None:
        if job.transaction is not None:
            self._serve(job, job.transaction)
            return
        generation = self.generation
        try:
            job.result = self._work(job)
            self.connection.execute("COMMIT")
        except BaseException as exc:  # noqa: BLE001 - the waiting task gets whatever it was
            self._rollback()
            self.generation = generation
            job.result, job.error = None, as_ours(exc)

    def _begin(self) -> None:
        """Takes the write lock and learns whether another process changed the schema meanwhile."""
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        version = connection.data_version()
        if version != self._seen:
            self.generation = read_generation(connection)
            self._seen = version

    def _work(self, job: Job) -> Any:
        if job.generation not in (ANY_GENERATION, self.generation):
            raise SchemaStale
        return run_unit(self.connection, job.unit)

    def _rollback(self) -> None:
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except apsw.Error:
            # SQLite has rolled back by itself: the failure that brought us here said so.
            if self.connection.in_transaction:
                raise
        # A retype that failed midway leaves this on, and no rollback turns it off.
        self.connection.config(apsw.SQLITE_DBCONFIG_WRITABLE_SCHEMA, 0)

    def moved_on(self, generation: int) -> None:
        """Called by a unit that changed the schema, in the writer's thread."""
        self.generation = generation


def _nothing() -> Any:
    yield from ()


def _deliver(group: list[Job]) -> None:
    """One wake-up for each event loop that waits."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in group:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, jobs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_deliver_all, jobs)
        except RuntimeError:
            # The loop was closed meanwhile, so nobody waits there any more; the others must not suffer for it.
            continue


def _deliver_all(jobs: list[Job]) -> None:
    for job in jobs:
        job.deliver()
