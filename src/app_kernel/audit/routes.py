"""The routes of the audit log: all of it for admins of the service, a workspace's own for its owners and admins.

All of them read. Those of a workspace see its entries alone, and of them neither the addresses of its members nor what
a row was before it came there.
"""

from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import StreamingResponse

from app_kernel.audit.filters import MOST_ACTIONS, Filters
from app_kernel.audit.reading import Format, Order, Row, count_audit_logs, export_audit_logs, find_audit_logs
from app_kernel.audit.schemas import CountAnswer, Entry, EntryList, WorkspaceEntry, WorkspaceEntryList
from app_kernel.audit.trail import AuditTrail
from app_kernel.core.current import current_kernel
from app_kernel.core.deps import admin_db_connection, forbid_storing
from app_kernel.core.identity import require_admin
from app_kernel.core.ports import EntityStore
from app_kernel.core.problem_docs import problem
from app_kernel.core.workspaces import Membership, require_workspace_role

MOST_SHOWN = 200
PURGE = "purge"
"""The action of a row that is gone: what it was is all that is told."""

Name = Annotated[str | None, Query(max_length=191)]
_INSTANTS = {"anyOf": [{"type": "string", "format": kind} for kind in ("date", "date-time")] + [{"type": "null"}]}
Instant = Annotated[
    str | None,
    Query(
        max_length=40,
        description="A date, or an instant in UTC unless it says else.",
        json_schema_extra=_INSTANTS,
    ),
]
Limit = Annotated[int, Query(ge=1, le=MOST_SHOWN)]
Cursor = Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before.")]
FileFormat = Annotated[Format, Query(alias="format")]
AdminStore = Annotated[EntityStore, Depends(admin_db_connection)]

_SEEN_IN_WORKSPACE = ("timestamp", *(name for name in WorkspaceEntry.model_fields if name != "timestamp"))
_SEEN = (*_SEEN_IN_WORKSPACE, *(name for name in Entry.model_fields if name not in WorkspaceEntry.model_fields))
_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A file: CSV with the names of the fields on top, or one JSON object a line.",
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
}
_MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/x-ndjson"}


def asked_by_whom(
    user_id: Name = None, api_key_id: Name = None, job_id: Name = None, request_id: Name = None
) -> Filters:
    """Through whom and what it happened."""
    return Filters(user_id=user_id, api_key_id=api_key_id, job_id=job_id, request_id=request_id)


def asked(
    by: Annotated[Filters, Depends(asked_by_whom)],
    entity: Name = None,
    entity_id: Name = None,
    action: Annotated[
        list[str] | None, Query(max_length=MOST_ACTIONS, description="One or several; `auth.*` for all that begin so.")
    ] = None,
    since: Instant = None,
    until: Instant = None,
) -> Filters:
    """The filters of a request."""
    what = Filters(entity=entity, entity_id=entity_id, action=action, since=since, until=until)
    return Filters(**{**by, **what})


Asked = Annotated[Filters, Depends(asked)]


def asked_of_all(filters: Asked, workspace_id: Name = None, trace_id: Name = None) -> Filters:
    """The same, of an admin of the service."""
    return Filters(**{**filters, "workspace_id": workspace_id, "trace_id": trace_id})


def asked_in_workspace(
    filters: Asked, membership: Annotated[Membership, Depends(require_workspace_role("admin"))]
) -> Filters:
    """The same, within the workspace whose role was checked."""
    return Filters(**{**filters, "workspace_id": membership.workspace_id})


OfAll = Annotated[Filters, Depends(asked_of_all)]
InWorkspace = Annotated[Filters, Depends(asked_in_workspace)]

service_wide = APIRouter(prefix="/admin/audit-logs", dependencies=[Depends(require_admin)])
in_workspace = APIRouter(prefix="/workspaces/{workspace_id}/audit-logs")


