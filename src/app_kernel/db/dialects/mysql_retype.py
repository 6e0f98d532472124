"""How a column of the store's own gets another kind on MySQL, with every value as it was.

The table is locked against everybody else meanwhile, by the one who calls. Each statement commits by itself, so the
one that makes the new column the column also tells its kind, in its comment; what came before it left no trace.
"""

from collections.abc import Generator, Sequence
from decimal import Decimal
from typing import Any

from app_kernel.db.dialects.base import Dialect, Steps
from app_kernel.db.dialects.mysql_catalog import ALIVE, MOVED
from app_kernel.db.dialects.mysql_indexes import LENGTHS
from app_kernel.db.dialects.mysql_marks import mark, then
from app_kernel.db.dialects.mysql_storage import bounded_type
from app_kernel.db.kinds import Kind

ALONE = 512
"""Characters of a variant field that alone is in its indexes: twice a text's, because quotes and escapes come to it."""
BATCH = 500
"""Rows that are converted at a time; a value may have megabytes."""
_IN_PLACE = frozenset(
    {(Kind.INT, Kind.FLOAT), (Kind.INT, Kind.DECIMAL), (Kind.INT, Kind.BIGINT), (Kind.BIGINT, Kind.DECIMAL)}
)
"""What MySQL converts itself, without a loss."""
_FIND_INDEXES = (
    "SELECT s.index_name, s.non_unique, s.column_name, s.sub_part FROM information_schema.statistics AS s"
    f" WHERE s.table_schema = DATABASE() AND s.table_name = {mark(1)} AND s.index_name IN"
    " (SELECT o.index_name FROM information_schema.statistics AS o WHERE o.table_schema = DATABASE()"
    f" AND o.table_name = {mark(1)} AND o.column_name = {mark(2)}) ORDER BY s.index_name, s.seq_in_index"
)
_FIND_MOVED = (
    "SELECT 1 FROM information_schema.columns WHERE table_schema = DATABASE()"
    f" AND table_name = {mark(1)} AND column_name = {mark(2)}"
)


def retype_column(
    dialect: Dialect,
    table_name: str,
    column: str,
    old: Kind,
    new: Kind,
    declared: str,
    *,
    through: Kind | None,
    is_mariadb: bool,
) -> Steps:
    """`Dialect.retype_column`."""
    table, name = dialect.table(table_name), dialect.quote(column)
    if (old, new) in _IN_PLACE:
        yield f"ALTER TABLE {table} MODIFY {name} {declared}", ()
        return
    moved = f"{MOVED}{column}"[:63]
    indexes = yield (_FIND_INDEXES, (table_name, column))
    if indexes:
        alone = {row[2] for row in indexes} <= {column, ALIVE, "id"}
        declared = bounded_type(new, ALONE if alone else LENGTHS[1], is_mariadb=is_mariadb)
    if (yield (_FIND_MOVED, (table_name, moved))):
        yield f"ALTER TABLE {table} DROP COLUMN {dialect.quote(moved)}", ()
    # Without a comment: until it takes the column's place it is nobody's.
    yield f"ALTER TABLE {table} ADD COLUMN {dialect.quote(moved)} {declared.partition(' COMMENT ')[0]}", ()
    yield from _convert(dialect, table_name, column, moved, old, through)
    drops, makes = _indexes_again(dialect, indexes)
    change = f"DROP COLUMN {name}, CHANGE {dialect.quote(moved)} {name} {declared}"
    yield f"ALTER TABLE {table} {', '.join([*drops, change, *makes])}", ()


def _convert(
    dialect: Dialect, table_name: str, column: str, moved: str, old: Kind, through: Kind | None
) -> Generator[tuple[str, Sequence[Any]], list[Sequence[Any]], None]:
    """The values of a column as a variant column stores them."""
    key = ["id", "_version"] if table_name.endswith("_history") else ["id"]
    keys = ", ".join(map(dialect.quote, key))
    name, target, table = dialect.quote(column), dialect.quote(moved), dialect.table(table_name)
    width = len(key)
    after: Sequence[Any] = ()
    while True:
        beyond = f" AND ({keys}) > ({', '.join(mark(at + 1) for at in range(width))})" if after else ""
        rows = yield (
            f"SELECT {keys}, {name} FROM {table} WHERE {name} IS NOT NULL{beyond} ORDER BY {keys} LIMIT {BATCH}",
            after,
        )
        if not rows:
            return
        params: list[Any] = []
        statements = []
        for row in rows:
            first = len(params) + 1
            value = dialect.read(old, row[width])
            if through is Kind.DECIMAL:
                value = Decimal(value)
            params += (dialect.encode(Kind.VARIANT, value), *row[:width])
            found = " AND ".join(f"{dialect.quote(each)} = {mark(first + 1 + at)}" for at, each in enumerate(key))
            statements.append(f"UPDATE {table} SET {target} = {mark(first)} WHERE {found}")
        yield then(statements), params
        after = tuple(rows[-1][:width])


def _indexes_again(dialect: Dialect, rows: Sequence[Sequence[Any]]) -> tuple[list[str], list[str]]:
    """What drops indexes, and what makes them again in the same statement."""
    columns: dict[str, list[str]] = {}
    unique: dict[str, bool] = {}
    for index, non_unique, column, part in rows:
        length = "" if part is None else f"({part})"
        columns.setdefault(index, []).append(f"{dialect.quote(column)}{length}")
        unique[index] = not non_unique
    drops = [f"DROP INDEX {dialect.quote(index)}" for index in columns]
    makes = [
        f"ADD {'UNIQUE ' if unique[index] else ''}INDEX {dialect.quote(index)} ({', '.join(terms)})"
        for index, terms in columns.items()
    ]
    return drops, makes
