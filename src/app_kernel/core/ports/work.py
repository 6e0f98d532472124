"""What works apart from requests: the outbox and background jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from app_kernel.core.jobs import EnqueueResult, JobFigures
from app_kernel.core.outbox import OutboxFigures


class Outbox(Protocol):
    """What waits to leave the app database, for features that show it."""

    async def figures(self) -> OutboxFigures:
        """How it stands now; raises Unavailable when the database is away."""

    @property
    def is_active(self) -> bool:
        """Whether the relay of this process is the one that carries."""


@dataclass(frozen=True, slots=True)
class FlagFigures:
    """How the feature flags of a service stand in this process."""

    flags: int
    """0 until they were read."""
    age_seconds: float | None
    """Since they were looked at last, which happens when one is evaluated; None until they were read."""
    evaluations: int
    is_stale: bool
    """Whether the database did not answer the latest look."""


class FlagCopy(Protocol):
    """The feature flags as a process keeps them in memory, for features that show that."""

    def figures(self) -> FlagFigures:
        """How they stand now."""


class JobQueue(Protocol):
    """The background jobs of a service, for features that enqueue them."""

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
        """Enqueues a job: with the open transaction, or at once."""

    async def enqueue_many(
        self, name: str, payloads: Sequence[Any], *, traces: Sequence[str | None] | None = None, **options: Any
    ) -> list[EnqueueResult]:
        """Enqueues a job for each payload, all or none, in one step; the options are those of `enqueue`, for all.

        `traces` are the traceparents of what the jobs are a part of, one for each, where that is not the caller's.
        """

    async def figures(self) -> JobFigures:
        """How the queues stand now; raises Unavailable when the queue is away."""
