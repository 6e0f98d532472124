"""What SAQ's worker sees: one named queue over a Backend. What SAQ does wrong by default is put right here, once.

SAQ's own queues claim in two steps, write whole jobs back that others changed meanwhile, rescue jobs one by one and
live ones too, and spin when their server is away. Here a claim and an end are one step each, carry a token, wait for
their server, and travel together with those of the same moment.
"""

import asyncio
import logging
import random
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from saq.job import Job
from saq.job import Status as SaqStatus
from saq.queue.base import Queue

from app_kernel.core import clock
from app_kernel.core.events import JobFinished
from app_kernel.core.jobs import DEAD_TTL, DEFAULT_ATTEMPTS, DEFAULT_QUEUE, Task
from app_kernel.core.tracing import Trace
from app_kernel.jobs.context import JobContext
from app_kernel.jobs.ends import FAILED, finished, log_end, why
from app_kernel.jobs.payload import result_text
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.queues.fetching import Fetcher
from app_kernel.jobs.queues.settling import Settler
from app_kernel.jobs.records import Body, Followup, JobRow, NewJob, Outcome, loaded, raised

LONGEST_ERROR = 16_000
RUN_TTL = 3600.0
"""For how long a run of a schedule is kept at least, so that no worker whose clock is behind enqueues it again."""
UNKNOWN = "unknown"
"""What figures call a task that this worker does not know."""
UNKNOWN_DELAY = 5.0
"""Before the next try with a task that this worker does not know, while perhaps another one, or a newer, does."""

Emit = Callable[[JobFinished], Awaitable[None]]

_log = logging.getLogger("app_kernel.jobs")


