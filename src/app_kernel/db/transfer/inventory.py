"""What a database has, read from a snapshot of it: tables with columns, kinds, keys and indexes, and what is beside."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from app_kernel.core.errors import UncopiableTable
from app_kernel.core.tables import Index
from app_kernel.db.catalog import load_table, queries_for, read_work
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.drivers.base import Row, Snapshot
from app_kernel.db.indexes import index_names
from app_kernel.db.kinds import Kind
from app_kernel.db.table import HISTORY_FIELDS, HISTORY_SUFFIX, OWNED_FIELDS, Column, EntityTable
from app_kernel.db.transfer.shapes import FieldShape, IndexShape, Inventory, LeftOut, Role, TableShape
from app_kernel.db.transfer.words import Words, words_for

LAYOUT = frozenset(
    {
        "kernel_meta",
        "kernel_catalog",
        "kernel_leases",
        "kernel_locks",
        "kernel_signals",
        "kernel_relay",
        "kernel_transfer",
    }
)
"""What every database has for itself: made when it is opened, and never copied as it is."""
OUTBOX_TABLE = "kernel_outbox"
OUTBOX = frozenset({OUTBOX_TABLE, "kernel_dead_letters", "kernel_inbox"})
"""The engine tables that every database has from its first opening."""


@dataclass(frozen=True, slots=True)
class ReadTable:
    """A table as it is read: its shape, and how its database has it."""

    shape: TableShape
    table: EntityTable


async def read_inventory(
    snapshot: Snapshot, engines: Collection[str], skip: Collection[str] = ()
) -> tuple[Inventory, dict[str, ReadTable]]:
    """All of a database, and each of its tables by name; `engines` are further tables of engines.

    Raises UncopiableTable for a table of the application's whose values no other database could hold.
    """
    dialect = snapshot.dialect
    words = words_for(dialect)
    catalog = await snapshot.fetch("SELECT entity, field, kind, adopted FROM kernel_catalog ORDER BY 1, 2")
    relay = {str(row[0]): str(row[1]) for row in await snapshot.fetch("SELECT name, value FROM kernel_relay")}
    others = [LeftOut(*map(_text, row)) for row in await snapshot.fetch(*words.list_others())]
    found: dict[str, ReadTable] = {}
    listed = await snapshot.fetch(*words.list_tables())
    # A history holds what its table holds, so that is looked at first.
    for row in sorted(listed, key=lambda row: (str(row[0]).endswith(HISTORY_SUFFIX), str(row[0]))):
        name, kind, definition = row[:3]
        if name in LAYOUT or name in skip:
            continue
        if kind != "table":
            others.append(LeftOut(kind, name, name, definition))
            continue
        base = found.get(name.removesuffix(HISTORY_SUFFIX))
        found[name] = await _read_table(snapshot, words, name, definition, engines, base)
    inventory = Inventory(
        backend=dialect.name,
        database_id=relay.get("database_id"),
        mark=relay.get("batch"),
        tables=tuple(each.shape for each in found.values()),
        catalog=_catalog(catalog, found),
        others=tuple(each for each in others if each.table not in skip),
    )
    return inventory, found


def _catalog(rows: Sequence[Row], tables: Mapping[str, ReadTable]) -> tuple[tuple[str, str, str, int], ...]:
    """The kinds of all fields: as the tables tell, where they do, and a catalog may be behind."""
    kinds = {(str(row[0]), str(row[1])): (str(row[2]), int(row[3])) for row in rows}
    for name, read in tables.items():
        columns = read.table.columns.values() if read.shape.role is Role.ENTITY else ()
        for column in columns:
            if column.physical and not column.adopted and column.name not in OWNED_FIELDS:
                kinds[name, column.name] = (str(column.kind), 0)
    return tuple(sorted((*key, *value) for key, value in kinds.items()))


async def read_as(snapshot: Snapshot, shape: TableShape) -> ReadTable:
    """A table that was made after this shape, for values of the shape's kinds."""
    table = await _load(snapshot, shape.name)
    kinds = {each.name: each.kind for each in shape.fields}
    return ReadTable(shape, with_kinds(table, kinds, snapshot.dialect))


def with_kinds(table: EntityTable, kinds: Mapping[str, Kind], dialect: Dialect) -> EntityTable:
    """The same table, its columns in the order of these kinds and holding them; others are left out."""
    columns = {name: replace(table.columns[name], kind=kind) for name, kind in kinds.items() if table.has(name)}
    return replace(table, columns=columns, statements={}, inside_statements={}).prepare(dialect.decoder)


async def _load(snapshot: Snapshot, name: str) -> EntityTable:
    return await read_work(snapshot, load_table(queries_for(snapshot.dialect), snapshot.dialect, name))


