"""Usage over HTTP: everybody sees their own, admins of a workspace that of the workspace, admins of the service all."""

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from app_kernel.core.current import current_kernel
from app_kernel.core.deps import admin_db_connection, forbid_storing
from app_kernel.core.identity import UserIdentity, get_current_user, require_admin
from app_kernel.core.ports import EntityStore
from app_kernel.core.problem_docs import problem
from app_kernel.core.workspaces import Membership, require_workspace_role
from app_kernel.metering.counters import Subject
from app_kernel.metering.counting import LONGEST, REQUESTS
from app_kernel.metering.periods import check_period
from app_kernel.metering.schemas import DaysAnswer, EndpointsAnswer, UsageAnswer
from app_kernel.metering.usage import (
    MOST_ENDPOINTS,
    check_subject,
    get_usage,
    get_usage_by_day,
    get_usage_by_endpoint,
)

AdminDb = Annotated[EntityStore, Depends(admin_db_connection)]
Period = Annotated[
    str | None,
    Query(
        max_length=10,
        description="`2025`, `2025-01` or `2025-01-15`; left out: this month.",
        json_schema_extra={"pattern": "^[1-9][0-9]{3}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?)?$"},
    ),
]
Metric = Annotated[
    str, Query(max_length=63, examples=["tokens"], json_schema_extra={"pattern": "^[a-z][a-z0-9_.]{0,62}$"})
]
Limit = Annotated[int, Query(ge=1, le=MOST_ENDPOINTS)]
Id = Annotated[str | None, Query(min_length=1, max_length=LONGEST)]

_UNAUTHENTICATED = problem("No access token, or one that is invalid, expired or revoked; or an API key.")
_INVALID = problem("The period or metric is none.")
_AWAY = problem("The admin database does not answer.")
_RESPONSES: dict[int | str, dict[str, Any]] = {401: _UNAUTHENTICATED, 422: _INVALID, 503: _AWAY}
_OF_WORKSPACE: dict[int | str, dict[str, Any]] = {
    403: problem("The caller's role in the workspace is less than admin."),
    404: problem("There is no such workspace, or the caller is not in it."),
}
_OF_ALL: dict[int | str, dict[str, Any]] = {403: problem("The caller is no admin.")}


async def _own(user: Annotated[UserIdentity, Depends(get_current_user)]) -> Subject:
    return Subject(current_kernel().name, user_id=user.id)


async def _in_workspace(
    member: Annotated[Membership, Depends(require_workspace_role("admin"))], user_id: Id = None
) -> Subject:
    return check_subject(current_kernel().name, member.workspace_id, user_id)


async def _anywhere(
    admin: Annotated[UserIdentity, Depends(require_admin)], workspace_id: Id = None, user_id: Id = None
) -> Subject:
    return check_subject(current_kernel().name, workspace_id, user_id)


@cache
def make_router() -> APIRouter:
    """All routes: each of them three times, once for each kind of caller."""
    router = APIRouter(tags=["usage"], dependencies=[Depends(forbid_storing)], responses=_RESPONSES)
    _add("/usage", router, _own, "my usage", {})
    _add("/workspaces/{workspace_id}/usage", router, _in_workspace, "the usage of a workspace", _OF_WORKSPACE)
    _add("/admin/usage", router, _anywhere, "the usage of anybody", _OF_ALL)
    return router


def _add(
    path: str, router: APIRouter, whose: Callable[..., Any], title: str, responses: dict[int | str, dict[str, Any]]
) -> None:
    @router.get(path, summary=f"Show {title}", responses=responses)
    async def get_total(
        subject: Annotated[Subject, Depends(whose)], admin_db: AdminDb, period: Period = None
    ) -> UsageAnswer:
        """What was used in a period, by metric; the last seconds may be missing."""
        period = check_period(period)
        return UsageAnswer(period=period, usage=await get_usage(admin_db, **_named(subject), period=period))

    @router.get(f"{path}/endpoints", summary=f"Show {title} by endpoint", responses=responses)
    async def get_endpoints(
        subject: Annotated[Subject, Depends(whose)],
        admin_db: AdminDb,
        period: Period = None,
        metric: Metric = REQUESTS,
        limit: Limit = 100,
    ) -> EndpointsAnswer:
        """What was used of one metric at each endpoint, the most first."""
        period = check_period(period)
        found = await get_usage_by_endpoint(admin_db, **_named(subject), period=period, metric=metric, limit=limit)
        return EndpointsAnswer.model_validate({"period": period, "metric": metric, "endpoints": found})

    @router.get(f"{path}/days", summary=f"Show {title} by day", responses=responses)
    async def get_days(
        subject: Annotated[Subject, Depends(whose)], admin_db: AdminDb, period: Period = None, metric: Metric = REQUESTS
    ) -> DaysAnswer:
        """What was used of one metric on each day that has any."""
        period = check_period(period)
        found = await get_usage_by_day(admin_db, **_named(subject), period=period, metric=metric)
        return DaysAnswer.model_validate({"period": period, "metric": metric, "days": found})


def _named(subject: Subject) -> dict[str, Any]:
    return {"app": subject.app, "workspace_id": subject.workspace_id, "user_id": subject.user_id}
