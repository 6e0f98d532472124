"""What the routes of the audit log give."""

from typing import Any

from pydantic import BaseModel, Field

from app_kernel.core.model_docs import OTHER_ID, SOME_ID, SOME_INSTANT, TRACE_ID, example

_ENTRY = {
    "id": SOME_ID,
    "action": "update",
    "entity": "widgets",
    "entity_id": OTHER_ID,
    "version": 2,
    "changes": {"color": ["blue", "red"]},
    "meta": None,
    "user_id": OTHER_ID,
    "api_key_id": None,
    "job_id": None,
    "source": "request",
    "request_id": SOME_ID,
    "workspace_id": None,
    "reason": None,
    "timestamp": SOME_INSTANT,
}
_OF_SERVICE = {"app": "widget_service", "command": None, "trace_id": TRACE_ID, "address": "192.0.2.7"}


class WorkspaceEntry(BaseModel):
    """One entry as the admins of its workspace see it."""

    model_config = example(**_ENTRY)

    id: str
    action: str = Field(description="create, update, delete, restore, purge, or the name of an event.")
    entity: str | None
    entity_id: str | None
    version: int | None = Field(description="Of the row after the change.")
    changes: dict[str, Any] | None = Field(description="Field to [old, new]; secrets are [redacted].")
    meta: dict[str, Any] | None = Field(description="What an event says besides.")
    user_id: str | None
    api_key_id: str | None
    job_id: str | None
    source: str | None = Field(description="request, api_key, job, command or code.")
    request_id: str | None
    workspace_id: str | None
    reason: str | None
    timestamp: str = Field(description="When it happened, in UTC.")


class Entry(WorkspaceEntry):
    """One entry."""

    model_config = example(**_ENTRY, **_OF_SERVICE)

    app: str
    command: str | None
    trace_id: str | None
    address: str | None = Field(description="The client's address.")


class EntryList(BaseModel):
    """Entries of the service, and how to go on."""

    model_config = example(entries=[{**_ENTRY, **_OF_SERVICE}], next_cursor=None)

    entries: list[Entry]
    next_cursor: str | None = Field(description="`cursor` of the next page; null when there is none.")


class WorkspaceEntryList(BaseModel):
    """Entries of a workspace, and how to go on."""

    model_config = example(entries=[_ENTRY], next_cursor=None)

    entries: list[WorkspaceEntry]
    next_cursor: str | None = Field(description="`cursor` of the next page; null when there is none.")


class CountAnswer(BaseModel):
    """How many entries match."""

    model_config = example(count=4521)

    count: int
