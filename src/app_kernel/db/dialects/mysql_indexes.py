"""Indexes of MySQL: text in one is bounded, and a unique one leaves out the deleted by a column that is computed.

A key has at most 3,072 bytes, of which each character of text takes four. So a text field that gets an index becomes
a VARCHAR, and what is longer than that is refused from then on; no text is ever cut short.
"""

from collections.abc import Mapping, Sequence

from app_kernel.core.errors import InvalidQuery, UnsupportedValue
from app_kernel.db.dialects.base import Dialect, Steps
from app_kernel.db.dialects.mysql_catalog import ALIVE, TOLD
from app_kernel.db.dialects.mysql_marks import mark
from app_kernel.db.dialects.mysql_storage import bounded_type, told_kind
from app_kernel.db.kinds import Kind

LENGTHS = {1: 255, 2: 255, 3: 191, 4: 180}
"""Characters of each text field, by how many of them an index has."""
_BYTES_OF_KEY = 3072
_BYTES_OF_OTHERS = 40
"""More than what any other type takes in a key."""
_FIND_ALIVE = (
    "SELECT COALESCE(generation_expression, '') <> '' FROM information_schema.columns"
    f" WHERE table_schema = DATABASE() AND table_name = {mark(1)} AND column_name = '{ALIVE}'"
)
_LONG = frozenset({"longtext", "text", "mediumtext", "tinytext", "longblob", "blob", "mediumblob", "tinyblob", "json"})


def make_index(
    dialect: Dialect,
    name: str,
    table_name: str,
    fields: Sequence[str],
    *,
    unique: bool,
    lengths: Mapping[str, int],
    is_mariadb: bool,
) -> Steps:
    """The statements that make an index, and what it needs of the table."""
    table = dialect.table(table_name)
    declared = yield (
        f"SELECT c.column_name, CONCAT(c.column_type, {TOLD}), c.character_maximum_length"
        " FROM information_schema.columns AS c WHERE c.table_schema = DATABASE()"
        f" AND c.table_name = {mark(1)} AND BINARY c.table_name = {mark(1)}",
        (table_name,),
    )
    types = {row[0]: row[1] for row in declared}
    long = [field for field in fields if types[field].lower().partition("(")[0].partition(" ")[0] in _LONG]
    bounded = {row[0]: int(row[2]) for row in declared if row[0] in fields and row[0] not in long and row[2]}
    known = {field: lengths[field] for field in long if field in lengths}
    common = _length(fields, [field for field in long if field not in known], {**bounded, **known})
    changes = []
    terms = {field: dialect.quote(field) for field in fields}
    for field in long:
        length = known.get(field, common)
        kind = told_kind(types[field])
        if kind is None:
            if unique:
                raise InvalidQuery(
                    f"[{field}] of your own table {table_name!r} is declared {types[field]}, of which MySQL makes no"
                    f" unique index; declare it VARCHAR({length})."
                )
            # A part of it is enough to find rows by.
            terms[field] = f"{dialect.quote(field)}({length})"
            continue
        yield from _check_short(dialect, table_name, field, kind, length)
        changes.append(f"MODIFY {dialect.quote(field)} {bounded_type(kind, length, is_mariadb=is_mariadb)}")
    found = (yield (_FIND_ALIVE, (table_name,))) if unique else []
    if found and not found[0][0]:
        # What an application writes there would decide which rows have to be unique.
        raise InvalidQuery(f"A unique index of MySQL needs the name [{ALIVE}] in your own table {table_name!r}.")
    if unique and not found:
        alive = f"(IF({dialect.quote('deleted_at')} IS NULL, 1, NULL))"
        changes.append(f"ADD COLUMN {dialect.quote(ALIVE)} TINYINT GENERATED ALWAYS AS {alive} VIRTUAL")
    if changes:
        # Some of these go without a copy of the table only alone.
        for change in changes:
            yield f"ALTER TABLE {table} {change}", ()
    listed = [*terms.values(), *([dialect.quote(ALIVE)] if unique else [])]
    yield f"CREATE {'UNIQUE ' if unique else ''}INDEX {dialect.quote(name)} ON {table} ({', '.join(listed)})", ()


def _length(fields: Sequence[str], long: Sequence[str], bounded: dict[str, int]) -> int:
    """Characters for each of the long fields; raises InvalidQuery when no key holds them all."""
    if not long:
        return LENGTHS[1]
    left = _BYTES_OF_KEY - sum(4 * size + 3 for size in bounded.values())
    left -= _BYTES_OF_OTHERS * (len(fields) - len(long) - len(bounded))
    room = (left // len(long) - 3) // 4
    fitting = [length for length in sorted(set(LENGTHS.values()), reverse=True) if length <= room]
    if not fitting:
        raise InvalidQuery(
            f"An index of MySQL holds 3072 bytes, which is too little for [{', '.join(fields)}]: at most four fields"
            " of text go into one."
        )
    return fitting[0]


def _check_short(dialect: Dialect, table_name: str, field: str, kind: Kind, length: int) -> Steps:
    name = dialect.quote(field)
    measured = f"LENGTH({name})" if kind is Kind.BYTES else f"CHAR_LENGTH({name})"
    if (yield (f"SELECT 1 FROM {dialect.table(table_name)} WHERE {measured} > {length} LIMIT 1", ())):
        unit = "bytes" if kind is Kind.BYTES else "characters"
        raise UnsupportedValue(
            f"[{field}] of {table_name!r} holds values of more than {length} {unit}, which no index of MySQL takes."
        )
