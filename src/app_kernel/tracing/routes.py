"""The routes under /admin/traces: what was slow or failed, for platform admins."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import AwareDatetime

from app_kernel.core.current import current_kernel
from app_kernel.core.deps import admin_db_connection, forbid_storing
from app_kernel.core.errors import TraceNotFound
from app_kernel.core.identity import require_admin
from app_kernel.core.iso_instants import ISO_ONLY
from app_kernel.core.ports import EntityStore
from app_kernel.core.problem_docs import problem
from app_kernel.tracing import store
from app_kernel.tracing.schemas import TraceAnswer, TraceDetails, TraceParts

LONGEST_ID = 191
MOST_PARTS = 100

AdminStore = Annotated[EntityStore, Depends(admin_db_connection)]
Id = Annotated[str, Path(max_length=LONGEST_ID)]

router = APIRouter(
    prefix="/admin/traces",
    tags=["traces"],
    dependencies=[Depends(forbid_storing), Depends(require_admin)],
    responses={
        401: problem("No access token, or one that is not accepted."),
        403: problem("The caller is no admin."),
        503: problem("The admin database is away."),
    },
)


@router.get("", summary="List what was slow or failed")
async def get_traces(
    db: AdminStore,
    since: Annotated[AwareDatetime | None, ISO_ONLY] = None,
    min_ms: Annotated[float | None, Query(ge=0)] = None,
    failed: bool | None = None,
    name: Annotated[str | None, Query(max_length=500, examples=["GET /widgets/{id}"])] = None,
    before: Annotated[str | None, Query(max_length=LONGEST_ID)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> list[TraceAnswer]:
    """Requests and jobs of this service, the latest first; `before` is the last id of the page before."""
    instant: datetime | None = since
    rows = await store.list_traces(
        db, current_kernel().name, since=instant, min_ms=min_ms, failed=failed, name=name, before=before, limit=limit
    )
    return [TraceAnswer.model_validate(row) for row in rows]


@router.get(
    "/{trace_id}", summary="Show a trace", responses={404: problem("Nothing is kept of it: it was fast, or long ago.")}
)
async def get_trace(trace_id: Id, db: AdminStore) -> TraceParts:
    """What is kept of a trace, by its id, or by that of a request or job; with the steps of what was traced."""
    rows = await store.find_trace(db, current_kernel().name, trace_id, MOST_PARTS)
    if not rows:
        raise TraceNotFound
    return TraceParts(parts=[TraceDetails.model_validate(row) for row in rows])
