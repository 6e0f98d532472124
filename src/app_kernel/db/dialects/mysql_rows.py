"""Statements over many rows at once where UPDATE gives no rows back: one for each row, all in one round trip."""

from collections.abc import Sequence

from app_kernel.db.dialects.base import Dialect
from app_kernel.db.dialects.mysql_marks import then
from app_kernel.db.kinds import Kind
from app_kernel.db.table import EntityTable


def select_matches(dialect: Dialect, table: EntityTable, fields: Sequence[str], count: int) -> str:
    """`row_sets.select_matches`."""
    columns = [table.columns[field] for field in fields]
    width = len(columns) + 1
    statements = []
    for row in range(count):
        equal = " AND ".join(
            f"{dialect.value(column)}"
            f" = {dialect.operand(dialect.written(width * row + at + 2, column), column.kind, ordered=False)}"
            for at, column in enumerate(columns)
        )
        inside = dialect.inside(table, width * count + 1)
        position = dialect.placeholder(width * row + 1, Kind.INT)
        statements.append(
            f"SELECT {position}, {dialect.quote('id')} FROM {dialect.table(table.name)}"
            f" WHERE {equal} AND {dialect.quote('deleted_at')} IS NULL{inside}{dialect.row_lock}"
        )
    return then(statements)


def insert_rows(dialect: Dialect, table: EntityTable, names: Sequence[str], count: int) -> str:
    """`row_sets.insert_rows`."""
    columns = [table.columns[name] for name in names]
    width = len(columns)
    rows = ", ".join(
        "(" + ", ".join(dialect.written(width * row + at + 1, each) for at, each in enumerate(columns)) + ")"
        for row in range(count)
    )
    insert = f"INSERT INTO {dialect.table(table.name)} ({dialect.column_list(names)}) VALUES {rows}"
    id = names.index("id")
    return then([insert, _select(dialect, table, [width * row + id + 1 for row in range(count)])])


def update_rows(dialect: Dialect, table: EntityTable, names: Sequence[str], count: int) -> str:
    """`row_sets.update_rows`."""
    width = len(names) + 1
    target = dialect.table(table.name)
    statements = []
    for row in range(count):
        changes = ", ".join(
            f"{dialect.quote(name)} = {dialect.written(width * row + at + 2, table.columns[name])}"
            for at, name in enumerate(names)
        )
        statements.append(f"UPDATE {target} SET {changes} WHERE {dialect.id_condition(table, width * row + 1)}")
    return then([*statements, _select(dialect, table, [width * row + 1 for row in range(count)])])


def mark_rows(dialect: Dialect, table: EntityTable, names: Sequence[str]) -> str:
    """`row_sets.mark_rows`."""
    changes = [
        f"{dialect.quote(name)} = {dialect.written(at + 1, table.columns[name])}" for at, name in enumerate(names)
    ]
    changes.append(f"{dialect.quote('_version')} = {dialect.quote('_version')} + 1")
    condition = dialect.id_among(table, len(names) + 1)
    source = dialect.table(table.name)
    return then(
        [
            f"UPDATE {source} SET {', '.join(changes)} WHERE {condition}",
            f"SELECT {dialect.read_list(table)} FROM {source} WHERE {condition}",
        ]
    )


def _select(dialect: Dialect, table: EntityTable, positions: Sequence[int]) -> str:
    ids = ", ".join(dialect.placeholder(position) for position in positions)
    source = dialect.table(table.name)
    return f"SELECT {dialect.read_list(table)} FROM {source} WHERE {dialect.quote('id')} IN ({ids})"
