"""What the routes answer."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app_kernel.core.model_docs import OTHER_ID, SOME_ID, SOME_INSTANT, TRACE_ID, example

_TRACE = {
    "id": SOME_ID,
    "kind": "request",
    "trace_id": TRACE_ID,
    "request_id": SOME_ID,
    "job_id": None,
    "name": "GET /widgets/{id}",
    "path": "/widgets/1",
    "status": 200,
    "outcome": None,
    "attempt": None,
    "failed": False,
    "error": None,
    "started_at": SOME_INSTANT,
    "duration_ms": 1310.2,
    "user_id": OTHER_ID,
    "workspace_id": None,
    "address": "192.0.2.7",
}
_SPAN: dict[str, Any] = {
    "name": "SELECT widgets",
    "id": "00f067aa0ba902b7",
    "parent": None,
    "offset_ms": 0.4,
    "duration_ms": 1300.1,
    "attributes": {},
}


class TraceAnswer(BaseModel):
    """A request or an attempt of a job that was slow or failed."""

    model_config = {**ConfigDict(extra="ignore"), **example(**_TRACE)}

    id: str
    kind: str = Field(description="`request` or `job`.")
    trace_id: str | None = Field(description="The trace that it was a part of; null without one.")
    request_id: str | None = Field(description="The request, or the one that enqueued the job.")
    job_id: str | None
    name: str = Field(description="Method and route, such as `GET /widgets/{id}`, or the task.")
    path: str | None
    status: int | None = Field(description="The status of the answer.")
    outcome: str | None = Field(description="Of a job: completed, retried, dead, cancelled, released or lost.")
    attempt: int | None
    failed: bool
    error: str | None = Field(description="The type of the exception.")
    started_at: datetime
    duration_ms: float
    user_id: str | None
    workspace_id: str | None
    address: str | None


class SpanAnswer(BaseModel):
    """One step inside of it."""

    name: str
    id: str
    parent: str | None
    offset_ms: float = Field(description="Since the beginning of the request or job.")
    duration_ms: float
    attributes: dict[str, Any]


class TraceDetails(TraceAnswer):
    """The same with what was done inside of it, where that was traced."""

    model_config = example(**_TRACE, spans=[_SPAN], spans_left_out=0)

    spans: list[SpanAnswer] | None = Field(description="Null where it was not traced.")
    spans_left_out: int | None = Field(description="How many more there were than are kept.")


class TraceParts(BaseModel):
    """What is kept of one trace."""

    model_config = example(parts=[{**_TRACE, "spans": [_SPAN], "spans_left_out": 0}])

    parts: list[TraceDetails] = Field(description="Its requests and jobs, in the order of their beginning.")
