"""Every line that touches the table of the audit log."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app_kernel.audit.tables import AUDIT_LOGS, FIELDS, LENGTHS
from app_kernel.core.ports import EntityStore
from app_kernel.core.sql_words import MYSQL, insert_once, remove_some

Row = dict[str, Any]

INSERTED_AT_ONCE = 100
"""Rows of one statement."""
LONGEST_STATEMENT = 4_000_000
"""Characters of JSON in one statement."""
PRUNED_AT_ONCE = 1000

COLUMNS = ("id", *FIELDS)
_NAMES = ", ".join(f"[{name}]" for name in (*COLUMNS, "created_at", "_version"))
_INSERT = f"INSERT INTO [{AUDIT_LOGS}] ({_NAMES}) VALUES "  # noqa: S608 - names of this module
_CUT = {COLUMNS.index(name): LENGTHS[name] for name in ("user_id", "workspace_id")}
_MARKS = f"({', '.join('?' * (len(COLUMNS) + 1))}, 1)"


async def insert_entries(db: EntityStore, entries: Iterable[Sequence[Any]], written_at: str) -> None:
    """Adds entries, each with its values in the order of COLUMNS and dicts as their JSON; one that is there stays."""
    params: list[Any] = []
    rows = size = 0
    for values in entries:
        params.extend(_that_fit(values) if db.backend == MYSQL else values)
        params.append(written_at)
        rows += 1
        size += sum(len(value) for value in values if type(value) is str)
        if rows == INSERTED_AT_ONCE or size > LONGEST_STATEMENT:
            await _insert(db, rows, params)
            params, rows, size = [], 0, 0
    if rows:
        await _insert(db, rows, params)


def _that_fit(values: Sequence[Any]) -> Sequence[Any]:
    """The values with users and workspaces that MySQL takes: an entry is not lost for an id that no user can have."""
    if all(values[at] is None or len(values[at]) <= length for at, length in _CUT.items()):
        return values
    return [value[: _CUT[at]] if at in _CUT and value is not None else value for at, value in enumerate(values)]


async def _insert(db: EntityStore, rows: int, params: Sequence[Any]) -> None:
    once = insert_once(db.backend, AUDIT_LOGS, "id")
    await db.privileged.execute(_INSERT + ", ".join([_MARKS] * rows) + once, params)


async def remove_before(db: EntityStore, app: str, before: str) -> int:
    """Removes some of an app's entries from before an instant; how many. 0 once there are no more."""
    old = "[app] = ? AND [timestamp] < ?"
    return await remove_some(db.privileged, AUDIT_LOGS, old, (app, before), PRUNED_AT_ONCE, order_by="timestamp")


async def find_entries(
    db: EntityStore, clause: str, params: Sequence[Any], *, newest_first: bool, limit: int
) -> list[Row]:
    """Entries in the order of their instants, those of one instant in the order in which they were made."""
    direction = "DESC" if newest_first else "ASC"
    rows = await db.find_entities(
        AUDIT_LOGS, clause, params, order_by=f"[timestamp] {direction}, [id] {direction}", limit=limit
    )
    return [entry_of(row) for row in rows]


async def list_apps(db: EntityStore) -> list[str]:
    """The apps that have entries; each is found by one look into an index, however many entries it has."""
    apps: list[str] = []
    while rows := await db.find_entities(
        AUDIT_LOGS, "[app] > ?", (apps[-1] if apps else "",), order_by="[app], [timestamp]", limit=1
    ):
        apps.append(rows[0]["app"])
    return apps


async def count_entries(db: EntityStore, clause: str, params: Sequence[Any]) -> int:
    """How many entries there are."""
    return await db.count_entities(AUDIT_LOGS, clause, params)


def entry_of(row: Mapping[str, Any]) -> Row:
    """An entry without what the store keeps about its row."""
    return {name: row.get(name) for name in COLUMNS}
