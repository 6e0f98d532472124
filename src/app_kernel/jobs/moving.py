"""What a copy of a database has to know of the tables of jobs, and what a job becomes that goes on in Redis."""

from collections.abc import Mapping
from typing import Any

from app_kernel.core.engine_tables import EngineTables
from app_kernel.core.jobs import UNFINISHED
from app_kernel.core.outbox import Message
from app_kernel.jobs.handover import message_of
from app_kernel.jobs.queues.statements import TABLES, create
from app_kernel.jobs.records import NewJob


def message_of_row(row: Mapping[str, Any]) -> Message | None:
    """An unfinished job on its way to Redis, under its own id; None for one that has come to its end."""
    if row["status"] not in UNFINISHED:
        return None
    job = NewJob(
        id=row["id"],
        queue=row["queue"],
        task=row["task"],
        body=row["body"],
        rank=int(row["rank"]),
        due=float(row["due"]) if row["status"] == "scheduled" else None,
        # Those that were made count; one that was under way is made again.
        max_attempts=max(1, int(row["max_attempts"]) - int(row["attempts"])),
        unique_key=row["unique_key"],
        user_id=row["user_id"],
        workspace_id=row["workspace_id"],
    )
    message = message_of(job)
    return Message(topic=message.topic, body=message.body, key=message.key, id=job.id)


def _stays(row: Mapping[str, Any]) -> None:
    """Which queues are paused is kept in Redis there."""


JOB_TABLES = EngineTables(
    names=TABLES["sqlite"],
    create=create,
    backends=("sqlite", "postgres"),
    leaves={"kernel_jobs": message_of_row, "kernel_job_queues": _stays},
)
