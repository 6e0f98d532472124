"""What is asked of the figures: each route over a time, with its share of errors and its quantiles."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from app_kernel.core import clock
from app_kernel.core.current import is_app_database
from app_kernel.core.errors import InvalidQuery
from app_kernel.core.ports import EntityStore
from app_kernel.stats import store
from app_kernel.stats.figures import Figures, hour_of
from app_kernel.stats.histogram import quantile
from app_kernel.stats.tables import FIGURES

Sort = Literal["p95", "count", "errors", "slowest"]
DEFAULT_HOURS = 24
MAX_LIMIT = 1000
_LAST_HOUR = "9999-12-31T23"

_ORDERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "p95": lambda row: row["p95_ms"],
    "count": lambda row: row["count"],
    "errors": lambda row: (row["errors"], row["error_rate"]),
    "slowest": lambda row: row["slowest_ms"],
}


async def get_request_stats(
    admin_db: EntityStore,
    *,
    app: str,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
    route: str | None = None,
    method: str | None = None,
    sort: Sort = "p95",
    limit: int = 100,
) -> list[dict[str, Any]]:
    """The figures of an app's requests by method and route template, the largest of `sort` first.

    Each has method, route, count, errors (5xx), client_errors (4xx), error_rate (0 to 1), mean_ms, p50_ms, p95_ms,
    p99_ms (at most 5 % off), slowest_ms, and of the slowest request slowest_request_id, slowest_trace_id and
    slowest_at. `since` (a day ago if None) and `until` (now) are aware datetimes or ISO 8601 text; figures are kept by
    the hour, so both hours are counted whole. An empty list when there are none. Raises InvalidQuery.
    """
    if is_app_database(admin_db):
        raise InvalidQuery("Figures are read from the admin database, as get_admin_db_connection() gives it.")
    if sort not in get_args(Sort):
        raise InvalidQuery(f"sort is one of {', '.join(get_args(Sort))}.")
    if type(limit) is not int or not 1 <= limit <= MAX_LIMIT:
        raise InvalidQuery(f"limit is a whole number from 1 to {MAX_LIMIT}.")
    begins = _hour("since", since, clock.now() - timedelta(hours=DEFAULT_HOURS))
    ends = _LAST_HOUR if until is None else _hour("until", until, clock.now())
    by_route: dict[tuple[str, str], Figures] = {}
    async for page in store.iterate_rows(
        admin_db, app, begins, ends, method=None if method is None else method.upper(), route=route
    ):
        # A page takes some milliseconds.
        await asyncio.to_thread(_add_up, by_route, page)
    rows = [_told(method, route, figures) for (method, route), figures in by_route.items()]
    rows.sort(key=lambda row: (row["route"], row["method"]))
    rows.sort(key=_ORDERS[sort], reverse=True)
    return rows[:limit]


async def list_apps(admin_db: EntityStore) -> list[str]:
    """The apps of which the admin database has figures, in the order of their names."""
    return await store.list_apps(admin_db)


def _add_up(by_route: dict[tuple[str, str], Figures], page: Iterable[Mapping[str, Any]]) -> None:
    for row in page:
        figures = Figures.from_values([row[field] for field in FIGURES])
        known = by_route.setdefault((row["method"], row["route"]), figures)
        if known is not figures:
            known.merge(figures)


def _told(method: str, route: str, figures: Figures) -> dict[str, Any]:
    requests = max(figures.requests, 1)
    return {
        "method": method,
        "route": route,
        "count": figures.requests,
        "errors": figures.errors,
        "client_errors": figures.client_errors,
        "error_rate": figures.errors / requests,
        "mean_ms": _milliseconds(figures.seconds / requests),
        **{
            # No quantile is longer than the slowest, whatever the middle of its bucket is.
            name: _milliseconds(min(quantile(figures.buckets, share), figures.slowest))
            for name, share in (("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99))
        },
        "slowest_ms": _milliseconds(figures.slowest),
        "slowest_request_id": figures.slowest_request_id,
        "slowest_trace_id": figures.slowest_trace_id,
        "slowest_at": figures.slowest_at,
    }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _hour(name: str, given: datetime | str | None, default: datetime) -> str:
    instant: Any = default if given is None else given
    if isinstance(instant, str):
        try:
            instant = datetime.fromisoformat(instant)
        except ValueError as exc:
            raise InvalidQuery(f"{name} is an instant in ISO 8601, such as 2026-01-31T12:00:00Z.") from exc
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=UTC)
    if not isinstance(instant, datetime) or instant.tzinfo is None:
        raise InvalidQuery(f"{name} is an aware datetime, or ISO 8601 text.")
    try:
        return hour_of(clock.to_text(instant))
    except OverflowError as exc:
        raise InvalidQuery(f"{name} is in a year from 1 to 9999 of UTC.") from exc
