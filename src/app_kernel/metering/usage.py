"""Reading usage from the admin database, and limits on it that are seconds behind."""

from typing import Any

from app_kernel.core.current import is_app_database
from app_kernel.core.errors import InvalidUsage, MeteringError
from app_kernel.core.ports import EntityStore
from app_kernel.metering import store
from app_kernel.metering.counters import MEMBER_ENDPOINT, Subject
from app_kernel.metering.counting import REQUESTS, check_limit, check_metric, check_optional, check_text
from app_kernel.metering.periods import check_period, days_of, itself, months_of

MOST_ENDPOINTS = 1000


async def get_usage(
    admin_db: EntityStore,
    *,
    app: str,
    workspace_id: str | None = None,
    user_id: str | None = None,
    period: str | None = None,
) -> dict[str, int]:
    """What was used in a period, by metric: `{"requests": 4521, "tokens": 125000}`; unused metrics are not there.

    Of a workspace, of a user, of a user in a workspace where both are given, or of the whole app. `period` is a year, a
    month or a day of UTC: "2025", "2025-01", "2025-01-15"; the current month if left out. Raises InvalidUsage,
    Unavailable while the admin database is away, and MeteringError for a handle of the app database.
    """
    _check_database(admin_db)
    subject = check_subject(app, workspace_id, user_id)
    rows = await store.list_counters(admin_db, subject.scope, subject, itself(check_period(period)))
    return dict(sorted(store.amounts_of(rows, "metric").items()))


async def get_usage_by_endpoint(
    admin_db: EntityStore,
    *,
    app: str,
    workspace_id: str | None = None,
    user_id: str | None = None,
    period: str | None = None,
    metric: str = REQUESTS,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """What was used of one metric at each endpoint, the most first: `[{"endpoint": "GET /widgets", "amount": 4012}]`.

    At most `limit` of them, up to 1000. What was counted without an endpoint is not in it. It is kept for
    `metering_detail_days`. Otherwise as `get_usage`.
    """
    _check_database(admin_db)
    subject = check_subject(app, workspace_id, user_id)
    period, metric, limit = check_period(period), check_metric(metric), _check_count(limit)
    scope = subject.parts
    periods = days_of(period) if scope == MEMBER_ENDPOINT else months_of(period)
    # Where each endpoint has one row, the database finds the largest.
    largest = limit if periods == itself(period) and scope != MEMBER_ENDPOINT else None
    rows = await store.list_counters(admin_db, scope, subject, periods, metric=metric, largest=largest)
    amounts = sorted(store.amounts_of(rows, "endpoint").items(), key=lambda part: (-part[1], part[0]))
    return [{"endpoint": endpoint, "amount": amount} for endpoint, amount in amounts[:limit]]


async def get_usage_by_day(
    admin_db: EntityStore,
    *,
    app: str,
    workspace_id: str | None = None,
    user_id: str | None = None,
    period: str | None = None,
    metric: str = REQUESTS,
) -> list[dict[str, Any]]:
    """What was used of one metric on each day of a period, for charts: `[{"day": "2025-01-15", "amount": 402}]`.

    In the order of the days; one without usage is not there. Otherwise as `get_usage`.
    """
    _check_database(admin_db)
    subject = check_subject(app, workspace_id, user_id)
    days, metric = days_of(check_period(period)), check_metric(metric)
    rows = await store.list_counters(admin_db, subject.scope, subject, days, metric=metric)
    return [{"day": row["period"], "amount": row["amount"]} for row in rows]


async def check_quota(
    admin_db: EntityStore,
    *,
    app: str,
    metric: str,
    limit: int,
    workspace_id: str | None = None,
    user_id: str | None = None,
    period: str | None = None,
) -> bool:
    """Whether less than the limit was used in the period, as far as the admin database knows; the month if left out.

    It is a soft limit: usage arrives there within seconds, and who asks at the same time gets the same answer. For one
    that is never passed see `reserve`. Raises InvalidUsage, and Unavailable while the admin database is away.
    """
    return await _used(admin_db, app, workspace_id, user_id, metric, period) < check_limit(limit)


async def get_quota_remaining(
    admin_db: EntityStore,
    *,
    app: str,
    metric: str,
    limit: int,
    workspace_id: str | None = None,
    user_id: str | None = None,
    period: str | None = None,
) -> int:
    """How much of the limit is left, never less than 0; otherwise as `check_quota`."""
    return max(0, check_limit(limit) - await _used(admin_db, app, workspace_id, user_id, metric, period))


async def _used(
    admin_db: EntityStore, app: str, workspace_id: str | None, user_id: str | None, metric: str, period: str | None
) -> int:
    _check_database(admin_db)
    subject = check_subject(app, workspace_id, user_id)
    return (await store.get_counter(admin_db, subject.counter(check_period(period), check_metric(metric))))[0]


def _check_database(admin_db: EntityStore) -> None:
    # There nothing was ever used, so each quota would be free.
    if is_app_database(admin_db):
        raise MeteringError(
            "Usage is read from the admin database: take Depends(admin_db_connection) or get_admin_db_connection()."
        )


def check_subject(app: Any, workspace_id: Any, user_id: Any) -> Subject:
    """Whose usage it is; raises InvalidUsage."""
    return Subject(
        check_text("app", app), check_optional("workspace_id", workspace_id), check_optional("user_id", user_id)
    )


def _check_count(limit: Any) -> int:
    if type(limit) is int and 1 <= limit <= MOST_ENDPOINTS:
        return limit
    raise InvalidUsage(f"limit is a number from 1 to {MOST_ENDPOINTS}.")
