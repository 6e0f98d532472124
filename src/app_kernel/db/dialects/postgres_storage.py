"""What PostgreSQL's own types can hold of the store's kinds, and how each is written, read and compared."""

import re
from enum import StrEnum

from app_kernel.db.kinds import MAX_DIGITS, Kind
from app_kernel.db.table import Column


class Storage(StrEnum):
    """What a declared type comes to."""

    TEXT = "text"
    INT = "int"
    FLOAT = "float"
    NUMERIC = "numeric"
    BOOL = "bool"
    JSONB = "jsonb"
    JSON = "json"
    TIMESTAMPTZ = "timestamptz"
    TIMESTAMP = "timestamp"
    DATE = "date"
    BYTES = "bytes"
    UUID = "uuid"
    OTHER = "other"
    """Enums, arrays, domains, addresses ...: read and written as their text."""


_DECLARED = re.compile(r"([a-z ]+?)(?:\([0-9, -]+\))?((?: without| with) time zone)?(?: COLLATE .*)?")
_STORAGES = {
    "text": Storage.TEXT,
    "character varying": Storage.TEXT,
    "character": Storage.TEXT,
    "name": Storage.TEXT,
    "smallint": Storage.INT,
    "integer": Storage.INT,
    "bigint": Storage.INT,
    "real": Storage.FLOAT,
    "double precision": Storage.FLOAT,
    "numeric": Storage.NUMERIC,
    "boolean": Storage.BOOL,
    "jsonb": Storage.JSONB,
    "json": Storage.JSON,
    "timestamp with time zone": Storage.TIMESTAMPTZ,
    "timestamp without time zone": Storage.TIMESTAMP,
    "date": Storage.DATE,
    "bytea": Storage.BYTES,
    "uuid": Storage.UUID,
}
NATURAL = {
    Storage.TEXT: Kind.STR,
    Storage.INT: Kind.INT,
    Storage.FLOAT: Kind.FLOAT,
    Storage.NUMERIC: Kind.DECIMAL,
    Storage.BOOL: Kind.BOOL,
    Storage.JSONB: Kind.JSON,
    Storage.JSON: Kind.JSON,
    Storage.TIMESTAMPTZ: Kind.DATETIME,
    Storage.TIMESTAMP: Kind.DATETIME,
    Storage.DATE: Kind.DATE,
    Storage.BYTES: Kind.BYTES,
    Storage.UUID: Kind.UUID,
    Storage.OTHER: Kind.STR,
}
"""What a column holds as far as its type tells."""
_TEXT_KINDS = {Kind.STR, Kind.JSON, Kind.DATETIME, Kind.DATE, Kind.UUID, Kind.DECIMAL, Kind.BIGINT, Kind.VARIANT}
HOLDS: dict[Storage, frozenset[Kind]] = {
    **{storage: frozenset({kind}) for storage, kind in NATURAL.items()},
    Storage.TEXT: frozenset(_TEXT_KINDS),
    Storage.INT: frozenset({Kind.INT, Kind.BOOL}),
    Storage.NUMERIC: frozenset({Kind.DECIMAL, Kind.BIGINT, Kind.INT, Kind.FLOAT}),
    Storage.UUID: frozenset({Kind.UUID, Kind.STR}),
}
_TIMESTAMPS = {Storage.TIMESTAMPTZ, Storage.TIMESTAMP}
_NUMBER = "^[-+]?([0-9]+([.][0-9]*)?|[.][0-9]+)$"
"""Text that reads as a number; anything else by other hands is none, and no error."""
_MAX_NUMBER = 2 * MAX_DIGITS + 3
JSON_FUNCTION = "kernel_json"
"""Reads text as JSON, NULL where it is none; PostgreSQL has its own way from version 16 on."""
CREATE_JSON_FUNCTION = (
    f"CREATE OR REPLACE FUNCTION {JSON_FUNCTION}(given text) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT AS "
    "'BEGIN RETURN given::jsonb; EXCEPTION WHEN data_exception THEN RETURN NULL; END'"
)
_UUID_SHAPE = "^[0-9A-Fa-f]{8}-?([0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}$"
_CONVERTED = '"kernel text"'
"""No column has this name, so that an ORDER BY means the column and not what is listed, and its index serves."""
_ISO = """'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""

TYPES = {
    Kind.STR: 'text COLLATE "C"',
    Kind.INT: "bigint",
    Kind.BIGINT: "numeric",
    Kind.FLOAT: "double precision",
    Kind.BOOL: "boolean",
    Kind.DECIMAL: "numeric",
    Kind.JSON: "jsonb",
    Kind.DATETIME: "timestamp with time zone",
    Kind.DATE: "date",
    Kind.BYTES: "bytea",
    Kind.UUID: 'text COLLATE "C"',
    Kind.VARIANT: 'text COLLATE "C"',
}
_CASTS = {
    Kind.STR: "::text",
    Kind.INT: "::bigint",
    Kind.BIGINT: "::numeric",
    Kind.FLOAT: "::double precision",
    Kind.BOOL: "::boolean",
    Kind.DECIMAL: "::numeric",
    Kind.JSON: "::jsonb",
    # asyncpg writes the first and the last instant and day as infinity, so they travel as text.
    Kind.DATETIME: "::text::timestamptz",
    Kind.DATE: "::text::date",
    Kind.BYTES: "::bytea",
    Kind.UUID: "::text",
    Kind.VARIANT: "::text",
}


def storage_of(declared: str) -> Storage:
    """What a type comes to, as the catalog of PostgreSQL spells it."""
    found = _DECLARED.fullmatch(declared)
    return _STORAGES.get(f"{found[1]}{found[2] or ''}", Storage.OTHER) if found else Storage.OTHER


def kind_in(column: Column) -> Kind:
    """The kind of a column, as far as its type tells where it was not learned yet."""
    return NATURAL[storage_of(column.declared)] if column.kind is Kind.UNKNOWN else column.kind


def param(position: int, kind: Kind | None, storage: str = "") -> str:
    """A parameter beside an expression of its kind, or beside a column of this storage."""
    mark = f"${position}"
    if kind is None or kind is Kind.UNKNOWN:
        return mark
    if storage == Storage.TEXT:
        return f"{mark}::text"
    if storage == Storage.TIMESTAMP:
        return f"({mark}::text::timestamptz AT TIME ZONE 'UTC')"
    if storage == Storage.UUID:
        # Text that is no UUID is found nowhere.
        return f"(CASE WHEN {mark}::text ~ '{_UUID_SHAPE}' THEN {mark}::text::uuid END)"
    return mark + _CASTS[kind]


def storage_beside(column: Column) -> str:
    """The storage of a column with which a param is compared as it is, so that an index serves; else nothing."""
    storage, kind = storage_of(column.declared), kind_in(column)
    is_text = storage is Storage.TEXT and kind in {Kind.DATETIME, Kind.DATE, Kind.JSON}
    is_timestamp = storage is Storage.TIMESTAMP and kind is Kind.DATETIME
    return storage if is_text or is_timestamp or storage is Storage.UUID else ""


def written(mark: str, column: Column) -> str:
    """A parameter, encoded for the column's kind, as the column's type takes it."""
    storage, kind = storage_of(column.declared), kind_in(column)
    if storage is Storage.BOOL or NATURAL[storage] is kind:
        if storage is Storage.TIMESTAMP:
            return f"({mark}::text::timestamptz AT TIME ZONE 'UTC')"
        if storage is Storage.OTHER:
            return f"{mark}::text::{column.declared}"
        return mark + ("::text::uuid" if storage is Storage.UUID else _CASTS[kind])
    if storage is Storage.TEXT:
        return f"{mark}::numeric::text" if kind in {Kind.DECIMAL, Kind.BIGINT} else f"{mark}::text"
    if storage is Storage.INT and kind is Kind.BOOL:
        return f"{mark}::boolean::integer"
    if storage is Storage.NUMERIC and kind is Kind.FLOAT:
        # The direct cast keeps 15 digits only.
        return f"{mark}::double precision::text::numeric"
    return f"{mark}::text::{column.declared}" if kind is Kind.STR else mark + _CASTS[kind]


def read(name: str, column: Column) -> str:
    """A column, quoted already, as SELECT and RETURNING list it."""
    storage = storage_of(column.declared)
    if storage in _TIMESTAMPS and kind_in(column) is Kind.STR:
        return f"{_iso(name, storage)} AS {_CONVERTED}"
    if storage in {Storage.UUID, Storage.OTHER} or (kind_in(column) is Kind.STR and storage is not Storage.TEXT):
        return f"{name}::text AS {_CONVERTED}"
    return name


def value(name: str, column: Column) -> str:
    """A column, quoted already, as an expression of its kind in a clause."""
    storage, kind = storage_of(column.declared), kind_in(column)
    if kind is Kind.STR:
        return _iso(name, storage) if storage in _TIMESTAMPS else name if storage is Storage.TEXT else f"{name}::text"
    if kind is Kind.UUID and storage is Storage.UUID:
        return f"{name}::text"
    if kind is Kind.BOOL and storage is Storage.INT:
        return f"(CASE {name} WHEN 1 THEN TRUE WHEN 0 THEN FALSE END)"
    if kind is Kind.DATETIME and storage is Storage.TIMESTAMP:
        return f"({name} AT TIME ZONE 'UTC')"
    if kind is Kind.JSON and storage is not Storage.JSONB:
        return f"{name}::jsonb"
    if storage is Storage.TEXT and kind in {Kind.DECIMAL, Kind.BIGINT}:
        is_number = f"length({name}) <= {_MAX_NUMBER} AND {name} ~ '{_NUMBER}'"
        return f"(CASE WHEN {is_number} THEN {name}::numeric END)"
    return f"{name}{_CASTS[kind]}" if storage is Storage.TEXT and kind in {Kind.DATETIME, Kind.DATE} else name


def _iso(name: str, storage: Storage) -> str:
    moment = name if storage is Storage.TIMESTAMP else f"{name} AT TIME ZONE 'UTC'"
    return f"to_char({moment}, {_ISO})"