async def _read_table(
    snapshot: Snapshot,
    words: Words,
    name: str,
    definition: str | None,
    engines: Collection[str],
    base: ReadTable | None,
) -> ReadTable:
    table = await _load(snapshot, name)
    told = {str(row[0]): row[1:5] for row in await snapshot.fetch(*words.list_columns(name))}
    key = tuple(sorted((each for each in told if told[each][1]), key=lambda each: int(told[each][1])))
    role = _role(table, key, engines)
    kinds: dict[str, Kind] = {}
    for column in sorted((each for each in table.columns.values() if each.physical), key=lambda each: each.name):
        kinds[column.name] = await _kind(snapshot, table, column, role)
    if role is Role.HISTORY and base is not None:
        kinds |= {each.name: each.kind for each in base.shape.fields if each.name in kinds}
    if role is Role.OWN and key and await _has_null(snapshot, name, [each for each in key if not told[each][0]]):
        key = ()
    assigned = [each for each in told if told[each][3]]
    fields = tuple(
        FieldShape(
            each,
            kind,
            table.columns[each].declared,
            required=bool(told[each][0]),
            has_default=bool(told[each][2]),
            generated=table.columns[each].generated,
        )
        for each, kind in kinds.items()
    )
    shape = TableShape(
        name,
        role,
        fields,
        key,
        assigned=assigned[0] if assigned else None,
        indexes=tuple(await _indexes(snapshot, words, name)) if role is not Role.ENGINE else (),
        definition=definition if role is Role.OWN else None,
        has_versions=role is Role.ENTITY and key == ("id",),
    )
    return ReadTable(shape, with_kinds(table, kinds, snapshot.dialect))


def _role(table: EntityTable, key: tuple[str, ...], engines: Collection[str]) -> Role:
    if table.name in OUTBOX or table.name in engines:
        return Role.ENGINE
    is_history = table.name.lower().endswith(HISTORY_SUFFIX) and {"id", "_version", *HISTORY_FIELDS} <= set(
        table.columns
    )
    if is_history and key == ("id", "_version"):
        return Role.HISTORY
    return Role.OWN if table.adopted else Role.ENTITY


async def _kind(snapshot: Snapshot, table: EntityTable, column: Column, role: Role) -> Kind:
    """What a column holds: as the catalog has it, else as its type tells, else as its values do."""
    kind = column.kind
    if kind is Kind.UNKNOWN:
        kind = snapshot.dialect.natural_kind(column.declared)
    if role is not Role.OWN or snapshot.dialect.name != "sqlite":
        return Kind.STR if kind is Kind.UNKNOWN else kind
    # SQLite holds anything in any column, and an application may have made use of that.
    name = snapshot.dialect.quote(column.name)
    rows = await snapshot.fetch(
        f"SELECT typeof({name}), MIN({name} IN (0, 1)) FROM {snapshot.dialect.table(table.name)}"
        f" WHERE {name} IS NOT NULL GROUP BY 1"
    )
    seen = {str(row[0]): bool(row[1]) for row in rows}
    if column.kind not in (Kind.UNKNOWN, kind) or not seen:
        return Kind.STR if kind is Kind.UNKNOWN else kind
    return _kind_of_values(table.name, column, kind, seen)


def _kind_of_values(table: str, column: Column, kind: Kind, seen: Mapping[str, bool]) -> Kind:
    """The one kind of values of these storage classes, each with whether it holds only 0 and 1."""
    classes = set(seen)
    if column.kind is not Kind.UNKNOWN and classes <= _CLASSES.get(kind, frozenset()):
        return kind
    if column.kind is Kind.UNKNOWN:
        if classes == {"integer"}:
            return Kind.BOOL if seen["integer"] and "BOOL" in column.declared.upper() else Kind.INT
        for wanted, held in ((Kind.FLOAT, {"integer", "real"}), (Kind.STR, {"text"}), (Kind.BYTES, {"blob"})):
            if classes <= held:
                return wanted
    raise UncopiableTable(
        f"[{column.name}] of your own table {table!r} holds values of several kinds ({', '.join(sorted(classes))}),"
        f" which only SQLite allows in one column; make them one kind, or leave the table out with --skip {table}."
    )


_TEXT = frozenset({"text"})
_CLASSES = {
    Kind.STR: _TEXT,
    Kind.JSON: _TEXT,
    Kind.DATETIME: _TEXT,
    Kind.DATE: _TEXT,
    Kind.UUID: _TEXT,
    Kind.VARIANT: _TEXT,
    Kind.BIGINT: frozenset({"text", "integer"}),
    Kind.DECIMAL: frozenset({"text", "integer", "real"}),
    Kind.INT: frozenset({"integer"}),
    Kind.BOOL: frozenset({"integer"}),
    Kind.FLOAT: frozenset({"integer", "real"}),
    Kind.BYTES: frozenset({"blob"}),
}
"""The storage classes of SQLite in which values of a kind are."""


async def _has_null(snapshot: Snapshot, table: str, columns: Collection[str]) -> bool:
    """Whether some row has no key; SQLite alone allows that, in keys that are not declared NOT NULL."""
    if not columns:
        return False
    condition = " OR ".join(f"{snapshot.dialect.quote(each)} IS NULL" for each in columns)
    return bool(await snapshot.fetch(f"SELECT 1 FROM {snapshot.dialect.table(table)} WHERE {condition} LIMIT 1"))


async def _indexes(snapshot: Snapshot, words: Words, table: str) -> list[IndexShape]:
    found = []
    for row in await snapshot.fetch(*words.list_indexes(table)):
        name, unique, plain, listed, definition = row[:5]
        fields = tuple((listed or "").split(",")) if listed else ()
        # Where it makes pages faster, an index that is not unique ends with the id.
        for each in (fields, fields[:-1] if fields[-1:] == ("id",) else fields):
            if each and name in index_names(table, Index(each, bool(unique))):
                found.append(IndexShape(name, each, bool(unique), is_stores=True))
                break
        else:
            found.append(
                IndexShape(name, fields, bool(unique), False, is_plain=bool(plain), definition=_text(definition))
            )
    return found


def _text(value: object) -> str:
    return None if value is None else str(value)  # type: ignore[return-value]  # the last may be missing
