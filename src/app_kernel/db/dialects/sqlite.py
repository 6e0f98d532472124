"""SQLite's words. Types are chosen by affinity, so that text stays text."""

import re
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import orjson

from app_kernel.core import clock
from app_kernel.db import jsontext
from app_kernel.db.dialects import readers
from app_kernel.db.dialects.base import Dialect, Steps
from app_kernel.db.kinds import Kind
from app_kernel.db.table import Column, EntityTable

NUMERIC_COLLATION = "kernel_number"
"""Compares text as numbers. Named in queries only, never in a table or index, where other tools would fail on it."""
CONVERT_FUNCTION = "kernel_convert"

_TEXT_KINDS = frozenset(
    {Kind.STR, Kind.JSON, Kind.DATETIME, Kind.DATE, Kind.UUID, Kind.DECIMAL, Kind.BIGINT, Kind.VARIANT}
)
_HOLDS: dict[str, frozenset[Kind]] = {
    "INTEGER": frozenset({Kind.INT, Kind.BOOL}),
    "TEXT": _TEXT_KINDS,
    "REAL": frozenset({Kind.FLOAT}),
    "BLOB": frozenset(Kind) - {Kind.UNKNOWN},
    "NUMERIC": frozenset(Kind) - {Kind.UNKNOWN, Kind.BIGINT, Kind.BYTES, Kind.VARIANT},
}
"""What each affinity can hold; what a value looks like decides in NUMERIC, so each is looked at once it is stored."""
_NATURAL = {"INTEGER": Kind.INT, "TEXT": Kind.STR, "REAL": Kind.FLOAT, "BLOB": Kind.BYTES}
_JSON_TYPES = {
    Kind.STR: ("'text'",),
    Kind.INT: ("'integer'", "'real'"),
    Kind.FLOAT: ("'integer'", "'real'"),
    Kind.JSON: ("'object'", "'array'"),
}


def affinity(declared: str) -> str:
    """The affinity of a declared type (SQLite, "Determination Of Column Affinity")."""
    upper = declared.upper()
    if "INT" in upper:
        return "INTEGER"
    if re.search("CHAR|CLOB|TEXT", upper):
        return "TEXT"
    if "BLOB" in upper or not upper:
        return "BLOB"
    if re.search("REAL|FLOA|DOUB", upper):
        return "REAL"
    return "NUMERIC"


def _read_decimal(value: Any) -> Any:
    return Decimal(value if type(value) is int else str(value))


