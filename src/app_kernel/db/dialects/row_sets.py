"""Statements over many rows at once, for tables of the store's own: any number of them has the same text."""

from collections.abc import Sequence
from functools import partial

from app_kernel.db.dialects import mysql_rows
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.kinds import Kind
from app_kernel.db.table import HISTORY_FIELDS, HISTORY_SUFFIX, EntityTable

_GIVEN = "kernel_given"
"""The rows that came with a statement. Their columns are _0, _1 ..., which no field is called."""


def select_among(dialect: Dialect, table: EntityTable, *, include_deleted: bool) -> str:
    """The rows with the ids of one list, with the generation where it is read so."""
    alive = "" if include_deleted or not table.has("deleted_at") else f" AND {dialect.quote('deleted_at')} IS NULL"
    found = f" FROM {dialect.table(table.name)} WHERE {dialect.id_among(table, 1)}{alive}{dialect.inside(table, 2)}"
    return f"SELECT {dialect.read_list(table)}{dialect.generation_column}{found}"


def select_among_to_write(dialect: Dialect, table: EntityTable, *, everybodys: bool = False) -> str:
    """The rows with the ids of one list, deleted or not, which nobody else changes until the unit of work ends.

    With `everybodys`, also of other workspaces than the one that sees the table.
    """
    inside = "" if everybodys else dialect.inside(table, 2)
    found = f" FROM {dialect.table(table.name)} WHERE {dialect.id_among(table, 1)}{inside}"
    # All take their locks in the order of ids, so that no two of them wait for each other.
    return f"SELECT {dialect.read_list(table)}{found} ORDER BY {dialect.quote('id')}{dialect.row_lock}"


def select_first(dialect: Dialect, table: EntityTable, condition: str, values: int, count: int) -> str:
    """The first live rows that fulfil a condition of so many values; nobody else changes them until the unit ends."""
    alive = f"({condition}) AND {dialect.quote('deleted_at')} IS NULL{dialect.inside(table, values + 1)}"
    found = f" FROM {dialect.table(table.name)} WHERE {alive}{dialect.page(count, None)}"
    return f"SELECT {dialect.read_list(table)}{found}{dialect.row_lock}"


def select_matches(dialect: Dialect, table: EntityTable, fields: Sequence[str], count: int) -> str:
    """position, id: the live rows whose fields equal those of the rows given; nobody else changes them until the end.

    Parameters are for each row its position, then the values of `fields`.
    """
    if not dialect.gives_rows_back:
        return mysql_rows.select_matches(dialect, table, fields, count)
    columns = [table.columns[field] for field in fields]
    marks = [partial(dialect.placeholder, kind=Kind.INT), *(partial(dialect.written, column=each) for each in columns)]
    rows = ", ".join(
        "(" + ", ".join(mark(len(marks) * row + at + 1) for at, mark in enumerate(marks)) + ")" for row in range(count)
    )
    equal = " AND ".join(
        f"{dialect.operand(dialect.quote(column.name), column.kind, ordered=False)}"
        f" = {dialect.operand(f'{_GIVEN}._{at + 1}', column.kind, ordered=False)}"
        for at, column in enumerate(columns)
    )
    given = f"WITH {_GIVEN} ({_names(len(marks))}) AS (VALUES {rows})"
    inside = dialect.inside(table, len(marks) * count + 1)
    # A row that changes while its lock is waited for is matched again before it counts.
    lock = dialect.row_lock and f" ORDER BY {dialect.quote('id')}{dialect.row_lock} OF {dialect.quote(table.name)}"
    return (
        f"{given} SELECT {_GIVEN}._0, {dialect.quote('id')} FROM {_GIVEN} JOIN {dialect.table(table.name)}"
        f" ON {equal} WHERE {dialect.quote('deleted_at')} IS NULL{inside}{lock}"
    )


def insert_rows(dialect: Dialect, table: EntityTable, names: Sequence[str], count: int) -> str:
    """New rows; gives them back whole, in any order."""
    if not dialect.gives_rows_back:
        return mysql_rows.insert_rows(dialect, table, names, count)
    rows = _rows(dialect, table, names, count)
    target = f"{dialect.table(table.name)} ({dialect.column_list(names)})"
    return f"INSERT INTO {target} VALUES {rows} RETURNING {dialect.read_list(table)}"