class KernelJob(Job):
    """One attempt, as SAQ's worker carries it around."""

    def __init__(self, row: JobRow, task: Task | None, queue: "KernelQueue") -> None:
        self.row = row
        self.body = Body.read(row.body)
        """None where what is kept is no job."""
        self.task = task
        self.most_attempts = most_attempts(row, self.body, task)
        self.ctx: JobContext | None = None
        """Once the handler runs."""
        self.failure: str | None = None
        """Why the handler failed; None also for one that ran out of time."""
        self.traceparent: str | None = None
        self.trace: Trace | None = None
        """What of the attempt is traced."""
        self.retry_in: float | None = None
        self.outcome = ""
        self.cancelling = False
        """Whether somebody asked it to end."""
        self.is_lost = False
        self.is_late = False
        """Whether its time was over before the handler ended."""
        self.is_done = False
        """Whether a plain handler came to its end although it was interrupted."""
        self.stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Set when the handler is to end before its time."""
        self.began = clock.epoch()
        timeout = self.body.timeout if self.body is not None else None
        super().__init__(
            function=row.task,
            queue=queue,
            key=row.id,
            timeout=timeout or (task.timeout if task else 0) or 60,  # type: ignore[arg-type]  # seconds, whole or not
            retries=self.most_attempts,
            attempts=row.attempts,
            status=SaqStatus.ACTIVE,
        )

    def info(self, full: bool = False) -> str:
        # SAQ builds this for every line it might log.
        return self.key

    def end_early(self) -> None:
        """Has the handler cancelled: it was asked to end, or another worker has the job."""
        if not self.stop.done():
            self.stop.set_result(None)

    def give_up(self) -> None:
        """No further attempt."""
        self.retries = self.attempts

    def fail(self, exc: BaseException) -> None:
        """Notes why the handler failed, from its own frames on."""
        trace = exc.__traceback__
        while trace is not None and _is_ours(trace.tb_frame.f_globals.get("__name__", "")):
            trace = trace.tb_next
        lines = traceback.format_exception(type(exc), exc, trace or exc.__traceback__)
        self.failure = cleaned("".join(lines))


class KernelQueue(Queue):
    """One queue of a worker process."""

    def __init__(
        self,
        name: str,
        backend: Backend,
        settler: Settler,
        tasks: dict[str, Task],
        emit: Emit,
        *,
        waits: bool = True,
    ) -> None:
        super().__init__(name, None, None)
        self._waits = waits
        """Whether `dequeue` waits for a job, or gives None where there is none now."""
        self._backend = backend
        self._settler = settler
        self._tasks = tasks
        self._emit = emit
        self.held: dict[str, KernelJob] = {}
        """The attempts that run here and are not settled, by id."""
        self._fetcher: Fetcher[KernelJob] = Fetcher(backend, name, self._begin, self.give_back)

    # What SAQ's worker calls.

    async def dequeue(self, timeout: float = 0.0, poll_interval: float = 0.0) -> KernelJob | None:
        if self._waits:
            return await self._fetcher.next()
        claims = await self._backend.claim(self.name, 1, "drain")
        return self._begin(claims.jobs[0]) if claims.jobs else None

    async def update(self, job: Job, **kwargs: Any) -> None:
        """The claim has said all that SAQ's worker would write before it calls the handler."""

    async def finish(
        self, job: Job, status: SaqStatus, *, result: Any = None, error: str | None = None, **_: Any
    ) -> None:
        attempt = _of_ours(job)
        if status == SaqStatus.COMPLETE:
            await self.succeed(attempt, result)
        elif status == SaqStatus.FAILED:
            attempt.give_up()
            await self.fail(attempt)
        else:
            await self.end_cancelled(attempt)

    async def retry(self, job: Job, error: str | None) -> None:
        await self.fail(_of_ours(job))

    # What our worker calls.

    @property
    def trouble(self) -> str:
        """Why no job can be claimed although the backend answers; empty when all is well."""
        return self._fetcher.trouble

    async def stop(self) -> None:
        """Claims no more; whoever waits for a job gets none."""
        await self._fetcher.stop()

    async def succeed(self, job: KernelJob, result: Any) -> None:
        """The handler did its work."""
        text, problem = result_text(result)
        if problem:
            _log.warning("job_result_dropped", extra={"job_id": job.key, "task": job.function, "reason": problem})
        await self._end(job, "completed", self._outcome(job, "completed", result=text))

    async def fail(self, job: KernelJob) -> None:
        """The handler failed, or ran out of time: another attempt follows, where one is left."""
        if not job.retryable:
            await self._end(job, "dead", self._outcome(job, "dead", error=why(job)))
            return
        delay = job.retry_in if job.retry_in is not None else backoff(job.task, job.attempts)
        again = Outcome(
            id=job.key,
            token=job.row.token or "",
            queue=self.name,
            status="scheduled" if delay > 0 else "queued",
            delay=delay,
            error=why(job),
        )
        await self._end(job, "retried", again)

    async def end_cancelled(self, job: KernelJob) -> None:
        """Somebody asked it to end, and it did."""
        await self._end(job, "cancelled", self._outcome(job, "cancelled", error=job.failure))

    async def give_back(self, job: KernelJob) -> None:
        """An attempt that this worker does not go on with; it counts as if it had not begun."""
        released = Outcome(
            id=job.key, token=job.row.token or "", queue=self.name, status="queued", count=-1, error=job.row.error
        )
        await self._end(job, "released", released)

    def drop(self, job: KernelJob) -> None:
        """Beats for the attempt no more, however it ended."""
        if self.held.get(job.key) is job:
            del self.held[job.key]

    def forget(self, job: KernelJob) -> None:
        """The job was given to another worker; whatever this one still does of it counts no more."""
        job.is_lost = True
        job.end_early()

    def _begin(self, row: JobRow) -> KernelJob:
        job = KernelJob(row, self._tasks.get(row.task), self)
        if (earlier := self.held.get(job.key)) is not None:
            # It was taken from this worker, which stood still for too long, and came back.
            self.forget(earlier)
        self.held[job.key] = job
        return job

    def _outcome(self, job: KernelJob, status: Any, *, result: str | None = None, error: str | None = None) -> Outcome:
        ttl = DEAD_TTL
        if status == "completed" and job.task is not None:
            ttl = job.task.result_ttl
            if job.body is not None and job.body.cron is not None:
                ttl = max(ttl, RUN_TTL)
        return Outcome(
            id=job.key,
            token=job.row.token or "",
            queue=self.name,
            status=status,
            result=result,
            error=None if error is None else cleaned(error),
            ttl=ttl,
            followups=followups(job.row, job.body, self._tasks, status, result=result, error=error),
        )

    async def _end(self, job: KernelJob, outcome: str, settled: Outcome) -> None:
        """Settles an attempt once; while nobody answers, for as long as its worker lives."""
        if job.outcome:
            return
        job.outcome = outcome
        ran = max(0.0, clock.epoch() - job.began)
        try:
            # What is given back had no place, or had it when the worker stops.
            refill = self._fetcher if self._waits and outcome != "released" else None
            if job.is_lost or not await self._settler.settle(settled, refill):
                job.outcome = "lost"
        finally:
            self.drop(job)
        log_end(job, ran)
        event = finished(
            job.row,
            job.body,
            # Names that somebody made up must not become series of their own.
            task_name=job.function if job.task is not None else UNKNOWN,
            outcome=job.outcome,
            ran=ran,
            error=raised(why(job)) if job.outcome in FAILED else None,
            traceparent=job.traceparent,
            trace=job.trace,
        )
        await self._emit(event)

    # The rest of SAQ's contract, over the same backend.

    async def job(self, job_key: str) -> Job | None:
        row = await self._backend.get(job_key)
        return None if row is None else KernelJob(row, self._tasks.get(row.task), self)

    async def jobs(self, job_keys: Iterable[str]) -> list[Job | None]:
        return [await self.job(key) for key in job_keys]

    async def iter_jobs(self, statuses: Any = None, batch_size: int = 100) -> AsyncIterator[Job]:
        for job in tuple(self.held.values()):
            yield job

    async def count(self, kind: Any) -> int:
        counts = (await self._backend.figures()).counts
        wanted = {"queued": ("queued",), "active": ("running",)}.get(kind, ("queued", "scheduled", "running"))
        return sum(counts.get((self.name, status), 0) for status in wanted)

    async def info(self, jobs: bool = False, offset: int = 0, limit: int = 10) -> Any:
        counted = [await self.count(kind) for kind in ("queued", "active", "incomplete")]
        names = {"queued": counted[0], "active": counted[1], "scheduled": counted[2] - counted[0] - counted[1]}
        return {"workers": {}, "name": self.name, "jobs": [], **names}

    async def abort(self, job: Job, error: str, ttl: float = 5) -> None:
        await self._backend.cancel(job.key)

    async def sweep(self, lock: int = 60, abort: float = 5.0) -> list[str]:
        return []

    async def disconnect(self) -> None:
        await self.stop()

    async def write_worker_info(self, worker_id: str, info: Any, ttl: int) -> None:
        """Nobody reads it: a worker shows that it lives by the beats of its jobs."""

    async def _update(self, job: Job, status: Any = None, **kwargs: Any) -> None:
        await self.update(job)

    async def _retry(self, job: Job, error: str | None) -> None:
        await self.retry(job, error)

    async def _finish(self, job: Job, status: SaqStatus, *, result: Any = None, error: str | None = None) -> None:
        await self.finish(job, status, result=result, error=error)

    async def _enqueue(self, job: Job) -> Job | None:
        body = Body(payload=(job.kwargs or {}).get("payload")).text()
        new = NewJob(id=job.key, queue=self.name, task=job.function, body=body, max_attempts=max(job.retries, 2))
        return job if (await self._backend.enqueue([new]))[0].is_new else None


