"""What a handler is told of the job that it runs."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from app_kernel.core import clock
from app_kernel.core.errors import InvalidJob
from app_kernel.jobs.payload import check_json

Report = Callable[[float, str | None], Awaitable[None]]
LONGEST_TEXT = 500


class JobContext:
    """The running job. Made by the worker; a test may make one: `JobContext(task_name="send_email")`."""

    __slots__ = (
        "_cancelled", "_report", "attempt", "enqueued_at", "has_noticed", "job_id", "latest", "max_attempts",
        "metadata", "queue_name", "request_id", "started_at", "task_name", "traceparent", "user_id", "workspace_id",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - what is known of a job, all optional
        self,
        *,
        job_id: str = "",
        task_name: str = "",
        queue_name: str = "default",
        attempt: int = 1,
        max_attempts: int = 1,
        enqueued_at: datetime | None = None,
        started_at: datetime | None = None,
        user_id: str | None = None,
        workspace_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        traceparent: str | None = None,
        report: Report | None = None,
    ) -> None:
        self.job_id = job_id
        self.task_name = task_name
        self.queue_name = queue_name
        self.attempt = attempt
        """From 1; runs whose worker was killed count too."""
        self.max_attempts = max_attempts
        self.enqueued_at = enqueued_at or clock.now()
        self.started_at = started_at or clock.now()
        """When this attempt began; aware, in UTC."""
        self.user_id = user_id
        """On whose behalf: rows that the handler saves carry it as created_by and updated_by."""
        self.workspace_id = workspace_id
        self.metadata = dict(metadata or {})
        self.request_id = request_id
        """The request that enqueued the job; in the handler's log lines too."""
        self.traceparent = traceparent
        """The trace of that request, as W3C Trace Context spells it; None without one."""
        self.latest: tuple[float, str | None] | None = None
        """What `report_progress` said last and nobody has written down yet."""
        self._report = report
        self._cancelled = False
        self.has_noticed = False
        """Whether the handler looked at `cancelled` and saw that it is to end."""

    @property
    def cancelled(self) -> bool:
        """Whether the job was asked to end. An async handler is cancelled; a plain one may look here in its loops."""
        if self._cancelled:
            self.has_noticed = True
        return self.has_noticed

    async def progress(self, fraction: float, text: str | None = None) -> None:
        """Keeps how far the job is, from 0 to 1, where GET /jobs/{id} shows it. Raises InvalidJob."""
        check_progress(fraction, text)
        self.latest = None
        if self._report is not None:
            await self._report(float(fraction), text)

    def report_progress(self, fraction: float, text: str | None = None) -> None:
        """The same for plain handlers: it does not wait, and is written down within a few seconds."""
        check_progress(fraction, text)
        self.latest = (float(fraction), text)

    def cancel(self) -> None:
        """Sets `cancelled`; called by the worker, and by tests."""
        self._cancelled = True


def check_progress(fraction: float, text: str | None) -> None:
    """Raises InvalidJob for what is no progress."""
    given: object = fraction
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
        raise InvalidJob("progress is a number from 0 to 1.")
    said: object = text
    if said is not None:
        check_json("progress text", said)
        if not isinstance(said, str) or len(said) > LONGEST_TEXT:
            raise InvalidJob(f"The text of a progress has at most {LONGEST_TEXT} characters.")
