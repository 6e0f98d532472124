"""The statements that make a table after its shape, and what of a shape a database cannot be told."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from app_kernel.core.tables import Index
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.indexes import index_name
from app_kernel.db.kinds import Kind
from app_kernel.db.table import HISTORY_FIELDS, HISTORY_SUFFIX, OWNED_FIELDS
from app_kernel.db.transfer.shapes import FieldShape, IndexShape, Inventory, LeftOut, Role, TableShape
from app_kernel.db.transfer.words import Words

_TEXT = frozenset({Kind.STR, Kind.UUID, Kind.UNKNOWN})
_LONG = _TEXT | {Kind.BYTES, Kind.JSON, Kind.VARIANT}
"""Kinds of values that have any length."""


def create_statements(words: Words, shape: TableShape, backend: str) -> list[str]:
    """What makes a table, empty and without its indexes; `backend` is that of the database which the shape is of."""
    dialect = words.dialect
    if shape.role is Role.ENTITY:
        return [dialect.create_table(shape.name, _made(dialect, shape.fields))]
    is_same = dialect.name == backend
    if shape.role is Role.HISTORY:
        # The id first, as the store makes it.
        fields = sorted(shape.fields, key=lambda each: each.name != "id")
        copies = {
            each.name: each.declared if is_same else _type(dialect, each, is_key=each.name == "id")
            for each in fields
            if each.name not in HISTORY_FIELDS
        }
        return [dialect.create_history(shape.name[: -len(HISTORY_SUFFIX)], copies)]
    if is_same and words.keeps_definitions and shape.definition is not None:
        return [shape.definition]
    ordered = {*shape.key, *(name for index in shape.indexes if index.unique for name in index.fields)}
    columns = [
        (
            each.name,
            words.own_type(each.kind, each.declared if is_same else None)
            if each.name not in ordered or each.kind not in _TEXT
            else words.own_key_type(),
            each.required and not each.generated,
        )
        for each in shape.fields
    ]
    return [words.create_own(shape.name, columns, shape.key, shape.assigned)]


def missing_fields(dialect: Dialect, known: TableShape, wanted: TableShape) -> Mapping[str, str] | None:
    """The columns (name to type) that make one shape of another; None where that takes more than new columns."""
    have = {each.name: each.kind for each in known.fields}
    fresh = [each for each in wanted.fields if each.name not in have]
    kept = tuple(each for each in wanted.fields if each.name in have)
    if wanted.role not in (Role.ENTITY, Role.HISTORY) or not replace(wanted, fields=kept).is_as(known):
        return None
    return _made(dialect, fresh)


def index_statement(words: Words, shape: TableShape, index: IndexShape, backend: str) -> str | None:
    """What makes an index of the application's; None where it cannot be told, and nothing where the table has it."""
    dialect = words.dialect
    if dialect.name == backend == "sqlite":
        # That of a UNIQUE came with its table, and has no statement of its own.
        return index.definition or ("" if shape.definition is not None else None)
    if not index.is_plain or not index.fields:
        return None
    kind = "UNIQUE INDEX" if index.unique else "INDEX"
    name, unique = dialect.quote(own_index_name(shape, index)), index.unique
    terms = ", ".join(
        words.own_index_term(each, is_text=shape.field(each).kind in _LONG, unique=unique) for each in index.fields
    )
    return f"CREATE {kind} {name} ON {dialect.table(shape.name)} ({terms})"


def own_index_name(shape: TableShape, index: IndexShape) -> str:
    """What an index of the application's is called: as it was, where it had a name that others may have too."""
    if index.name.startswith("sqlite_") or index.name.upper() == "PRIMARY":
        return index_name(shape.name, Index(index.fields, index.unique))
    return index.name


def left_out_of(inventory: Inventory, backend: str) -> list[LeftOut]:
    """What beside the rows is not made in a database of another kind, in words, each with its table."""
    keeps_all = inventory.backend == backend == "sqlite"
    found = [each for each in inventory.others if not keeps_all or each.what == "virtual table"]
    if keeps_all:
        return found
    for shape in inventory.tables:
        if shape.role is not Role.OWN:
            continue
        for each in shape.fields:
            if each.generated:
                found.append(LeftOut("generated column, which becomes a plain one", each.name, shape.name))
            elif each.has_default and each.name != shape.assigned:
                found.append(LeftOut("default", each.name, shape.name))
        if not shape.key:
            found.append(LeftOut("primary key: it has none, so it begins anew after a stop", "", shape.name))
    return found


def _made(dialect: Dialect, fields: Sequence[FieldShape]) -> dict[str, str]:
    return {
        each.name: dialect.column_type(each.kind, adopted=False)
        for each in fields
        if each.name != "id" and each.name not in OWNED_FIELDS and each.name not in HISTORY_FIELDS
    }


def _type(dialect: Dialect, field: FieldShape, *, is_key: bool) -> str:
    if is_key and field.kind in _TEXT:
        return dialect.id_type
    return dialect.types[Kind.STR if field.kind is Kind.UNKNOWN else field.kind]
