"""One attempt: the context of the enqueuer, the handler, and why it failed where it did."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from inspect import isawaitable
from typing import Any

from app_kernel.core.context import Context, in_context
from app_kernel.core.errors import Unavailable, UnknownTask
from app_kernel.core.jobs import DoNotRetry, RetryLater, Task
from app_kernel.core.tracing import traced_run
from app_kernel.core.transaction import enter_transaction, innermost_transaction
from app_kernel.jobs.context import JobContext
from app_kernel.jobs.cron import next_time
from app_kernel.jobs.handlers import Call
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.queues.base import KernelJob
from app_kernel.jobs.records import Body, JobRow
from app_kernel.jobs.threads import HandlerRaised, HandlerThread, JobInterrupted
from app_kernel.jobs.watchdog import HandlerTimeout, Watchdog

_log = logging.getLogger("app_kernel.jobs")


class HandlerFailed(Exception):
    """What a worker is told of any failure; the job knows the rest."""


class Executor:
    """Runs the handlers of one worker process."""

    def __init__(self, kernel: Any, backend: Backend, watchdog: Watchdog) -> None:
        self._kernel = kernel
        self._backend = backend
        self._watchdog = watchdog
        self._calls: dict[str, Call] = {}

    async def run(self, job: KernelJob) -> Any:
        """What the handler returns. Whatever it raises becomes HandlerFailed, but a cancellation from outside."""
        task = asyncio.current_task()
        try:
            return await self._attempt(job)
        except asyncio.CancelledError as exc:
            if task is not None and task.cancelling():
                raise
            job.fail(exc)
            raise HandlerFailed from exc
        except BaseException as exc:
            if isinstance(exc, GeneratorExit) and not _is_running(task):
                raise
            # A handler may raise SystemExit, and must not end the worker.
            _note(job, exc.error if isinstance(exc, HandlerRaised) else exc)
            raise HandlerFailed from exc

    async def _attempt(self, job: KernelJob) -> Any:
        body, task, row = job.body, job.task, job.row
        if body is None:
            raise DoNotRetry("The job is malformed: its body is no JSON that the kernel wrote.")
        if task is None:
            raise UnknownTask(
                f"No task is named {job.function!r} in this worker. Workers that share a queue need the same tasks."
            )
        if body.cron is not None and not is_still_wanted(task, body):
            return None
        call = self._calls.get(job.function)
        if call is None:
            call = self._calls[job.function] = Call(task.handler)
        ctx = job.ctx = self._context_of(job, body)
        entered = Context(
            kernel=self._kernel,
            request_id=body.request_id,
            actor_id=row.user_id,
            workspace_id=row.workspace_id,
            traceparent=body.traceparent,
            job_id=row.id,
        )
        tracing = traced_run(self._kernel, entered, f"run {row.task}", _told(row), _raised)
        with in_context(entered), tracing as job.trace:
            job.traceparent = entered.traceparent
            # The task may have been started inside somebody's transaction.
            enter_transaction(None)
            bound = call.bind(body.payload, ctx)
            if not call.is_async:
                thread = HandlerThread(bound, job.function)
                given = await thread.result()
                # One that saw that it was to end has left its work where it was.
                job.is_done = thread.was_interrupted and not ctx.has_noticed
                # A plain wrapper around an async function gives what is still to be awaited.
                return await given if isawaitable(given) else given
            running = asyncio.current_task()
            end = self._watchdog.watch(running, float(job.timeout)) if running is not None else None
            try:
                return await bound()
            finally:
                if end is not None:
                    end()

    def _context_of(self, job: KernelJob, body: Body) -> JobContext:
        row, backend = job.row, self._backend

        async def report(progress: float, text: str | None) -> None:
            if innermost_transaction() is None:
                try:
                    await backend.report(row.id, row.token or "", progress, text)
                except Unavailable:
                    # No reason for a job to fail: a later beat writes it down.
                    ctx.latest = (progress, text)
            else:
                # In it, nobody would see the progress before the commit, and the beats of the job would wait for that.
                ctx.latest = (progress, text)

        ctx = JobContext(
            job_id=row.id,
            task_name=row.task,
            queue_name=row.queue,
            attempt=row.attempts,
            max_attempts=job.most_attempts,
            enqueued_at=datetime.fromtimestamp(row.enqueued_at, UTC),
            started_at=datetime.fromtimestamp(row.started_at or row.enqueued_at, UTC),
            user_id=row.user_id,
            workspace_id=row.workspace_id,
            metadata=body.metadata,
            request_id=body.request_id,
            traceparent=body.traceparent,
            report=report,
        )
        return ctx


def _told(row: JobRow) -> dict[str, Any]:
    """What a span of a run says, by OpenTelemetry's conventions for messaging."""
    return {
        "messaging.system": "app_kernel",
        "messaging.operation.name": "run",
        "messaging.operation.type": "process",
        "messaging.destination.name": row.queue,
        "messaging.message.id": row.id,
        "app_kernel.job.task": row.task,
        "app_kernel.job.attempt": row.attempts,
    }


def _raised(exc: BaseException) -> BaseException:
    return exc.error if isinstance(exc, HandlerRaised) else exc


def _is_running(task: "asyncio.Task[Any] | None") -> bool:
    """Whether the task is the one that runs now; else somebody closes its coroutine, such as a loop that ends."""
    try:
        return asyncio.current_task() is task
    except RuntimeError:
        return False


def is_still_wanted(task: Task, body: Body) -> bool:
    """Whether a task's schedule names the time that a run was made for; it may be another one by now, or gone."""
    if task.cron is None:
        return False
    try:
        at = datetime.fromisoformat(str(body.metadata.get("scheduled_for")))
    except ValueError:
        return True
    return next_time(task.cron, task.timezone, at - timedelta(seconds=1)) == at


def _note(job: KernelJob, exc: BaseException) -> None:
    if isinstance(exc, DoNotRetry):
        job.give_up()
    elif isinstance(exc, RetryLater):
        # A subclass of the application's may have forgotten its base.
        job.retry_in = getattr(exc, "seconds", None)
    if isinstance(exc, HandlerTimeout | JobInterrupted) and not job.cancelling:
        # The text of a timeout says enough.
        job.is_late = True
        return
    job.fail(exc)
