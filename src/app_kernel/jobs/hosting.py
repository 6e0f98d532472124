"""The jobs of a running service: where they are kept, who runs them, and what a transaction has to do with it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from app_kernel.core import clock
from app_kernel.core.cancellation import cancel_tasks
from app_kernel.core.database_urls import backend_of
from app_kernel.core.errors import ConfigurationError, QueueUnavailable
from app_kernel.core.jobs import DEFAULT_QUEUE, EnqueueResult, JobFigures, JobView, Task
from app_kernel.core.kernel import Kernel
from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore, Outbox, Statements
from app_kernel.jobs.client import JobClient
from app_kernel.jobs.handover import Handovers, hand_over, message_of
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.queues.database import DatabaseBackend, ensure_tables
from app_kernel.jobs.queues.redis import RedisBackend
from app_kernel.jobs.records import NewJob
from app_kernel.jobs.registry import collect_tasks, is_queue_name
from app_kernel.jobs.schedule import Schedule

if TYPE_CHECKING:
    from app_kernel.jobs.runner import JobRunner

_log = logging.getLogger("app_kernel.jobs")

ARRIVE_SECONDS = 2.0
"""How long `drain` waits for jobs of transactions to reach Redis."""

APP_FEATURE = "app"
"""The feature that holds what the application brings itself."""

Mode = Literal["worker", "manual", "inline"]
"""`worker`: jobs run as the settings say. `manual`: nobody runs them until `drain`. `inline`: `enqueue` does."""


class ServiceJobs(JobClient):
    """The client of one service, and the worker in it."""

    def __init__(self, kernel: Kernel) -> None:
        tasks = collect_tasks([feature.tasks for feature in kernel.features if feature.tasks])
        has_own = any(feature.name == APP_FEATURE and feature.tasks for feature in kernel.features)
        super().__init__(tasks, knows_all=kernel.config.runs_jobs or has_own)
        self._kernel = kernel
        self._handovers: Handovers | None = None
        self.mode: Mode = "worker"
        self.runner: JobRunner | None = None
        """What runs jobs in this process; None where nothing does."""
        self.looked_at: datetime | None = None
        """In a test with a frozen clock, up to when schedules were looked at; else a worker looks, or nobody."""

    @property
    def place(self) -> str:
        """The app database, as a log may show it."""
        url = self._kernel.config.database_url
        return f"{backend_of(url)} {_place(url)}"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Backend]:
        """Jobs can be enqueued inside the block; nobody runs them."""
        kernel = self._kernel
        statements = kernel.db.statements
        backend: Backend = DatabaseBackend(statements, place=_place(kernel.config.database_url))
        if kernel.redis is not None:
            await ensure_tables(statements)
            backend = RedisBackend(kernel.redis, await statements.database_id())
            self._handovers = Handovers(statements, backend)
        await backend.open()
        self.attach(backend)
        try:
            yield backend
        finally:
            self.attach(None)
            self._handovers = None
            await backend.close()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Takes jobs in; nobody runs them yet."""
        async with self.opened(), self._handing_over():
            yield

    @asynccontextmanager
    async def working_here(self) -> AsyncIterator[None]:
        """Runs jobs inside the block, where this service is its own worker."""
        config = self._kernel.config
        if self.mode != "worker" or not config.runs_jobs or not self.tasks:
            if self.mode == "worker" and self.tasks:
                _log.info("jobs_wait_for_a_worker", extra={"use": "python -m app_kernel.jobs.worker --app ..."})
            yield
            return
        queues = queues_of(config.worker_queues, config.worker_concurrency, self.tasks)
        async with self.working(self.backend, queues):
            yield

    @asynccontextmanager
    async def working(self, backend: Backend, queues: Mapping[str, int]) -> AsyncIterator[None]:
        """Runs jobs of these queues inside the block, and drains at its end."""
        # A quarter of a second that a service without jobs does not pay.
        from app_kernel.jobs.runner import JobRunner  # noqa: PLC0415

        grace = self._kernel.config.worker_grace_seconds
        runner = self.runner = JobRunner(self._kernel, backend, self.tasks, queues, grace=grace)
        runner.start()
        try:
            yield
        finally:
            await _to_the_end(runner.stop())
            self.runner = None

    async def add(self, jobs: Sequence[NewJob]) -> list[EnqueueResult]:
        statements = self._kernel.db.statements
        joined = statements.in_transaction
        if joined and isinstance(self.backend, RedisBackend):
            settled = [replace(job, due=job.due or clock.epoch() + job.delay) if job.waits else job for job in jobs]
            await self._kernel.db.connection().privileged.send_messages([message_of(job) for job in settled])
            return [
                EnqueueResult(job.id, job.task, "scheduled" if job.waits else "queued", job.queue) for job in settled
            ]
        results = await super().add(jobs)
        if self.mode == "inline" and not joined:
            await self.drain()
        return results

    async def figures(self) -> JobFigures:
        figures = await super().figures()
        if self._handovers is None:
            return figures
        return replace(figures, outstanding=await self._handovers.outstanding())

    async def drain(self) -> list[JobView]:
        """Runs what is due in this process, one job after another, and what follows from it, until nothing is left."""
        from app_kernel.jobs.drain import drain  # noqa: PLC0415 - as above

        if self.looked_at is not None:
            since, self.looked_at = self.looked_at, clock.now()
            await Schedule(self.backend, self.tasks).make_up(since)
        ran: list[JobView] = []
        while True:
            await self.arrived()
            more = await drain(self._kernel, self.backend, self.tasks)
            ran += more
            # With Redis, a handler may have enqueued something in a transaction, which is still on its way.
            if not more or self._handovers is None:
                return ran

    async def arrived(self) -> None:
        """Returns when what left a transaction for Redis is there, or after a moment in which it did not come."""
        outbox = self._kernel.find_port(Outbox)  # type: ignore[type-abstract]  # a port is asked for by its protocol
        if self._handovers is None or outbox is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(ARRIVE_SECONDS):
                while (await outbox.figures()).unsent:  # noqa: ASYNC110 - the relay works by itself
                    await asyncio.sleep(0.01)

    async def receive(self, db: EntityStore, messages: Sequence[Message]) -> None:
        """The sink of jobs that leave a transaction."""
        if self._backend is None:
            # The relay begins before the queue is open and ends after it; a message must not be given up for that.
            raise QueueUnavailable("The job queue is not open yet, or no longer.")
        if not isinstance(self.backend, RedisBackend):
            raise TypeError("Jobs leave a transaction through the outbox only where Redis keeps them.")
        await hand_over(self._kernel.db.statements, self.backend, messages)

    @asynccontextmanager
    async def _handing_over(self) -> AsyncIterator[None]:
        if self._handovers is None:
            yield
            return
        task = asyncio.create_task(self._handovers.run(), name="jobs-handovers")
        try:
            yield
        finally:
            await cancel_tasks([task])


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Waits for work that goes on although this task is cancelled, however often; then raises."""
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    task.result()


@asynccontextmanager
async def open_client(statements: Statements, redis: Any) -> AsyncIterator[JobClient]:
    """The jobs of a database, or of Redis for it, without a service: for commands and scripts. It knows no task."""
    client = JobClient({})
    backend: Backend = DatabaseBackend(statements)
    if redis is None:
        await backend.open()
    else:
        await ensure_tables(statements)
        backend = RedisBackend(redis, await statements.database_id())
    client.attach(backend)
    try:
        yield client
    finally:
        client.attach(None)
        await backend.close()


def queues_of(named: Sequence[str], concurrency: int, tasks: Mapping[str, Task]) -> dict[str, int]:
    """The queues to serve, and how many jobs of each at a time. Raises ConfigurationError."""
    if not named:
        return dict.fromkeys(sorted({DEFAULT_QUEUE, *(task.queue for task in tasks.values())}), concurrency)
    queues: dict[str, int] = {}
    for entry in named:
        name, colon, number = entry.partition(":")
        if not is_queue_name(name) or (colon and not (number.isdecimal() and 0 < int(number) <= 1000)):
            raise ConfigurationError([f"worker_queues: {entry!r} is no queue; write name or name:concurrency"])
        queues[name] = int(number) if colon else concurrency
    return queues


def _place(url: str) -> str:
    """The database as a log may show it: without user and password."""
    rest = url.partition("://")[2]
    place = rest.partition("?")[0].rpartition("@")[2]
    return place.removeprefix("/") if backend_of(url) == "sqlite" else place
