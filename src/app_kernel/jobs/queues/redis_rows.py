"""What the scripts of the Redis queue are given, and what they answer, in the terms of its callers."""

import logging
from collections.abc import Sequence
from typing import Any

from app_kernel.core.jobs import Status
from app_kernel.jobs.records import Claims, JobFilter, JobRow, NewJob, Outcome, as_number

_log = logging.getLogger("app_kernel.jobs")


def claims_of(answer: Sequence[Any]) -> Claims:
    """What CLAIM gives."""
    soon, *rows = answer
    jobs = []
    for row in rows:
        if len(row) == 1:
            reason = "no job has this id; it is put aside"
            _log.error("job_malformed", extra={"job_id": decoded(row[0]), "reason": reason})
        else:
            jobs.append(job_row(row))
    return Claims(jobs, None if soon < 0 else soon / 1000)


def ends_of(outcomes: Sequence[Outcome]) -> list[Any]:
    """As SETTLE reads them."""
    given: list[Any] = []
    for each in outcomes:
        ttl = "" if each.ttl is None else in_milliseconds(each.ttl)
        given += (each.id, each.token, each.status, in_milliseconds(each.delay), each.count, each.result or "")
        given += (each.error or "", ttl, len(each.followups))
        given += (value for job in each.followups for value in arguments_of(job))
    return given


def arguments_of(job: NewJob) -> tuple[Any, ...]:
    """As `add` in the scripts reads them."""
    due = "" if job.due is None else in_milliseconds(job.due)
    return (
        job.id, job.queue, job.task, job.rank, due, in_milliseconds(job.delay), job.unique_key or "", job.user_id or "",
        job.workspace_id or "", job.max_attempts, job.body, int(job.handed),
    )  # fmt: skip


def is_wanted(row: JobRow, wanted: JobFilter) -> bool:
    """Whether a row fits what is asked for, beside its user."""
    pairs = ((wanted.status, row.status), (wanted.queue, row.queue), (wanted.task, row.task))
    return all(asked is None or asked == value for asked, value in pairs)


def job_row(row: Sequence[Any]) -> JobRow:
    """A row of a script; a field that somebody wrote by hand and that is no number counts as 0."""
    given = [None if value is None else decoded(value) for value in row]
    return JobRow(
        id=given[0] or "", queue=given[1] or "", task=given[2] or "", status=status_of(given[3] or "dead"),
        rank=int(as_number(given[4])), due=as_number(given[5]) / 1000, body=given[6] or "", unique_key=given[7],
        user_id=given[8], workspace_id=given[9], attempts=int(as_number(given[10])),
        max_attempts=int(as_number(given[11])), enqueued_at=as_number(given[12]) / 1000, started_at=_instant(given[13]),
        finished_at=_instant(given[14]), token=given[15], cancel=given[16] == "1", progress=as_number(given[17]),
        progress_text=given[18], result=given[19], error=given[20],
    )  # fmt: skip


def _instant(text: str | None) -> float | None:
    return None if text is None else as_number(text) / 1000


def in_milliseconds(seconds: float) -> int:
    """An instant or a length of time as the scripts read it."""
    # Upwards, so that nothing is early.
    return -int(-seconds * 1000 // 1)


def decoded(value: Any) -> str:
    """What Redis gave, as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def status_of(value: Any) -> Status:
    """A status, whatever it says."""
    status: Status = decoded(value)  # type: ignore[assignment]  # the scripts write no other
    return status
