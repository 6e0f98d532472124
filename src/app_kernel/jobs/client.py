"""Enqueueing jobs and looking after them: what `get_job_client()` gives."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, get_args

from app_kernel.core import clock
from app_kernel.core.context import current_context
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import InvalidJob, JobConflict, JobNotFound, NoRunningKernel, UnknownTask
from app_kernel.core.jobs import (
    DEFAULT_ATTEMPTS,
    DEFAULT_QUEUE,
    LONGEST_TIMEOUT,
    EnqueueResult,
    JobFigures,
    JobView,
    Status,
    Task,
)
from app_kernel.core.ports import JobQueue
from app_kernel.core.tracing import current_traceparent, span
from app_kernel.jobs.payload import LONGEST_BODY, check_json
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.records import Body, Enqueued, Followup, JobFilter, JobRow, NewJob
from app_kernel.jobs.registry import (
    HIGHEST_PRIORITY,
    LONGEST_NAME,
    MOST_ATTEMPTS,
    is_number,
    is_queue_name,
    own_tasks,
)

LONGEST_DELAY = 366 * 86400.0
LONGEST_ID = 191
LONGEST_KEPT_ID = 255
"""Of the jobs that schedules and the ends of other jobs make."""
MOST_LISTED = 1000
MOST_AT_ONCE = 10_000
"""Payloads of one `enqueue_many`, which is one step of the queue."""


class JobClient(JobQueue):
    """The jobs of one service. Tasks share it; it works between the start and the end of the service."""

    def __init__(self, tasks: Mapping[str, Task], *, knows_all: bool = False) -> None:
        self.tasks = dict(tasks)
        self.knows_all = knows_all
        """Whether no other task can be run, so that a name not among them is an error at once."""
        self._backend: Backend | None = None

    def attach(self, backend: Backend | None) -> None:
        """Opens the client over a place that keeps jobs, or closes it."""
        self._backend = backend

    @property
    def backend(self) -> Backend:
        """Where the jobs are; raises NoRunningKernel before the service has started and after it ended."""
        if self._backend is None:
            raise NoRunningKernel("The job queue is not open: the service has not started, or has ended.")
        return self._backend

    async def enqueue(  # noqa: PLR0913 - the options of one job, all but the name optional
        self,
        name: str,
        payload: Any = None,
        *,
        user_id: str | None = None,
        job_id: str | None = None,
        priority: int | None = None,
        delay_seconds: float | None = None,
        run_at: datetime | str | None = None,
        timeout: float | None = None,
        max_attempts: int | None = None,
        unique_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_success: Any = None,
        on_failure: Any = None,
        queue: str | None = None,
    ) -> EnqueueResult:
        """Enqueues a job, and returns when it is kept, as safely as its database or Redis keeps it.

        Inside `async with db.transaction()` it is enqueued exactly if that commits; outside it is a step of its own.
        `payload` is JSON of 1 MB at most. Of jobs with one `job_id`, and of unfinished ones with one `unique_key`,
        there is only the first, which the answer then names. `run_at` is an aware datetime or ISO text with an offset.
        `on_success` and `on_failure` name a task that is enqueued with the end of this job: a name, or (name, payload).
        `user_id` is who enqueues, if left out. Raises UnknownTask, InvalidJob and Unavailable.
        """
        given = {
            "user_id": user_id, "job_id": job_id, "priority": priority, "delay_seconds": delay_seconds,
            "run_at": run_at, "timeout": timeout, "max_attempts": max_attempts, "unique_key": unique_key,
            "metadata": metadata, "on_success": on_success, "on_failure": on_failure, "queue": queue,
        }  # fmt: skip
        with span(f"enqueue {name}", "producer") as made:
            job = self._make(name, payload, given)
            if made is not None:
                made.set_attributes({**_told(job), "messaging.message.id": job.id})
            (result,) = await self.add([job])
        # An id made here is new, also where its enqueueing was repeated after a broken connection.
        return replace(result, deduplicated=False) if job_id is None and result.job_id == job.id else result

    async def enqueue_many(
        self, name: str, payloads: Sequence[Any], *, traces: Sequence[str | None] | None = None, **options: Any
    ) -> list[EnqueueResult]:
        """Enqueues a job for each payload, all or none, in one step; the options are those of `enqueue`, for all.

        `traces` are the traceparents of what the jobs are a part of, one for each, where that is not the caller's.
        """
        unknown = options.keys() - _OPTIONS
        if unknown or options.get("job_id") is not None or options.get("unique_key") is not None:
            raise InvalidJob(f"enqueue_many() does not take {', '.join(sorted(unknown)) or 'a job_id or unique_key'}.")
        given: object = payloads
        if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
            raise InvalidJob("enqueue_many() takes a list of payloads, one for each job.")
        listed = list(payloads)
        if len(listed) > MOST_AT_ONCE:
            raise InvalidJob(f"enqueue_many() takes {MOST_AT_ONCE} payloads at a time; call it for each part.")
        if not listed:
            return []
        with span(f"enqueue {name}", "producer") as made:
            jobs = [
                self._make(name, payload, options if traces is None else {**options, "traceparent": traces[at]})
                for at, payload in enumerate(listed)
            ]
            if made is not None:
                made.set_attributes({**_told(jobs[0]), "messaging.batch.message_count": len(jobs)})
            return await self.add(jobs)

    async def add(self, jobs: Sequence[NewJob]) -> list[EnqueueResult]:
        """Enqueues jobs that are made already."""
        return [result_of(each) for each in await self.backend.enqueue(jobs)]

    async def get(self, job_id: str) -> JobView | None:
        """A job with its payload, result and progress; None when there is none, or no longer."""
        row = await self._row(job_id)
        return None if row is None else row.view(whole=True)

    async def list_jobs(
        self,
        *,
        status: Status | None = None,
        queue: str | None = None,
        task: str | None = None,
        user_id: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[JobView]:
        """Jobs without their payloads, the latest enqueued first; `before` is the last id of the page before."""
        if type(limit) is not int or not 0 <= limit <= MOST_LISTED:
            raise InvalidJob(f"limit is 0 to {MOST_LISTED}.")
        if status is not None and status not in get_args(Status):
            raise InvalidJob(f"status is one of {', '.join(get_args(Status))}.")
        wanted = JobFilter(status=status, queue=queue, task=task, user_id=user_id, limit=limit, before=before)
        if not limit or not all(each is None or _may_be(each) for each in (queue, task, user_id, before)):
            return []
        return [row.view() for row in await self.backend.find(wanted)]

    async def cancel(self, job_id: str) -> JobView:
        """Cancels a job that waits at once, and asks a running one to end. Raises JobNotFound and JobConflict."""
        status = await self.backend.cancel(job_id) if _may_be(job_id) else None
        if status is None:
            raise JobNotFound
        if status in ("completed", "dead"):
            raise JobConflict(f"The job is {status} already.")
        return await self._there(job_id)

    async def retry(self, job_id: str) -> JobView:
        """Runs a dead or cancelled job again, with all its attempts. Raises JobNotFound and JobConflict."""
        if not _may_be(job_id) or await self.backend.retry(job_id) is None:
            row = await self._row(job_id)
            if row is None:
                raise JobNotFound
            raise JobConflict(f"Only a dead or cancelled job can be retried; this one is {row.status}.")
        return await self._there(job_id)

    async def pause(self, queue: str = DEFAULT_QUEUE) -> None:
        """Starts no job of a queue any more, on any worker; those that run go on, and enqueueing does too."""
        await self.backend.pause(_queue_name(queue), True)

    async def resume(self, queue: str = DEFAULT_QUEUE) -> None:
        """Ends a pause."""
        await self.backend.pause(_queue_name(queue), False)

    async def figures(self) -> JobFigures:
        """How the queues stand."""
        return await self.backend.figures()

    async def _row(self, job_id: str) -> JobRow | None:
        return await self.backend.get(job_id) if _may_be(job_id) else None

    async def _there(self, job_id: str) -> JobView:
        row = await self.backend.get(job_id)
        if row is None:
            raise JobNotFound
        return row.view(whole=True)

    def _make(self, name: str, payload: Any, given: Mapping[str, Any]) -> NewJob:
        task = self._task(name)
        run_at, delay, queue = given.get("run_at"), given.get("delay_seconds"), given.get("queue")
        if run_at is not None and delay is not None:
            raise InvalidJob("Give either delay_seconds or run_at.")
        if delay is not None and (not is_number(delay) or not 0 <= delay <= LONGEST_DELAY):
            raise InvalidJob(f"delay_seconds is a number from 0 to {LONGEST_DELAY:.0f}.")
        attempts = given.get("max_attempts")
        if attempts is not None and (type(attempts) is not int or not 1 <= attempts <= MOST_ATTEMPTS):
            raise InvalidJob(f"max_attempts is 1 to {MOST_ATTEMPTS}.")
        context = current_context()
        user = given.get("user_id")
        return NewJob(
            id=_text("job_id", given.get("job_id"), LONGEST_ID) or clock.new_id(),
            queue=_queue_name((task.queue if task else DEFAULT_QUEUE) if queue is None else queue),
            task=name,
            body=self._body(payload, given),
            rank=-_priority(given.get("priority"), task),
            due=None if run_at is None else _epoch(run_at),
            delay=float(delay or 0),
            max_attempts=attempts or (task.max_attempts if task else DEFAULT_ATTEMPTS),
            unique_key=_text("unique_key", given.get("unique_key"), LONGEST_ID),
            user_id=_text("user_id", user, LONGEST_ID) or context.actor_id,
            workspace_id=context.workspace_id,
        )

    def _task(self, name: Any) -> Task | None:
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
            raise UnknownTask("A task has a name, given as text.")
        task = self.tasks.get(name)
        if task is not None or not self.knows_all:
            check_json("name", name)
            return task
        if own := own_tasks(self.tasks):
            raise UnknownTask(f"There is no task {name!r}; this service has {', '.join(sorted(own))}.")
        raise UnknownTask(
            f"There is no task {name!r}: pass create_service(tasks=...), or run the worker apart"
            " (python -m app_kernel.jobs.worker --tasks ...) and set EMBEDDED_WORKER=false."
        )

    def _body(self, payload: Any, given: Mapping[str, Any]) -> str:
        check_json("payload", payload)
        metadata = given.get("metadata")
        if not isinstance(metadata, Mapping | None):
            raise InvalidJob("metadata is a dict.")
        metadata = dict(metadata or {})
        check_json("metadata", metadata)
        timeout = given.get("timeout")
        if timeout is not None and (not is_number(timeout) or not 0 < timeout <= LONGEST_TIMEOUT):
            raise InvalidJob(f"timeout is a number of seconds from above 0 to {LONGEST_TIMEOUT:.0f}.")
        context = current_context()
        body = Body(
            payload=payload,
            metadata=metadata,
            timeout=timeout,
            has_own_attempts=given.get("max_attempts") is not None,
            request_id=context.request_id,
            traceparent=given["traceparent"] if "traceparent" in given else current_traceparent(),
            on_success=self._followup("on_success", given.get("on_success")),
            on_failure=self._followup("on_failure", given.get("on_failure")),
        ).text()
        # A character has up to four bytes.
        if len(body) > LONGEST_BODY // 4 and len(body.encode()) > LONGEST_BODY:
            raise InvalidJob(f"A payload has at most {LONGEST_BODY} bytes as JSON. Store it and pass its id.")
        return body

    def _followup(self, what: str, given: Any) -> Followup | None:
        if given is None:
            return None
        name, payload = given if isinstance(given, tuple | list) and len(given) == 2 else (given, None)
        if not isinstance(name, str):
            raise InvalidJob(f"{what} is the name of a task, or (name, payload).")
        self._task(name)
        check_json(what, payload)
        return Followup(name, payload)


_OPTIONS = frozenset(
    {
        "user_id", "job_id", "priority", "delay_seconds", "run_at", "timeout", "max_attempts", "unique_key",
        "metadata", "on_success", "on_failure", "queue",
    }
)  # fmt: skip


def _told(job: NewJob) -> dict[str, str]:
    """What a span of an enqueueing says, by OpenTelemetry's conventions for messaging."""
    return {
        "messaging.system": "app_kernel",
        "messaging.operation.name": "enqueue",
        "messaging.operation.type": "send",
        "messaging.destination.name": job.queue,
        "app_kernel.job.task": job.task,
    }


