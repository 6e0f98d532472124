"""What a background job is to everybody: its task, how it stands, and how a handler says what is to happen next."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypeAlias

Status: TypeAlias = Literal["scheduled", "queued", "running", "completed", "dead", "cancelled"]
"""`scheduled` waits for its time, also for that of its next attempt; `queued` waits for a worker."""

UNFINISHED: tuple[Status, ...] = ("scheduled", "queued", "running")
FINISHED: tuple[Status, ...] = ("completed", "dead", "cancelled")

DEFAULT_QUEUE = "default"
DEFAULT_TIMEOUT = 300.0
LONGEST_TIMEOUT = 7 * 86400.0
DEFAULT_ATTEMPTS = 3
DEFAULT_RESULT_TTL = 3600.0
DEAD_TTL = timedelta(days=7).total_seconds()
"""How long a dead or cancelled job can be looked at and retried."""
JOB_TOPIC = "jobs:enqueue"
"""The outbox topic of jobs that were enqueued in a transaction and whose queue is Redis."""


class RetryLater(Exception):
    """A handler raises it to be run again after `seconds`, in place of the task's own delay.

    It counts as an attempt, so that `max_attempts` still bounds the job; after the last one the job is dead.
    """

    def __init__(self, seconds: float, reason: str = "") -> None:
        if not 0 <= seconds <= 366 * 86400:
            raise ValueError("RetryLater takes a number of seconds from 0 to one year.")
        super().__init__(reason or f"asked to run again in {seconds:g} seconds")
        self.seconds = float(seconds)


class DoNotRetry(Exception):
    """A handler raises it when no further attempt can help: the job is dead at once, and may be retried by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What runs under one name, and how."""

    handler: Callable[..., Any]
    """Async, or plain, which then runs in a thread of its own."""
    timeout: float = DEFAULT_TIMEOUT
    """Seconds that one attempt may take."""
    max_attempts: int = DEFAULT_ATTEMPTS
    """Runs at most, those included whose worker was killed."""
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    """-100 to 100; of what waits in a queue, the highest runs first."""
    retry_delay: float = 1.0
    """Seconds before the second attempt at most; doubled for each further one. The wait is random below that."""
    max_retry_delay: float = 300.0
    result_ttl: float = DEFAULT_RESULT_TTL
    """Seconds that a completed job and its result can be looked at."""
    cron: str | None = None
    """When to run by itself: five fields as in crontab(5)."""
    timezone: str = "UTC"
    """The IANA time zone that `cron` is read in."""


@dataclass(frozen=True, slots=True)
class EnqueueResult:
    """What became of an `enqueue`."""

    job_id: str
    task_name: str
    status: Status
    """How the job stands; of one enqueued in an open transaction, how it will once that is committed."""
    queue_name: str
    deduplicated: bool = False
    """Whether a job with this id, or an unfinished one with this unique key, was there already: it is that one."""


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as it stands."""

    id: str
    task_name: str
    queue_name: str
    status: Status
    priority: int
    attempt: int
    """Runs so far, the current one included; 0 before the first."""
    max_attempts: int
    user_id: str | None
    workspace_id: str | None
    unique_key: str | None
    enqueued_at: str
    """Instants are UTC ISO 8601 text."""
    run_at: str
    """The earliest time of the next, or of the latest, attempt."""
    started_at: str | None
    finished_at: str | None
    progress: float
    """0 to 1."""
    progress_text: str | None
    result: Any
    error: str | None
    """The traceback of the latest failure; also set while the next attempt waits."""
    cancelling: bool
    """Whether it was asked to end while it runs."""
    payload: Any = None
    """Only where one job is asked for."""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobFigures:
    """How the queues of a service stand."""

    counts: Mapping[tuple[str, str], int]
    """Jobs by (queue, status), for scheduled, queued, running and dead."""
    oldest_seconds: Mapping[str, float]
    """By queue, for how long the oldest queued job has been due."""
    paused: tuple[str, ...]
    outstanding: int = 0
    """Jobs that left a transaction for Redis and are not known to be finished."""
