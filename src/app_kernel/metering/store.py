"""Every line that touches the tables of metering.

Counters are raw statements, many rows in each: what they add is small, and there is a lot of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from app_kernel.core import clock
from app_kernel.core.ports import EntityStore
from app_kernel.core.sql_words import MYSQL, added, insert_once, remove_some, upsert
from app_kernel.metering.counters import LARGEST, MEMBER_ENDPOINT, SHORT_LIVED, Counter, Subject, Sums, counter_id
from app_kernel.metering.periods import GRAINS, Periods
from app_kernel.metering.tables import RESERVED, USAGE

Row = dict[str, Any]

ROWS_AT_ONCE = 128
"""Rows in one statement; fewer are written in powers of two, so that there are few statements to prepare."""
PRUNED_AT_ONCE = 1000

_FIELDS = (
    "id", "app", "scope", "workspace_id", "user_id", "period", "metric", "endpoint", "amount", "reserved",
    "created_at", "updated_at", "_version",
)  # fmt: skip
_ROW = f"({'?, ' * (len(_FIELDS) - 1)}1)"


def _grown(backend: str, field: str) -> str:
    old, new = f"[{USAGE}].[{field}]", added(backend, field)
    return f"[{field}] = CASE WHEN {old} > {LARGEST} - {new} THEN {LARGEST} ELSE {old} + {new} END"


_ADD = f"INSERT INTO [{USAGE}] ({', '.join(f'[{field}]' for field in _FIELDS)}) VALUES "  # noqa: S608 - names only
_FIRST = (
    f"INSERT INTO [{RESERVED}] ([id], [app], [workspace_id], [user_id], [period], [metric], [amount], [created_at],"  # noqa: S608 - names and marks only
    f" [updated_at], [_version]) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1)"
)
_RESERVE = (
    f"{_FIRST} ON CONFLICT ([id]) DO UPDATE"
    f" SET [amount] = [{RESERVED}].[amount] + excluded.[amount], [updated_at] = excluded.[updated_at],"
    f" [_version] = [{RESERVED}].[_version] + 1 WHERE [{RESERVED}].[amount] <= ? RETURNING [amount]"
)
_HOLD = f"SELECT [amount] FROM [{RESERVED}] WHERE [id] = ? FOR UPDATE"  # noqa: S608 - as above
_RESERVE_HELD = (
    f"UPDATE [{RESERVED}] SET [amount] = [amount] + ?, [updated_at] = ?, [_version] = [_version] + 1 WHERE [id] = ?"  # noqa: S608 - as above
)


async def add_sums(db: EntityStore, sums: Sums) -> None:
    """Adds to counters, and makes those that are missing, with the open transaction."""
    now = clock.timestamp()
    # In one order, so that of two writers one waits for the other, and never each for the other.
    rows = sorted((counter_id(counter), counter, amounts) for counter, amounts in sums.items())
    for part in _parts(rows):
        params: list[Any] = []
        for id, counter, (amount, reserved) in part:
            params += (id, *counter, min(amount, LARGEST), min(reserved, LARGEST), now, now)
        await db.privileged.execute(_statement(db.backend, len(part)), params)


@cache
def _statement(backend: str, rows: int) -> str:
    changes = (
        _grown(backend, "amount"),
        _grown(backend, "reserved"),
        f"[updated_at] = {added(backend, 'updated_at')}",
        f"[_version] = [{USAGE}].[_version] + 1",
    )
    return f"{_ADD}{', '.join([_ROW] * rows)}{upsert(backend, 'id', changes)}"


def _parts(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    start, size = 0, ROWS_AT_ONCE
    while start < len(rows):
        while size > len(rows) - start:
            size //= 2
        yield rows[start : start + size]
        start += size


async def get_counter(db: EntityStore, counter: Counter) -> tuple[int, int]:
    """What a counter stands at, and how much of that was reserved."""
    row = await db.get_entity(USAGE, counter_id(counter))
    # Through the handle of a workspace nothing else is there.
    return (0, 0) if row is None else (row["amount"], row["reserved"])


async def list_counters(
    db: EntityStore,
    scope: str,
    subject: Subject,
    periods: Periods,
    *,
    metric: str | None = None,
    largest: int | None = None,
) -> list[Row]:
    """The counters of a scope, in the order of the periods; or only the `largest` ones, the largest first."""
    clause, params = "[app] = ? AND [scope] = ?", [subject.app, scope]
    wanted = {"user_id": subject.user_id, "workspace_id": subject.workspace_id}
    if scope == MEMBER_ENDPOINT and subject.workspace_id is None:
        del wanted["workspace_id"]  # of a user, wherever they were
    for field, value in wanted.items():
        clause = f"{clause} AND [{field}] {'IS NULL' if value is None else '= ?'}"
        params += [] if value is None else [value]
    if metric is not None:
        clause, params = f"{clause} AND [metric] = ?", [*params, metric]
    clause = f"{clause} AND [period] BETWEEN ? AND ? AND LENGTH([period]) = ?"
    order = "[period], [id]" if largest is None else "[amount] DESC, [endpoint]"
    return await db.find_entities(USAGE, clause, (*params, *periods), order_by=order, limit=largest)


async def reserve_amount(db: EntityStore, counter: Counter, amount: int, available: int) -> bool:
    """Reserves an amount if that leaves no more reserved than is available, with the open transaction."""
    if amount > available:
        return False
    now = clock.timestamp()
    app, _, workspace_id, user_id, period, metric, _ = counter
    id, largest = counter_id(counter), available - amount
    row = (id, app, workspace_id, user_id, period, metric)
    if db.backend != MYSQL:
        return bool(await db.privileged.execute(_RESERVE, (*row, amount, now, now, largest)))
    async with db.transaction():
        # Whoever made the row or found it there holds it until the transaction ends, so what it has stays.
        await db.privileged.execute(_FIRST + insert_once(MYSQL, RESERVED, "id"), (*row, 0, now, now))
        held = await db.privileged.execute(_HOLD, (id,))
        is_enough = bool(held[0][0] <= largest)
        if is_enough:
            await db.privileged.execute(_RESERVE_HELD, (amount, now, id))
    return is_enough


async def get_reserved(db: EntityStore, counter: Counter) -> int:
    """How much is reserved."""
    row = await db.privileged.get_entity(RESERVED, counter_id(counter))
    return 0 if row is None else int(row["amount"])


async def has_old_usage(admin_db: EntityStore, app: str, oldest: str) -> bool:
    """Whether there is what `prune_usage` removes."""
    clause = "[app] = ? AND [scope] IN (?) AND "
    return await _has_old(admin_db, USAGE, clause, (app, list(SHORT_LIVED)), oldest)


async def has_old_reserved(db: EntityStore, app: str, oldest: str) -> bool:
    """Whether there is what `prune_reserved` removes."""
    return await _has_old(db, RESERVED, "[app] = ? AND ", (app,), oldest)


async def _has_old(db: EntityStore, table: str, clause: str, params: Sequence[Any], oldest: str) -> bool:
    for length in GRAINS.values():
        ended = f"{clause}[period] < ? AND LENGTH([period]) = ?"
        if await db.privileged.find_entities(table, ended, (*params, oldest[:length], length), limit=1):
            return True
    return False


async def prune_usage(admin_db: EntityStore, app: str, oldest: str) -> int:
    """Removes some of what is kept for a while, of periods of this app that ended before a day; 0 when none is left."""
    scopes = ", ".join("?" * len(SHORT_LIVED))
    return await _prune(admin_db, USAGE, f"[scope] IN ({scopes}) AND [app] = ?", [*SHORT_LIVED, app], oldest)


async def prune_reserved(db: EntityStore, app: str, oldest: str) -> int:
    """Removes some of what was reserved in periods that ended before a day; 0 when none is left."""
    return await _prune(db, RESERVED, "[app] = ?", [app], oldest)


async def _prune(db: EntityStore, table: str, clause: str, params: list[Any], oldest: str) -> int:
    removed = 0
    for length in GRAINS.values():
        ended = f"{clause} AND [period] < ? AND LENGTH([period]) = ?"
        old = (*params, oldest[:length], length)
        removed += await remove_some(db.privileged, table, ended, old, PRUNED_AT_ONCE)
    return removed


def amounts_of(rows: Sequence[Mapping[str, Any]], field: str) -> dict[Any, int]:
    """The sums of the rows by a field, in the order in which it comes."""
    sums: dict[Any, int] = {}
    for row in rows:
        sums[row[field]] = sums.get(row[field], 0) + row["amount"]
    return sums
