"""What the routes of jobs give."""

from typing import Any

from pydantic import BaseModel, Field

from app_kernel.core.jobs import Status
from app_kernel.core.model_docs import OTHER_ID, SOME_ID, SOME_INSTANT, example

_JOB = {
    "id": SOME_ID,
    "task_name": "send_email",
    "queue_name": "default",
    "status": "completed",
    "priority": 0,
    "attempt": 1,
    "max_attempts": 5,
    "user_id": OTHER_ID,
    "workspace_id": None,
    "enqueued_at": SOME_INSTANT,
    "run_at": SOME_INSTANT,
    "started_at": SOME_INSTANT,
    "finished_at": SOME_INSTANT,
    "progress": 1,
    "progress_text": None,
    "cancelling": False,
    "error": None,
}


class JobAnswer(BaseModel):
    """A job as it stands."""

    model_config = example(**_JOB)

    id: str
    task_name: str
    queue_name: str
    status: Status
    priority: int
    attempt: int = Field(description="Runs so far, the current one included.")
    max_attempts: int
    user_id: str | None
    workspace_id: str | None
    enqueued_at: str
    run_at: str = Field(description="The earliest time of the next, or of the latest, attempt.")
    started_at: str | None
    finished_at: str | None
    progress: float = Field(description="0 to 1.")
    progress_text: str | None
    cancelling: bool = Field(description="Whether it was asked to end while it runs.")
    error: str | None = Field(
        description="Why the latest attempt failed: the error's type, for admins the whole traceback."
    )


class WholeJobAnswer(JobAnswer):
    """A job with what it carries and what came of it."""

    model_config = example(**_JOB, payload={"to": "ada@example.com"}, metadata={}, result={"sent": True})

    payload: Any
    metadata: dict[str, Any]
    result: Any


class JobListAnswer(BaseModel):
    """A page of jobs, the latest enqueued first."""

    model_config = example(jobs=[_JOB], next_before=None)

    jobs: list[JobAnswer]
    next_before: str | None = Field(description="`before` of the next page; null on the last one.")
