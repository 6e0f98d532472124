"""The route of request figures, for platform admins."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from app_kernel.core.current import current_kernel
from app_kernel.core.deps import forbid_storing
from app_kernel.core.identity import require_admin
from app_kernel.core.iso_instants import ISO_ONLY
from app_kernel.core.problem_docs import problem
from app_kernel.stats.reading import MAX_LIMIT, Sort, get_request_stats
from app_kernel.stats.schemas import RouteStats

LONGEST_ROUTE = 500

router = APIRouter(
    prefix="/admin/stats",
    tags=["stats"],
    dependencies=[Depends(forbid_storing), Depends(require_admin)],
    responses={401: problem("No access token, or one that is not accepted."), 403: problem("The caller is no admin.")},
)


@router.get("", summary="Show request figures by route", responses={503: problem("The admin database is away.")})
async def get_stats(
    since: Annotated[datetime | None, ISO_ONLY, Query(description="A day ago if it is left out.")] = None,
    until: Annotated[datetime | None, ISO_ONLY] = None,
    route: Annotated[str | None, Query(max_length=LONGEST_ROUTE, description="One route template alone.")] = None,
    method: Annotated[str | None, Query(max_length=20)] = None,
    sort: Sort = "p95",
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
) -> list[RouteStats]:
    """How many requests each route had, how many failed and how long they took, the largest of `sort` first.

    It is the figures of all processes. They are kept by the hour, so the hours of `since` and `until` count whole.
    """
    kernel = current_kernel()
    filters = {"since": _text(since), "until": _text(until), "route": route, "method": method}
    rows = await get_request_stats(kernel.admin_store(), app=kernel.name, **filters, sort=sort, limit=limit)
    return [RouteStats.model_validate(row) for row in rows]


def _text(instant: datetime | None) -> str | None:
    # As text an instant without an offset is one in UTC.
    return None if instant is None else instant.isoformat()
