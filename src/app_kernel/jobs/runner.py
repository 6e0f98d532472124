"""A worker process: SAQ's workers, one for each queue, and what looks after their jobs."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from saq.worker import Worker

from app_kernel.core.cancellation import cancel_tasks
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
CANCEL_SECONDS = 1.0
"""How long a handler that was cancelled may take to end, before the worker goes on without it."""
SETTLE_SECONDS = 5.0

_log = logging.getLogger("app_kernel.jobs")


class QueueWorker(Worker[Any]):
    """SAQ's worker for one queue: its places and their loop, with an attempt and an end of our own.

    SAQ's attempt waits for ever for a handler that takes no notice of its cancellation, leaves the job of one that
    raises CancelledError as if it ran on, and its end waits for idle places too.
    """

    # Several of them run in one loop, in which there may be a server too.
    SIGNALS = []  # noqa: RUF012 - SAQ declares it so

    def __init__(self, queue: KernelQueue, executor: Executor, concurrency: int) -> None:
        super().__init__(queue, [], concurrency=concurrency)
        self.kernel_queue = queue
        self._executor = executor
        self.grace = GRACE_SECONDS
        self.hurry = asyncio.Event()
        self.ended = asyncio.Event()

    async def upkeep(self) -> list[asyncio.Task[None]]:
        """Nothing: one Upkeep looks after all queues of the process."""
        return []

    async def process(self) -> bool:
        """What one place does, again and again: one attempt with one job; False where there was none."""
        job = await self.kernel_queue.dequeue()
        if job is None:
            return False
        await self.attempt(job)
        return True

    async def attempt(self, job: KernelJob) -> None:
        """Runs the handler within its time, and settles what came of it. It never hangs on a handler."""
        running = asyncio.create_task(self._executor.run(job), name=f"job-{job.function}")
        given_back = False
        try:
            waiting = {running, job.stop}
            await asyncio.wait(waiting, timeout=float(job.timeout), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            # The worker stops, and the time that its jobs had is over.
            given_back = True
        in_time = running.done()
        if not in_time:
            job.is_late = not given_back and not job.stop.done()
            await _end_handler(running, job)
        elif running.cancelled():
            job.fail(asyncio.CancelledError("the handler cancelled itself"))
        try:
            await self._settle(job, running, in_time=in_time, given_back=given_back)
        except Exception as exc:  # noqa: BLE001 - see below
            # Whatever an end runs into, the job must not seem to run for ever.
            told = {"task": job.function, "job_id": job.key}
            _log.error("job_end_failed", extra=told, exc_info=exc)
            job.fail(exc)
            await self.kernel_queue.fail(job)
        finally:
            self.kernel_queue.drop(job)

    async def _settle(self, job: KernelJob, running: "asyncio.Task[Any]", *, in_time: bool, given_back: bool) -> None:
        queue = self.kernel_queue
        ended = running.done() and not running.cancelled()
        # Looked at in any case, as nobody else does.
        failed = running.exception() if ended else None
        # A handler that was cancelled may catch that and return: then its work is not done.
        if ended and failed is None and (in_time or job.is_done) and not job.is_lost:
            await queue.succeed(job, running.result())
        elif job.cancelling or job.is_lost:
            await queue.end_cancelled(job)
        elif given_back:
            await queue.give_back(job)
        else:
            await queue.fail(job)

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
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=CANCEL_SECONDS + SETTLE_SECONDS)


async def _end_handler(running: "asyncio.Task[Any]", job: KernelJob) -> None:
    """Cancels a handler, and goes on without it where it takes no notice of that."""
    if job.ctx is not None:
        job.ctx.cancel()
    running.cancel()
    with suppress(asyncio.CancelledError):
        # Cancelled itself when the worker stops meanwhile: then there is no time left anyway.
        await asyncio.wait({running}, timeout=CANCEL_SECONDS)
    if not running.done():
        running.add_done_callback(_look)
        reason = "it goes on although it was cancelled; what it still does counts no more"
        _log.error("job_handler_left", extra={"task": job.function, "job_id": job.key, "reason": reason})


def _look(running: "asyncio.Task[Any]") -> None:
    """Looks at how it ended, so that nobody complains that it was not."""
    if not running.cancelled():
        running.exception()


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
        await cancel_tasks(self._looking_after)
        self._watchdog.stop()