def get_job_client() -> JobClient:
    """The jobs of the running service: `await get_job_client().enqueue("send_email", {"to": ...})`.

    Raises NoRunningKernel outside of a service, a worker or a test client.
    """
    client = current_kernel().port(JobQueue)  # type: ignore[type-abstract]  # a port is asked for by its protocol
    if not isinstance(client, JobClient):
        raise TypeError("Another feature has taken the place of the job client.")
    return client


def result_of(enqueued: Enqueued) -> EnqueueResult:
    """What `enqueue` answers."""
    return EnqueueResult(enqueued.id, enqueued.task, enqueued.status, enqueued.queue, not enqueued.is_new)


def _queue_name(name: Any) -> str:
    if not isinstance(name, str) or not is_queue_name(name):
        raise InvalidJob("A queue's name is 1 to 64 of A-Z a-z 0-9 _ . -")
    return name


def _priority(given: Any, task: Task | None) -> int:
    if given is None:
        return task.priority if task else 0
    if type(given) is not int or not -HIGHEST_PRIORITY <= given <= HIGHEST_PRIORITY:
        raise InvalidJob(f"priority is -{HIGHEST_PRIORITY} to {HIGHEST_PRIORITY}; the highest runs first.")
    priority: int = given
    return priority


def _text(what: str, given: Any, longest: int) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or not 0 < len(given) <= longest:
        raise InvalidJob(f"{what} is text of 1 to {longest} characters.")
    check_json(what, given)
    return given


def _may_be(text: Any) -> bool:
    """Whether it is text that a job can carry; what is not would be asked for in vain, or refused by some databases."""
    try:
        return _text("text", text, LONGEST_KEPT_ID) is not None
    except InvalidJob:
        return False


def _epoch(given: Any) -> float:
    try:
        instant = datetime.fromisoformat(given) if isinstance(given, str) else given
        if not isinstance(instant, datetime) or instant.tzinfo is None:
            raise ValueError
        seconds = instant.astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        raise InvalidJob("run_at is an aware datetime, or ISO 8601 text with an offset such as +00:00.") from None
    if seconds - clock.epoch() > LONGEST_DELAY:
        raise InvalidJob("run_at is more than a year from now.")
    return max(seconds, 0.0)
