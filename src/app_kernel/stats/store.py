"""Every line that touches the table of request figures."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import islice
from typing import Any

from app_kernel.core.ports import EntityStore
from app_kernel.stats.figures import Figures
from app_kernel.stats.tables import FIGURES, TABLE

Key = tuple[str, str, str, str]
"""App, hour, method and route."""
Row = dict[str, Any]

_AT_ONCE = 200
_PAGE = 1000
_REMOVED_AT_ONCE = 10_000

_COLUMNS = ("id", "app", "hour", "method", "route", *FIGURES)
_SUMMED = ("requests", "errors", "client_errors", "seconds")
_SLOWEST = FIGURES[4:8]
_INSERT = f"INSERT INTO [{TABLE}] ({', '.join(f'[{column}]' for column in _COLUMNS)}) VALUES "  # noqa: S608 - fixed
_ROW = f"({', '.join('?' * len(_COLUMNS))})"
# The update locks the row until the end of the transaction, on every database, so what it gives back is what the next
# statement may replace. In the order of the ids, so that two who write do not wait for each other.
_ADD = (
    " ON CONFLICT ([id]) DO UPDATE SET "
    + ", ".join(f"[{column}] = [{TABLE}].[{column}] + excluded.[{column}]" for column in _SUMMED)
    + f" RETURNING [id], {', '.join(f'[{column}]' for column in FIGURES)}"
)
_REPLACE = " ON CONFLICT ([id]) DO UPDATE SET " + ", ".join(
    f"[{column}] = excluded.[{column}]" for column in (*_SLOWEST, "buckets")
)
_REMOVE = (
    f"DELETE FROM [{TABLE}] WHERE [id] IN"  # noqa: S608 - fixed
    f" (SELECT [id] FROM [{TABLE}] WHERE [app] = ? AND [hour] < ? ORDER BY [hour] LIMIT ?)"
)


async def add_figures(db: EntityStore, added: Mapping[Key, Figures]) -> None:
    """Adds figures to those that are stored; inside the open transaction of a sink, and safe beside others of its
    kind."""
    rows = iter(sorted((_id_of(key), key, figures) for key, figures in added.items()))
    while part := list(islice(rows, _AT_ONCE)):
        known = await _write(db, _ADD, [(id, *key, *_without_histogram(figures)) for id, key, figures in part])
        stored = {str(row[0]): Figures.from_values([row[at] for at in range(1, len(FIGURES) + 1)]) for row in known}
        merged = []
        for id, key, figures in part:
            whole = stored[id]
            whole.take_slowest(figures)
            for bucket, count in figures.buckets.items():
                whole.buckets[bucket] = whole.buckets.get(bucket, 0) + count
            merged.append((id, *key, *whole.to_values()))
        await _write(db, _REPLACE, merged)


async def remove_before(db: EntityStore, app: str, hour: str) -> None:
    """Removes the figures of an app that are older than an hour, some of them at a time."""
    await db.privileged.execute(_REMOVE, (app, hour, _REMOVED_AT_ONCE))


async def iterate_rows(
    db: EntityStore, app: str, since: str, until: str, *, method: str | None = None, route: str | None = None
) -> AsyncIterator[list[Row]]:
    """Pages of the rows of an app from one hour to another, both included; none where there is no table."""
    clause, params = "[app] = ? AND [hour] >= ? AND [hour] <= ?", [app, since, until]
    for field, value in (("method", method), ("route", route)):
        if value is not None:
            clause, params = f"{clause} AND [{field}] = ?", [*params, value]
    page = await db.find_entities(TABLE, clause, params, order_by="[hour], [id]", limit=_PAGE)
    while page:
        yield page
        if len(page) < _PAGE:
            return
        last = page[-1]
        page = await db.find_entities(
            TABLE,
            f"{clause} AND ([hour] > ? OR ([hour] = ? AND [id] > ?))",
            [*params, last["hour"], last["hour"], last["id"]],
            order_by="[hour], [id]",
            limit=_PAGE,
        )


async def list_apps(db: EntityStore) -> list[str]:
    """The apps of which there are figures."""
    apps: list[str] = []
    # One look into the index for each of them: the rows of an app are many.
    while found := await db.find_entities(
        TABLE, "[app] > ?", [apps[-1] if apps else ""], order_by="[app], [hour]", limit=1
    ):
        apps.append(found[0]["app"])
    return apps


async def _write(db: EntityStore, conflict: str, rows: Sequence[Sequence[Any]]) -> Sequence[Any]:
    sql = _INSERT + ", ".join([_ROW] * len(rows)) + conflict
    return await db.privileged.execute(sql, [value for row in rows for value in row])


def _without_histogram(figures: Figures) -> list[Any]:
    """The values of a row that is new, before its histogram and its slowest request are put into it."""
    return [figures.requests, figures.errors, figures.client_errors, figures.seconds, 0.0, None, None, None, ""]


def _id_of(key: Key) -> str:
    # The parts joined by what none of them holds.
    return hashlib.sha256("\0".join(key).encode()).hexdigest()[:40]
