"""What works apart from requests: the outbox and background jobs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from app_kernel.core.jobs import EnqueueResult, JobFigures
from app_kernel.core.outbox import OutboxFigures


class Outbox(Protocol):
    """What waits to leave the app database, for features that show it."""

    async def figures(self) -> OutboxFigures:
        """How it stands now; raises Unavailable when the database is away."""


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

    async def enqueue_many(self, name: str, payloads: Sequence[Any], **options: Any) -> list[EnqueueResult]:
        """Enqueues a job for each payload, all or none, in one step; the options are those of `enqueue`, for all."""

    async def figures(self) -> JobFigures:
        """How the queues stand now; raises Unavailable when the queue is away."""
