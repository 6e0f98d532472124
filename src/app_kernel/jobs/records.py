"""Jobs as queues keep them: what goes in, what a worker takes out and settles. Instants are seconds since 1970."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, get_args

import orjson

from app_kernel.core.clock import to_text
from app_kernel.core.jobs import LONGEST_TIMEOUT, JobView, Status

LONGEST_READ = 4 * 1024 * 1024
"""Characters of a body: a job that follows from another one carries its payload and its result."""
LAST_SECOND = 253402300799.0
"""The end of the year 9999."""
LARGEST = 2.0**53
_STATUSES = frozenset(get_args(Status))

# Of an exception group the outermost: what is in it is indented further.
_traceback = re.compile(r"^(?:  \+ Exception Group )?Traceback \(most recent call last\):$", re.MULTILINE).finditer
_line = re.compile(r"^(?:  \| )?(\S.*)$", re.MULTILINE).search
_is_error = re.compile(r"[^\W\d][\w.<>]*(?::|$)").match


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to enqueue."""

    id: str
    queue: str
    task: str
    body: str
    """A JSON object: the payload, and what belongs to it (see `Body`)."""
    rank: int = 0
    """Minus the priority: the lowest comes first."""
    due: float | None = None
    """When it may run; None for `delay` seconds from now, by the queue's own clock."""
    delay: float = 0.0
    max_attempts: int
    unique_key: str | None = None
    user_id: str | None = None
    workspace_id: str | None = None
    handed: bool = False
    """Whether the app database remembers it until it is finished."""

    @property
    def waits(self) -> bool:
        """Whether it is scheduled rather than queued."""
        return self.due is not None or self.delay > 0


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What became of a NewJob."""

    id: str
    queue: str
    task: str
    status: Status
    is_new: bool


@dataclass(slots=True)
class JobRow:
    """A job as it is kept."""

    id: str
    queue: str
    task: str
    status: Status
    rank: int
    due: float
    body: str
    unique_key: str | None
    user_id: str | None
    workspace_id: str | None
    attempts: int
    max_attempts: int
    enqueued_at: float
    started_at: float | None = None
    finished_at: float | None = None
    token: str | None = None
    """Who runs it: another one for each attempt. What carries another token changes nothing."""
    cancel: bool = False
    progress: float = 0.0
    progress_text: str | None = None
    result: str | None = None
    error: str | None = None

    def view(self, *, whole: bool = False) -> JobView:
        """The job as it is shown; `whole` with its payload and metadata."""
        body = Body.read(self.body) if whole else None
        return JobView(
            id=self.id,
            task_name=self.task,
            queue_name=self.queue,
            # Another one was written by hand, and no worker will take the job.
            status=self.status if self.status in _STATUSES else "dead",
            priority=-self.rank,
            attempt=self.attempts,
            max_attempts=self.max_attempts,
            user_id=self.user_id,
            workspace_id=self.workspace_id,
            unique_key=self.unique_key,
            enqueued_at=instant(self.enqueued_at),
            run_at=instant(self.due),
            started_at=None if self.started_at is None else instant(self.started_at),
            finished_at=None if self.finished_at is None else instant(self.finished_at),
            progress=self.progress,
            progress_text=self.progress_text,
            result=loaded(self.result),
            error=self.error,
            cancelling=self.cancel and self.status == "running",
            payload=None if body is None else body.payload,
            metadata={} if body is None else body.metadata,
        )


@dataclass(frozen=True, slots=True)
class Followup:
    """A job that another one's end starts."""

    task: str
    payload: Any = None
    """None for what is known of the job that ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a job carries beside what its queue has to know."""

    payload: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    """None for the task's own, and so for the other options: an enqueuer need not know the task."""
    has_own_attempts: bool = False
    """Whether `max_attempts` was given, so that the task's own does not count."""
    request_id: str | None = None
    traceparent: str | None = None
    on_success: Followup | None = None
    on_failure: Followup | None = None
    cron: str | None = None
    """The schedule that made the job; a worker whose task has another one by now drops it."""

    def text(self) -> str:
        """As JSON, without what is as usual."""
        usual = _USUAL
        given = {name: getattr(self, name) for name in usual if getattr(self, name) != usual[name]}
        for name in ("on_success", "on_failure"):
            if name in given:
                given[name] = [given[name].task, given[name].payload]
        return orjson.dumps(given).decode()

    @classmethod
    def read(cls, text: str | bytes) -> "Body | None":
        """The body; None for a text that is none, such as one that somebody wrote by hand."""
        if len(text) > LONGEST_READ:
            return None
        try:
            given = orjson.loads(text)
            if not isinstance(given, dict):
                return None
            for name in ("on_success", "on_failure"):
                if given.get(name) is not None:
                    task, payload = given[name]
                    given[name] = Followup(task, payload)
            body = cls(**{name: value for name, value in given.items() if name in _USUAL})
        except (ValueError, TypeError):
            return None
        return body if body._is_sound() else None

    def _is_sound(self) -> bool:
        """Whether every part is of its kind."""
        texts: list[object] = [self.request_id, self.traceparent, self.cron]
        texts += (each.task for each in (self.on_success, self.on_failure) if each is not None)
        timeout: object = self.timeout
        return (
            isinstance(self.metadata, dict)
            and (timeout is None or (type(timeout) in (int, float) and 0 < self.timeout <= LONGEST_TIMEOUT))  # type: ignore[operator]  # it is a number
            and all(each is None or (isinstance(each, str) and "\0" not in each) for each in texts)
        )


_USUAL: dict[str, Any] = {
    "payload": None,
    "metadata": {},
    "timeout": None,
    "has_own_attempts": False,
    "request_id": None,
    "traceparent": None,
    "on_success": None,
    "on_failure": None,
    "cron": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a worker says of an attempt; it counts only while the job still carries the token."""

    id: str
    token: str
    queue: str
    status: Status
    delay: float = 0.0
    """Of one that runs again: in how many seconds."""
    count: int = 0
    """Added to the number of attempts: -1 for one that is given back as if it had not begun."""
    result: str | None = None
    error: str | None = None
    ttl: float | None = None
    """Seconds after which a finished job is forgotten."""
    followups: Sequence[NewJob] = ()


@dataclass(frozen=True, slots=True)
class Claims:
    """What a worker got."""

    jobs: Sequence[JobRow]
    next_due: float | None = None
    """In how many seconds a scheduled job of the queue becomes due; None where none is known of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs to list, the latest first; None for all."""

    status: Status | None = None
    queue: str | None = None
    task: str | None = None
    user_id: str | None = None
    limit: int = 50
    before: str | None = None
    """The id of the job after which the page begins."""


def instant(seconds: float) -> str:
    """An instant as UTC ISO 8601 text."""
    return to_text(datetime.fromtimestamp(min(max(seconds, 0.0), LAST_SECOND), UTC))


def loaded(text: str | None) -> Any:
    """What is kept as JSON; None also for what somebody wrote by hand and is none."""
    try:
        return None if text is None else orjson.loads(text)
    except ValueError:
        return None


def as_number(value: Any) -> float:
    """A number as it is kept; what somebody wrote by hand and is none, or out of all bounds, counts as 0."""
    try:
        number = float(value or 0)
    except (TypeError, ValueError):
        return 0.0
    return number if abs(number) <= LARGEST else 0.0


def raised(error: str) -> str:
    """Of a traceback the line that says what was raised; the text of that may go on in further lines."""
    begin = max((found.end() for found in _traceback(error)), default=0)
    found = _line(error, begin)
    line = found[1].strip() if found is not None else ""
    return line if not begin or _is_error(line) else "Error"
