"""A worker process: SAQ's workers, one for each queue, and what looks after their jobs."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from saq.worker import Worker

from app_kernel.core.jobs import Task
from app_kernel.core.kernel import Kernel
from app_kernel.jobs.execution import Executor
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.queues.base import KernelJob, KernelQueue
from app_kernel.jobs.queues.settling import Settler
from app_kernel.jobs.schedule import Schedule
from app_kernel.jobs.upkeep import Upkeep
from app_kernel.jobs.watchdog import Watchdog

GRACE_SECONDS = 25.0
"""How long a stopping worker lets its jobs run on."""
HARD_SECONDS = 3.0
"""How long a job that was cancelled then may take to end."""
SETTLE_SECONDS = 5.0

_log = logging.getLogger("app_kernel.jobs")


class QueueWorker(Worker[Any]):
    """SAQ's worker for one queue, without its signals and timers, and with an end that waits for jobs only."""

    # Several of them run in one loop, in which there may be a server too.
    SIGNALS = []  # noqa: RUF012 - SAQ declares it so

    def __init__(self, queue: KernelQueue, executor: Executor, concurrency: int) -> None:
        super().__init__(queue, [], concurrency=concurrency, cancellation_hard_deadline_s=1.0)
        self.kernel_queue = queue
        self.functions = _Everything(executor.run)
        self.grace = GRACE_SECONDS
        self.hurry = asyncio.Event()
        self.ended = asyncio.Event()

    async def upkeep(self) -> list[asyncio.Task[None]]:
        """Nothing: one Upkeep looks after all queues of the process."""
        return []

    async def stop(self) -> None:
        """Starts no further job, and returns as soon as the last one has ended, or when it had to be given back."""
        self.event.set()
        if self._stopped:
            await self.ended.wait()
            return
        self._stopped = True
        try:
            await self.kernel_queue.stop()
            await self._wait_for_jobs()
        finally:
            self.pool.shutdown(wait=False, cancel_futures=True)
            self.ended.set()

    async def _wait_for_jobs(self) -> None:
        hurry = asyncio.create_task(self.hurry.wait())
        loop = asyncio.get_running_loop()
        deadline, running = loop.time() + self.grace, set(self.tasks)
        while running and not hurry.done() and loop.time() < deadline:
            left_over = deadline - loop.time()
            await asyncio.wait({*running, hurry}, timeout=left_over, return_when=asyncio.FIRST_COMPLETED)
            running = {task for task in running if not task.done()}
        hurry.cancel()
        left = {task for task in self.tasks if not task.done()}
        if left:
            jobs = sorted(self.kernel_queue.held)
            _log.warning("jobs_given_back", extra={"queue": self.kernel_queue.name, "jobs": jobs, "grace": self.grace})
            for job in self.kernel_queue.held.values():
                job.is_stopped = True
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=HARD_SECONDS)

    def cancel(self, job: KernelJob, why: str) -> None:
        """Ends a running job: an async handler is cancelled, a plain one is told and interrupted."""
        found = self.job_task_contexts.get(job)
        if job.ctx is not None:
            job.ctx.cancel()
        if found is not None and not found["task"].done():
            found["aborted"] = why
            found["task"].cancel()


class _Everything(dict[str, Any]):
    """SAQ looks handlers up by name; ours are looked up when it is known what a job is."""

    def __init__(self, run: Any) -> None:
        super().__init__()
        self._run = run

    def __missing__(self, name: str) -> Any:
        return self._run


class JobRunner:
    """Runs the jobs of some queues in this process, from `start` to `stop`."""

    def __init__(
        self,
        kernel: Kernel,
        backend: Backend,
        tasks: Mapping[str, Task],
        queues: Mapping[str, int],
        *,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._backend = backend
        self._settler = Settler(backend)
        self._watchdog = Watchdog()
        known = dict(tasks)
        executor = Executor(kernel, backend, self._watchdog)
        self.workers: dict[str, QueueWorker] = {}
        for name, concurrency in queues.items():
            queue = KernelQueue(name, backend, self._settler, known, kernel.emit)
            worker = self.workers[name] = QueueWorker(queue, executor, concurrency)
            worker.grace = grace
        self._upkeep = Upkeep(backend, self.workers, known, kernel.emit, self._settler)
        self._schedule = Schedule(backend, known)
        self._running: list[asyncio.Task[None]] = []
        self._looking_after: list[asyncio.Task[None]] = []

    @property
    def held(self) -> int:
        """Attempts that run here."""
        return sum(len(worker.kernel_queue.held) for worker in self.workers.values())

    @property
    def trouble(self) -> str:
        """Why a queue cannot be claimed from although its place answers; empty when all is well."""
        return "; ".join(worker.kernel_queue.trouble for worker in self.workers.values() if worker.kernel_queue.trouble)

    def start(self) -> None:
        """Begins to work."""
        # Its lines hold tracebacks and payloads, and each is one of ours too.
        logging.getLogger("saq").setLevel(logging.CRITICAL + 1)
        self._watchdog.start()
        self._running = [asyncio.create_task(worker.start()) for worker in self.workers.values()]
        loops = [*self._upkeep.loops(), self._schedule.run()]
        self._looking_after = [asyncio.create_task(loop) for loop in loops]

    def hurry(self) -> None:
        """Ends the time in which running jobs may go on; for the second signal to a worker that stops."""
        for worker in self.workers.values():
            worker.hurry.set()

    async def stop(self) -> None:
        """Drains: claims no more, waits for what runs, gives back what does not end in time. Never raises."""
        await asyncio.gather(*(worker.stop() for worker in self.workers.values()))
        if self._running:
            await asyncio.wait(self._running)
        await self._settler.stop(SETTLE_SECONDS)
        for task in self._looking_after:
            task.cancel()
        if self._looking_after:
            await asyncio.wait(self._looking_after)
        self._watchdog.stop()