@service_wide.get("", summary="List audit entries")
async def get_entries(
    db: AdminStore, filters: OfAll, limit: Limit = 50, cursor: Cursor = None, order: Order = "desc"
) -> EntryList:
    """What happened in this service, the latest first."""
    page = await find_audit_logs(db, app=_app(), limit=limit, cursor=cursor, order=order, **filters)
    return EntryList(entries=[Entry.model_validate(each) for each in page.entries], next_cursor=page.next_cursor)


@service_wide.get("/count", summary="Count audit entries")
async def get_count(db: AdminStore, filters: OfAll) -> CountAnswer:
    """How many entries match."""
    return CountAnswer(count=await count_audit_logs(db, app=_app(), **filters))


@service_wide.get("/export", summary="Export audit entries", response_class=StreamingResponse, responses=_FILES)
async def get_export(db: AdminStore, filters: OfAll, file_format: FileFormat = "csv") -> StreamingResponse:
    """Everything that matches, the oldest first, as CSV or as one JSON object a line."""
    return await _export(db, filters, file_format, _SEEN)


@in_workspace.get("", summary="List the audit entries of a workspace")
async def get_workspace_entries(
    db: AdminStore, filters: InWorkspace, limit: Limit = 50, cursor: Cursor = None, order: Order = "desc"
) -> WorkspaceEntryList:
    """What happened in the workspace, the latest first."""
    page = await find_audit_logs(db, app=_app(), limit=limit, cursor=cursor, order=order, **filters)
    entries = [WorkspaceEntry.model_validate(_since_it_came(each)) for each in page.entries]
    return WorkspaceEntryList(entries=entries, next_cursor=page.next_cursor)


@in_workspace.get("/count", summary="Count the audit entries of a workspace")
async def get_workspace_count(db: AdminStore, filters: InWorkspace) -> CountAnswer:
    """How many entries of the workspace match."""
    return CountAnswer(count=await count_audit_logs(db, app=_app(), **filters))


@in_workspace.get(
    "/export", summary="Export the audit entries of a workspace", response_class=StreamingResponse, responses=_FILES
)
async def get_workspace_export(
    db: AdminStore, filters: InWorkspace, file_format: FileFormat = "csv"
) -> StreamingResponse:
    """Everything of the workspace that matches, the oldest first, as CSV or as one JSON object a line."""
    return await _export(db, filters, file_format, _SEEN_IN_WORKSPACE, _since_it_came)


@cache
def make_router() -> APIRouter:
    """All routes."""
    answers: dict[int | str, dict[str, Any]] = {
        401: problem("No access token, or one that is invalid, expired or revoked."),
        403: problem("The caller's role does not allow this."),
        422: problem("A filter, limit or cursor that is none."),
        503: problem("The admin database is away."),
    }
    unknown: dict[int | str, dict[str, Any]] = {404: problem("There is no such workspace, or the caller is not in it.")}
    router = APIRouter(tags=["audit"], dependencies=[Depends(forbid_storing)], responses=answers)
    router.include_router(service_wide)
    router.include_router(in_workspace, responses=unknown)
    return router


def _app() -> str:
    return current_kernel().port(AuditTrail).app


def _since_it_came(entry: Row) -> Row:
    """An entry as the admins of its workspace see it: of a row that came from elsewhere not what it was there."""
    changes = entry["changes"] or {}
    if "workspace_id" not in changes or entry["action"] == PURGE:
        return entry
    return {**entry, "changes": {name: [None, new] for name, (_, new) in changes.items()}}


async def _export(
    db: EntityStore,
    filters: Filters,
    file_format: Format,
    fields: tuple[str, ...],
    shown: Callable[[Row], Row] = dict,
) -> StreamingResponse:
    parts = export_audit_logs(db, app=_app(), file_format=file_format, fields=fields, shown=shown, **filters)
    # The first part before the answer begins: until then what is wrong has an answer of its own.
    first = await anext(parts, "")
    if file_format == "csv":
        first += await anext(parts, "")
    name = "audit-logs.csv" if file_format == "csv" else "audit-logs.jsonl"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_all(first, parts), media_type=_MEDIA_TYPES[file_format], headers=headers)


async def _all(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for part in rest:
        yield part