def most_attempts(row: JobRow, body: Body | None, task: Task | None) -> int:
    """Runs at most: what was asked for with the job, else what its task says."""
    if task is None or (body is not None and body.has_own_attempts):
        return row.max_attempts or DEFAULT_ATTEMPTS
    return task.max_attempts


def backoff(task: Task | None, attempt: int) -> float:
    """Seconds before the next attempt: random below a limit that doubles with each, so that a crowd spreads out."""
    base, longest = (task.retry_delay, task.max_retry_delay) if task is not None else (UNKNOWN_DELAY, 300.0)
    return random.uniform(0, min(longest, base * 2 ** min(max(attempt - 1, 0), 30)))  # noqa: S311 - spreads, hides nothing


def followups(
    row: JobRow, body: Body | None, tasks: dict[str, Task], status: str, *, result: str | None, error: str | None
) -> list[NewJob]:
    """The job that follows from the end of another one, if one was asked for."""
    wanted: Followup | None = None
    if body is not None and status == "completed":
        wanted = body.on_success
    elif body is not None and status == "dead":
        wanted = body.on_failure
    if wanted is None or body is None:
        return []
    payload = wanted.payload
    if payload is None:
        told = {"job_id": row.id, "task_name": row.task, "status": status, "payload": body.payload}
        # What is kept as text is JSON already.
        # Of an error the type alone: its text may quote what only the service should see, and a payload is the user's.
        failed = {"error": raised(error or "").partition(":")[0][:200]}
        payload = told | (failed if status == "dead" else {"result": loaded(result)})
    task = tasks.get(wanted.task)
    return [
        NewJob(
            # Not one made of the job's: of a retried job that ends again, another one follows.
            id=clock.new_id(),
            queue=task.queue if task else DEFAULT_QUEUE,
            task=wanted.task,
            body=Body(payload=payload, request_id=body.request_id, traceparent=body.traceparent).text(),
            rank=-task.priority if task else 0,
            max_attempts=task.max_attempts if task else DEFAULT_ATTEMPTS,
            user_id=row.user_id,
            workspace_id=row.workspace_id,
        )
    ]


def cleaned(text: str) -> str:
    """An error as every database keeps it: without NUL and half surrogate pairs, and not endless."""
    if len(text) > LONGEST_ERROR:
        text = f"{text[: LONGEST_ERROR // 4]}\n...\n{text[-LONGEST_ERROR * 3 // 4 :]}"
    return text.replace("\0", "?").encode("utf-8", "backslashreplace").decode()


def _of_ours(job: Job) -> KernelJob:
    if not isinstance(job, KernelJob):
        raise TypeError("This queue runs its own jobs only.")
    return job


def _is_ours(module: str) -> bool:
    return module.startswith(("app_kernel.jobs.", "saq.", "asyncio"))
