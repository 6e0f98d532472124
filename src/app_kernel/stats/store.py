"""Every line that touches the table of request figures."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import islice
from typing import Any

from app_kernel.core.ports import EntityStore
from app_kernel.core.sql_words import MYSQL, added, remove_some, upsert
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
_SEEN = f"[id], {', '.join(f'[{column}]' for column in FIGURES)}"


async def add_figures(db: EntityStore, more: Mapping[Key, Figures]) -> None:
    """Adds figures to those that are stored; inside the open transaction of a sink, and safe beside others of its
    kind."""
    rows = iter(sorted((_id_of(key), key, figures) for key, figures in more.items()))
    while part := list(islice(rows, _AT_ONCE)):
        known = await _add(db, [(id, *key, *_without_histogram(figures)) for id, key, figures in part])
        stored = {str(row[0]): Figures.from_values([row[at] for at in range(1, len(FIGURES) + 1)]) for row in known}
        merged = []
        for id, key, figures in part:
            whole = stored[id]
            whole.take_slowest(figures)
            for bucket, count in figures.buckets.items():
                whole.buckets[bucket] = whole.buckets.get(bucket, 0) + count
            merged.append((id, *key, *whole.to_values()))
        await _replace(db, merged)


async def remove_before(db: EntityStore, app: str, hour: str) -> None:
    """Removes the figures of an app that are older than an hour, some of them at a time."""
    await remove_some(db.privileged, TABLE, "[app] = ? AND [hour] < ?", (app, hour), _REMOVED_AT_ONCE, order_by="hour")


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


async def _add(db: EntityStore, rows: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """Adds to rows, in the order of their ids, so that two who write do not wait for each other; the rows as they are
    then. They are locked until the end of the transaction, on every database, so the next statement may replace them.
    """
    changes = [f"[{column}] = [{TABLE}].[{column}] + {added(db.backend, column)}" for column in _SUMMED]
    if db.backend != MYSQL:
        return await _write(db, changes, rows, f" RETURNING {_SEEN}")
    await _write(db, changes, rows)
    marks = ", ".join("?" * len(rows))
    return await db.privileged.execute(
        f"SELECT {_SEEN} FROM [{TABLE}] WHERE [id] IN ({marks})",  # noqa: S608 - fixed names, and marks
        [row[0] for row in rows],
    )


async def _replace(db: EntityStore, rows: Sequence[Sequence[Any]]) -> None:
    await _write(db, [f"[{column}] = {added(db.backend, column)}" for column in (*_SLOWEST, "buckets")], rows)


async def _write(
    db: EntityStore, changes: Sequence[str], rows: Sequence[Sequence[Any]], returning: str = ""
) -> Sequence[Any]:
    sql = f"{_INSERT}{', '.join([_ROW] * len(rows))}{upsert(db.backend, 'id', changes)}{returning}"
    return await db.privileged.execute(sql, [value for row in rows for value in row])


def _without_histogram(figures: Figures) -> list[Any]:
    """The values of a row that is new, before its histogram and its slowest request are put into it."""
    return [figures.requests, figures.errors, figures.client_errors, figures.seconds, 0.0, None, None, None, ""]


def _id_of(key: Key) -> str:
    # The parts joined by what none of them holds.
    return hashlib.sha256("\0".join(key).encode()).hexdigest()[:40]
