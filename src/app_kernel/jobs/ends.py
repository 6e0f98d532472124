"""What is told of an attempt that came to its end."""

import logging
from typing import TYPE_CHECKING

from app_kernel.core.events import JobFinished
from app_kernel.core.tracing import Trace
from app_kernel.jobs.records import Body, JobRow, raised

if TYPE_CHECKING:
    from app_kernel.jobs.queues.base import KernelJob

FAILED = frozenset({"dead", "retried"})
LONGEST_NAME = 200

_log = logging.getLogger("app_kernel.jobs")


def finished(
    row: JobRow,
    body: Body | None,
    *,
    task_name: str,
    outcome: str,
    ran: float,
    error: str | None,
    traceparent: str | None = None,
    trace: Trace | None = None,
) -> JobFinished:
    """The event of an end; `error` is the line that says what was raised, of which the type is told."""
    return JobFinished(
        task_name,
        row.queue,
        row.id,
        outcome,
        row.attempts,
        max(0.0, (row.started_at or row.due) - row.due),
        ran,
        user_id=row.user_id,
        workspace_id=row.workspace_id,
        request_id=None if body is None else body.request_id,
        traceparent=traceparent or (None if body is None else body.traceparent),
        error=None if error is None else error.partition(":")[0].rpartition(".")[2][:LONGEST_NAME],
        trace=trace,
    )


def why(job: "KernelJob") -> str:
    """Why an attempt failed, as text."""
    if job.failure is None and not job.is_late:
        return "CancelledError: the attempt was broken off."
    return job.failure or f"TimeoutError: the attempt took longer than its timeout of {job.timeout:g} seconds."


def log_end(job: "KernelJob", ran: float) -> None:
    """One line for each end."""
    told = {
        "task": job.function,
        "job_id": job.key,
        "outcome": job.outcome,
        "attempt": job.row.attempts,
        "duration_ms": round(ran * 1000, 1),
    }
    if job.body is not None and job.body.request_id is not None:
        told["request_id"] = job.body.request_id
    if job.outcome in FAILED:
        reason = raised(why(job))
        level = logging.ERROR if job.outcome == "dead" else logging.WARNING
        _log.log(level, "job_failed", extra={**told, "reason": reason, "max_attempts": job.most_attempts})
    elif job.outcome == "lost":
        _log.warning(
            "job_lost", extra={**told, "reason": "another worker has it; what this one did of it does not count"}
        )
    elif _log.isEnabledFor(logging.INFO):
        _log.info("job_finished", extra=told)