class SqliteDialect(Dialect):
    """SQLite 3.35 or newer, as apsw bundles it."""

    name = "sqlite"
    id_type = "TEXT"
    serial_type = "INTEGER PRIMARY KEY AUTOINCREMENT"
    types: ClassVar = {
        Kind.STR: "TEXT",
        Kind.INT: "INTEGER",
        Kind.BIGINT: "BIGNUMBER_TEXT",
        Kind.FLOAT: "REAL",
        Kind.BOOL: "BOOLEAN_INT",
        Kind.DECIMAL: "DECIMAL_TEXT",
        Kind.JSON: "JSON_TEXT",
        Kind.DATETIME: "DATETIME_TEXT",
        Kind.DATE: "DATE_TEXT",
        Kind.BYTES: "BLOB",
        Kind.UUID: "TEXT",
        Kind.VARIANT: "VARIANT_TEXT",
    }
    encoders: ClassVar = {
        Kind.BIGINT: str,
        Kind.BOOL: int,
        Kind.DECIMAL: lambda value: format(value, "f"),
        Kind.JSON: jsontext.dump,
        Kind.DATETIME: clock.to_text,
        Kind.DATE: date.isoformat,
        Kind.UUID: str,
        Kind.VARIANT: jsontext.dump_variant,
    }
    decoders: ClassVar = {
        Kind.BIGINT: int,
        Kind.FLOAT: float,
        Kind.BOOL: readers.read_bool,
        Kind.DECIMAL: _read_decimal,
        Kind.JSON: jsontext.load,
        Kind.DATETIME: datetime.fromisoformat,
        Kind.DATE: date.fromisoformat,
        Kind.UUID: UUID,
        Kind.VARIANT: jsontext.load_variant,
    }

    exact_kinds: ClassVar = frozenset({Kind.FLOAT})

    def natural_kind(self, declared: str) -> Kind:
        return _NATURAL.get(affinity(declared), Kind.UNKNOWN)

    def may_hold(self, declared: str, kind: Kind) -> bool:
        return kind in _HOLDS[affinity(declared)]

    def operand(self, sql: str, kind: Kind | None, *, ordered: bool = True) -> str:
        return f"{sql} COLLATE {NUMERIC_COLLATION}" if kind in (Kind.DECIMAL, Kind.BIGINT) else sql

    def cast_number(self, sql: str, kind: Kind, wanted: Kind) -> str:
        return f"CAST({sql} AS TEXT)"

    def like(self, operand: str, pattern: str, *, fold_case: bool) -> str:
        # The connection has case_sensitive_like on; LOWER folds ASCII only.
        if fold_case:
            operand, pattern = f"LOWER({operand})", f"LOWER({pattern})"
        return f"{operand} LIKE {pattern} ESCAPE '\\'"

    def json_source(self, column: Column) -> str:
        name = self.quote(column.name)
        return f"(CASE WHEN json_valid({name}) THEN {name} END)" if column.adopted else name

    def json_value(self, column: str, path: Sequence[str], kind: Kind | None) -> str:
        where = "'$" + "".join(f'."{key}"' for key in path) + "'"
        value = f"json_extract({column}, {where})"
        if kind is None:
            return value
        found = f"json_type({column}, {where})"
        if kind is Kind.BOOL:
            return f"(CASE {found} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END)"
        return f"(CASE WHEN {found} IN ({', '.join(_JSON_TYPES[kind])}) THEN {value} END)"

    def checked_int(self, sql: str) -> str:
        # SQLite turns an overflow into a float without a word, and no int comes of it again; ABS of the least integer
        # is its way to raise one. The text comes twice, so this is done once, around the whole.
        return f"(CASE typeof({sql}) WHEN 'real' THEN ABS(-9223372036854775808) ELSE {sql} END)"

    def order_term(self, column: Column, kind: Kind, *, descending: bool) -> str:
        return f"{self.operand(self.quote(column.name), kind)}{' DESC' if descending else ''}"

    def equals_text(self, column: Column, mark: str) -> str:
        return f"{self.quote(column.name)} COLLATE BINARY = {mark}"

    def id_among(self, table: EntityTable, position: int) -> str:
        return f"{self.quote('id')} IN (SELECT value FROM json_each({self.placeholder(position)}))"

    def encode_ids(self, ids: Sequence[Any]) -> Any:
        return orjson.dumps(ids).decode()

    def create_index(
        self, index_name: str, table_name: str, fields: Sequence[str], *, unique: bool, aside: bool = False
    ) -> str:
        # Rows that tie come in the order of their ids: with these in the index, no page has to be sorted.
        ordered = fields if unique or "id" in fields else (*fields, "id")
        return super().create_index(index_name, table_name, ordered, unique=unique, aside=aside)

    def page(self, limit: int | None, offset: int | None) -> str:
        return super().page(-1 if limit is None and offset else limit, offset)

    def column_type(self, kind: Kind, *, adopted: bool) -> str:
        # A STRICT table allows the plain types only, which are named as the affinities are.
        return affinity(self.types[kind]) if adopted else self.types[kind]

    def retype_column(
        self, table_name: str, column: str, old: Kind, new: Kind, declared: str, *, through: Kind | None = None
    ) -> Steps:
        # SQLite cannot retype a column, and its affinity would alter values on the way: they move to a new one.
        table, name, moved = self.table(table_name), self.quote(column), self.quote(f"kernel_moved_{column}"[:63])
        convert_all = f"{moved} = {CONVERT_FUNCTION}('{old}', '{new}', {name}) WHERE {name} IS NOT NULL"
        yield f"ALTER TABLE {table} ADD COLUMN {moved} {declared}", ()
        yield f"UPDATE {table} SET {convert_all}", ()
        # Views and triggers that name the column would each stop both; what they say is true again after them.
        yield "PRAGMA writable_schema = ON", ()
        yield f"ALTER TABLE {table} DROP COLUMN {name}", ()
        yield f"ALTER TABLE {table} RENAME COLUMN {moved} TO {name}", ()
        yield "PRAGMA writable_schema = OFF", ()


def convert(dialect: SqliteDialect, old: Kind, new: Kind, stored: Any) -> Any:
    """A stored value of one kind as another kind stores it; what does not read as the old kind stays as it is."""
    decode = dialect.decoders.get(old)
    try:
        value = stored if decode is None else decode(stored)
        if new is Kind.DECIMAL:
            value = Decimal(value)
        elif new is Kind.FLOAT:
            value = float(value)
        return dialect.encode(new, value)
    except (ValueError, TypeError, ArithmeticError, KeyError, AttributeError):
        return stored