def update_rows(dialect: Dialect, table: EntityTable, names: Sequence[str], count: int) -> str:
    """New values for `names` in the rows whose id comes first in each row given; gives them back whole."""
    if not dialect.gives_rows_back:
        return mysql_rows.update_rows(dialect, table, names, count)
    rows = _rows(dialect, table, ("id", *names), count)
    changes = ", ".join(f"{dialect.quote(name)} = {_GIVEN}._{at + 1}" for at, name in enumerate(names))
    return (
        f"WITH {_GIVEN} ({_names(len(names) + 1)}) AS (VALUES {rows}) UPDATE {dialect.table(table.name)}"
        f" SET {changes} FROM {_GIVEN} WHERE {dialect.quote('id')} = {_GIVEN}._0 RETURNING {dialect.read_list(table)}"
    )


def mark_rows(dialect: Dialect, table: EntityTable, names: Sequence[str]) -> str:
    """The same new values for `names`, and the next version, in the rows with the ids of one list, given last."""
    if not dialect.gives_rows_back:
        return mysql_rows.mark_rows(dialect, table, names)
    changes = [
        f"{dialect.quote(name)} = {dialect.written(at + 1, table.columns[name])}" for at, name in enumerate(names)
    ]
    changes.append(f"{dialect.quote('_version')} = {dialect.quote('_version')} + 1")
    condition = dialect.id_among(table, len(names) + 1)
    target = dialect.table(table.name)
    return f"UPDATE {target} SET {', '.join(changes)} WHERE {condition} RETURNING {dialect.read_list(table)}"


def copy_among_to_history(dialect: Dialect, table: EntityTable) -> str:
    """The rows as they are now into their history; parameters: action, time, actor, comment, the list of ids."""
    columns = dialect.column_list(table.names)
    extra = dialect.column_list(HISTORY_FIELDS)
    marks = ", ".join(dialect.placeholder(at + 1, kind) for at, kind in enumerate(HISTORY_FIELDS.values()))
    return (
        f"INSERT INTO {dialect.table(table.name + HISTORY_SUFFIX)} ({columns}, {extra}) SELECT {columns}, {marks}"
        f" FROM {dialect.table(table.name)} WHERE {dialect.id_among(table, len(HISTORY_FIELDS) + 1)}"
    )


def last_versions(dialect: Dialect, table: EntityTable) -> str:
    """id, version: the highest version that the history has of each id of one list."""
    id, history = dialect.quote("id"), dialect.table(table.name + HISTORY_SUFFIX)
    highest = f"MAX({dialect.quote('_version')})"
    return f"SELECT {id}, {highest} FROM {history} WHERE {dialect.id_among(table, 1)} GROUP BY {id}"


def last_entries(dialect: Dialect, table: EntityTable) -> str:
    """id, version, 1 if it is of the workspace: the latest that the history has of each id of one list.

    Parameters: workspace, the list.
    """
    id, version = dialect.quote("id"), dialect.quote("_version")
    history = dialect.table(table.name + HISTORY_SUFFIX)
    is_inside = f"CASE WHEN {dialect.is_inside(table, 1)} THEN 1 ELSE 0 END"
    latest = f"SELECT {id}, MAX({version}) FROM {history} WHERE {dialect.id_among(table, 2)} GROUP BY {id}"
    return f"SELECT {id}, {version}, {is_inside} FROM {history} WHERE ({id}, {version}) IN ({latest})"


def delete_among(dialect: Dialect, table: EntityTable) -> str:
    """Removes the rows with the ids of one list."""
    return f"DELETE FROM {dialect.table(table.name)} WHERE {dialect.id_among(table, 1)}"


def _rows(dialect: Dialect, table: EntityTable, names: Sequence[str], count: int) -> str:
    columns = [table.columns[name] for name in names]
    return ", ".join(
        "(" + ", ".join(dialect.written(len(columns) * row + at + 1, each) for at, each in enumerate(columns)) + ")"
        for row in range(count)
    )


def _names(count: int) -> str:
    return ", ".join(f"_{at}" for at in range(count))
