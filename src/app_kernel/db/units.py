"""The writes as units of work: each generator is one transaction, for any driver."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from app_kernel.core import clock
from app_kernel.core.errors import (
    EntityDeleted,
    MissingValue,
    OutsideWorkspace,
    ReservedField,
    UnsupportedValue,
    VersionConflict,
)
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.drivers.base import Row, Unanswered, Work
from app_kernel.db.origin import Origin
from app_kernel.db.table import EntityTable


class Change(StrEnum):
    """What was done to a row; the text is what `_action` in its history says."""

    ADOPT = "adopt"
    """A row that the application had written by itself, as the store first found it."""
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    RESTORE = "restore"
    PURGE = "purge"


@dataclass(frozen=True, slots=True)
class Plan:
    """A save, ready to be done: values encoded, the rest checked."""

    key: Any
    """The id as stored, or None where it is still to be made."""
    values: Mapping[str, Any]
    """By column, as the driver takes them."""
    given: Mapping[str, Any]
    """By field, as the caller gave them."""
    origin: Origin
    expected_version: int | None
    deletes: bool
    """Whether the caller gave a `deleted_at`."""


def save_unit(dialect: Dialect, table: EntityTable, plan: Plan) -> Work[Row]:
    """Creates the row, or changes what differs; returns it whole."""
    if plan.key is None:
        return (yield from _create(dialect, table, plan))
    existing = yield from find_to_save(dialect, table, plan.key)
    if existing is None:
        return (yield from _create(dialect, table, plan))
    if existing[table.position("deleted_at")] is not None:
        raise EntityDeleted
    refuse_delete(plan)
    version = existing[table.position("_version")]
    if plan.expected_version is not None and plan.expected_version != (version or 1):
        raise VersionConflict(f"The entity is at version {version or 1}, not {plan.expected_version}; read it again.")
    changed = [name for name in plan.values if _is_new(dialect, table, plan, name, existing[table.position(name)])]
    if not changed:
        return existing
    values = {name: plan.values[name] for name in changed}
    return (yield from change_row(dialect, table, existing, values, Change.UPDATE, plan.origin, plan))


def mark_unit(
    dialect: Dialect, table: EntityTable, key: Any, change: Change, origin: Origin
) -> Work[tuple[Row, bool] | None]:
    """Deletes softly or restores; returns the row and whether it changed, None when there is none."""
    existing = yield from find_to_write(dialect, table, key)
    if existing is None:
        return None
    is_deleted = existing[table.position("deleted_at")] is not None
    if is_deleted == (change is Change.DELETE):
        return existing, False
    values = {"deleted_at": clock.timestamp() if change is Change.DELETE else None}
    row = yield from change_row(dialect, table, existing, values, change, origin, None)
    return row, True


def revert_unit(dialect: Dialect, table: EntityTable, plan: Plan) -> Work[Row]:
    """Saves a row as it once was: one that is deleted is restored first, and one that is gone is made again."""
    marked = yield from mark_unit(dialect, table, plan.key, Change.RESTORE, plan.origin)
    if marked is not None and plan.expected_version is not None:
        row, was_deleted = marked
        version = (row[table.position("_version")] or 1) - was_deleted
        if version != plan.expected_version:
            raise VersionConflict(f"The entity is at version {version}, not {plan.expected_version}; read it again.")
        plan = replace(plan, expected_version=None)
    return (yield from save_unit(dialect, table, plan))


def purge_unit(dialect: Dialect, table: EntityTable, key: Any, origin: Origin, *, purge_history: bool) -> Work[bool]:
    """Removes the row; its history gets a last entry, or goes too."""
    existing = yield from find_to_write(dialect, table, key)
    if existing is None:
        return (yield from _purge_left_history(dialect, table, key)) if purge_history and table.keeps_history else False
    if table.keeps_history and not purge_history:
        yield from change_row(dialect, table, existing, {}, Change.PURGE, origin, None)
    else:
        if table.keeps_history:
            yield (dialect.delete_history(table), table.bound((key,)))
        version = (existing[table.position("_version")] or 1) + 1
        gone = origin.messages(table, Change.PURGE, clock.timestamp(), existing, None, version)
        yield from origin.send(dialect, gone)
    yield (dialect.delete_by_id(table.name), (key,))
    return True


def _purge_left_history(dialect: Dialect, table: EntityTable, key: Any) -> Work[bool]:
    """Removes the history that a row removed earlier has left behind."""
    last = yield from _last_entry(dialect, table, key)
    if last is None or not last[1]:
        return False
    yield (dialect.delete_history(table), table.bound((key,)))
    return True


def _last_entry(dialect: Dialect, table: EntityTable, key: Any) -> Work[tuple[int, bool] | None]:
    """The latest version that the history has of an id, and whether it is of the workspace; None when there is none."""
    if table.workspace is None:
        rows = yield (dialect.last_version(table), (key,))
        return None if rows[0][0] is None else (rows[0][0], True)
    rows = yield (dialect.last_entry(table), (table.workspace, key))
    return (rows[0][0], bool(rows[0][1])) if rows else None


def find_to_write(dialect: Dialect, table: EntityTable, key: Any) -> Work[Row | None]:
    """The row with an id, deleted or not, which nobody else changes until the unit ends; None when there is none.

    That of another workspace than the one that sees the table is none.
    """
    sql = table.statements.get("row")
    if sql is None:
        sql = table.statements["row"] = dialect.select_to_write(table)
    rows = yield (sql, table.bound((key,)))
    return rows[0] if rows else None


def find_to_save(dialect: Dialect, table: EntityTable, key: Any) -> Work[Row | None]:
    """As `find_to_write`, for the row that a save is about to change or make: OutsideWorkspace where it is another's.

    Who may save to an id is known only while nobody else changes its row, so this is part of the unit.
    """
    if table.workspace is None:
        return (yield from find_to_write(dialect, table, key))
    sql = table.statements.get("any row")
    if sql is None:
        sql = table.statements["any row"] = dialect.select_to_write(table, everybodys=True)
    rows = yield (sql, (key,))
    check_inside(table, rows[0] if rows else None)
    return rows[0] if rows else None


def check_inside(table: EntityTable, row: Row | None) -> None:
    """Refuses the row of another workspace than the one that sees the table; raises OutsideWorkspace."""
    if row is not None and table.is_outside(row):
        raise OutsideWorkspace


def _create(dialect: Dialect, table: EntityTable, plan: Plan) -> Work[Row]:
    version = 1
    key = plan.key
    if key is not None and table.keeps_history:
        # An entity that was purged and is made again goes on counting where its history ends.
        last = yield from _last_entry(dialect, table, key)
        if last is not None and not last[1]:
            raise OutsideWorkspace
        version = 1 if last is None else last[0] + 1
    if plan.expected_version not in (None, 0):
        raise VersionConflict(f"There is no such entity, so it is not at version {plan.expected_version}.")
    refuse_delete(plan)
    if key is None and not table.assigns_id:
        if table.id_kind == "int":
            raise MissingValue(
                "[id] is required: this table has whole numbers as ids, and no one assigns them.", field="id"
            )
        key = clock.new_id()
    now = clock.timestamp()
    owned = {
        "created_at": now,
        "updated_at": now,
        "created_by": plan.origin.actor,
        "updated_by": plan.origin.actor,
        "_version": version,
    }
    values = ({} if key is None else {"id": key}) | dict(plan.values) | owned
    names = tuple(values)
    sql = table.statements.get(("insert", names))
    if sql is None:
        sql = table.keep(("insert", names), dialect.insert(table, names))
    rows = yield (sql, tuple(values.values()))
    _check_unaltered(dialect, table, plan, rows[0])
    made = rows[0][table.position("id")]
    if key is None and table.keeps_history:
        # The database may assign an id again that it assigned to an entity which was purged.
        last = yield from _last_entry(dialect, table, made)
        if last is not None:
            rows = yield (dialect.update_by_id(table, ("_version",)), (last[0] + 1, made))
    yield from _record(dialect, table, Change.CREATE, now, plan.origin, None, rows[0])
    return rows[0]


def change_row(
    dialect: Dialect,
    table: EntityTable,
    existing: Row,
    values: Mapping[str, Any],
    change: Change,
    origin: Origin,
    plan: Plan | None,
) -> Work[Row]:
    """Writes new values into a row, with the next version and its history."""
    check_inside(table, existing)
    key = existing[table.position("id")]
    now = clock.timestamp()
    version = existing[table.position("_version")]
    if version is None:
        version = 1
        yield (dialect.update_by_id(table, ("_version",)), (version, key))
        if table.keeps_history:
            yield (dialect.copy_to_history(table), (Change.ADOPT.value, now, None, None, key))
    changes = {**values, "updated_at": now, "updated_by": origin.actor, "_version": version + 1}
    names = tuple(changes)
    sql = table.statements.get(("update", names))
    if sql is None:
        sql = table.keep(("update", names), dialect.update_by_id(table, names))
    rows = yield (sql, (*changes.values(), key))
    if plan is not None:
        _check_unaltered(dialect, table, plan, rows[0])
    yield from _record(dialect, table, change, now, origin, existing, rows[0])
    return rows[0]


def _record(
    dialect: Dialect, table: EntityTable, change: Change, at: str, origin: Origin, before: Row | None, after: Row
) -> Work[None]:
    """The row as it is now into its history, and what is to leave with the change into the outbox."""
    if table.keeps_history:
        sql = table.statements.get("history")
        if sql is None:
            sql = table.statements["history"] = dialect.copy_to_history(table)
        yield Unanswered((sql, (change.value, at, origin.actor, origin.comment, after[table.position("id")])))
    if origin.hears(table):
        version = after[table.position("_version")]
        seen = None if change is Change.PURGE else after
        yield from origin.send(dialect, origin.messages(table, change, at, before, seen, version))


def refuse_delete(plan: Plan) -> None:
    """Refuses a save that looks like a deletion; raises ReservedField."""
    if plan.deletes:
        raise ReservedField("[deleted_at] is set by delete_entity() and cleared by restore_entity().")


def _is_new(dialect: Dialect, table: EntityTable, plan: Plan, name: str, stored: Any) -> bool:
    """Whether a save would change a stored value; an application's own column may store it in another spelling."""
    return not dialect.is_same(table.columns[name], stored, plan.values[name], plan.given[name])


def _check_unaltered(dialect: Dialect, table: EntityTable, plan: Plan, row: Row) -> None:
    """An application's own column may alter what is put into it: then the save fails instead."""
    if not table.has_adopted_columns:
        return
    if plan.key is not None and row[table.position("id")] != plan.key:
        raise UnsupportedValue(f"[id]: the id of your own table {table.name!r} would alter this value.")
    for name in plan.values:
        column, given = table.columns[name], plan.given[name]
        if not column.adopted or given is None:
            continue
        if dialect.read(column.kind, row[table.position(name)]) != given:
            raise UnsupportedValue(
                f"[{name}]: this column of your own table {table.name!r} is declared {column.declared}"
                " and would alter the value; declare it so that it can hold it."
            )
