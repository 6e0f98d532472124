"""What MySQL's own types can hold of the store's kinds, and how each is written, read and compared.

A column of the store's own says its kind in its comment, as `kernel:str`: MySQL commits each change of a table by
itself, so that only what is said in the same statement is sure to be true of the column.
"""

import re
from decimal import Decimal
from enum import StrEnum

from app_kernel.db.dialects.mysql_marks import AS_DATE, AS_DATETIME, mark
from app_kernel.db.kinds import Kind
from app_kernel.db.table import Column

WHOLE_DIGITS, FRACTION_DIGITS = 35, 30
"""Digits of a Decimal before and after the point; MySQL has 65 in all."""
MAX_DIGITS = 65
BINARY_COLLATION = {True: "utf8mb4_nopad_bin", False: "utf8mb4_0900_bin"}
"""MariaDB's and MySQL's collation that compares bytes and pads nothing, by whether it is MariaDB."""


class Storage(StrEnum):
    """What a declared type comes to."""

    TEXT = "text"
    INT = "int"
    FLOAT = "float"
    DECIMAL = "decimal"
    BOOL = "bool"
    JSON = "json"
    DATETIME = "datetime"
    DATE = "date"
    BYTES = "bytes"
    SHAPE = "shape"
    """Points, lines, areas: read and written as their text, such as POINT(1 2)."""
    OTHER = "other"
    """Times, years, bits, addresses ...: read and written as their text."""


_STORAGES = {
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"), Storage.TEXT),
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "integer", "bigint"), Storage.INT),
    **dict.fromkeys(("float", "double", "real"), Storage.FLOAT),
    **dict.fromkeys(("decimal", "numeric", "dec", "fixed"), Storage.DECIMAL),
    **dict.fromkeys(("datetime", "timestamp"), Storage.DATETIME),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), Storage.BYTES),
    **dict.fromkeys(
        ("geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon"), Storage.SHAPE
    ),
    **dict.fromkeys(("geometrycollection", "geomcollection"), Storage.SHAPE),
    "bool": Storage.BOOL,
    "boolean": Storage.BOOL,
    "json": Storage.JSON,
    "date": Storage.DATE,
}
NATURAL = {
    Storage.TEXT: Kind.STR,
    Storage.INT: Kind.INT,
    Storage.FLOAT: Kind.FLOAT,
    Storage.DECIMAL: Kind.DECIMAL,
    Storage.BOOL: Kind.BOOL,
    Storage.JSON: Kind.JSON,
    Storage.DATETIME: Kind.DATETIME,
    Storage.DATE: Kind.DATE,
    Storage.BYTES: Kind.BYTES,
    Storage.SHAPE: Kind.STR,
    Storage.OTHER: Kind.STR,
}
"""What a column holds as far as its type tells."""
_TEXT_KINDS = {Kind.STR, Kind.JSON, Kind.DATETIME, Kind.DATE, Kind.UUID, Kind.DECIMAL, Kind.BIGINT, Kind.VARIANT}
HOLDS: dict[Storage, frozenset[Kind]] = {
    **{storage: frozenset({kind}) for storage, kind in NATURAL.items()},
    Storage.TEXT: frozenset(_TEXT_KINDS),
    Storage.INT: frozenset({Kind.INT, Kind.BOOL}),
    Storage.BOOL: frozenset({Kind.INT, Kind.BOOL}),
    Storage.DECIMAL: frozenset({Kind.DECIMAL, Kind.BIGINT, Kind.INT, Kind.FLOAT}),
}
_WORD = re.compile(r"[a-z0-9]+")
_COLLATION = re.compile(r" COLLATE (\w+)")
_TOLD = re.compile(rf" COMMENT 'kernel:({'|'.join(Kind)})'")
_TYPES = {
    Kind.INT: "BIGINT",
    Kind.BIGINT: f"DECIMAL({MAX_DIGITS},0)",
    Kind.FLOAT: "DOUBLE",
    Kind.BOOL: "TINYINT(1)",
    Kind.DECIMAL: f"DECIMAL({MAX_DIGITS},{FRACTION_DIGITS})",
    Kind.DATETIME: "DATETIME(6)",
    Kind.DATE: "DATE",
    Kind.BYTES: "LONGBLOB",
}
_DATETIME_TEXT = 26
_CONVERTED = '"kernel text"'
"""No column has this name, so that an ORDER BY means the column and not what is listed."""
_NUMBER = "^[-+]?([0-9]+([.][0-9]*)?|[.][0-9]+)$"
"""Text that reads as a number; anything else by other hands is none, and no error."""


def text_type(declared: str, *, is_mariadb: bool) -> str:
    """A type of text that compares and sorts by its bytes."""
    return f"{declared} CHARACTER SET utf8mb4 COLLATE {BINARY_COLLATION[is_mariadb]}"


def types(*, is_mariadb: bool) -> dict[Kind, str]:
    """The column type of each kind, its comment included."""
    text = text_type("LONGTEXT", is_mariadb=is_mariadb)
    declared = dict.fromkeys((Kind.STR, Kind.UUID, Kind.VARIANT), text) | _TYPES
    # MariaDB's JSON is text with a check that refuses what is nested deeper than 32 levels.
    declared[Kind.JSON] = text if is_mariadb else "JSON"
    return {kind: f"{declared[kind]} COMMENT 'kernel:{kind}'" for kind in declared}


def bounded_type(kind: Kind, length: int, *, is_mariadb: bool) -> str:
    """The type of text or bytes that an index can hold."""
    if kind is Kind.BYTES:
        return f"VARBINARY({length}) COMMENT 'kernel:{kind}'"
    return f"{text_type(f'VARCHAR({length})', is_mariadb=is_mariadb)} COMMENT 'kernel:{kind}'"


def told_kind(declared: str) -> Kind | None:
    """The kind that a column of the store's own says it has; None for one of the application's."""
    found = _TOLD.search(declared)
    return Kind(found[1]) if found else None


def storage_of(declared: str) -> Storage:
    """What a type comes to, as a statement or information_schema spells it."""
    lower = declared.lower()
    if lower.startswith("tinyint(1)"):
        return Storage.BOOL
    if lower.startswith("double precision"):
        return Storage.FLOAT
    found = _WORD.match(lower)
    return _STORAGES.get(found[0], Storage.OTHER) if found else Storage.OTHER


def is_unsigned_bigint(declared: str) -> bool:
    """Whether a column of integers has room for some beyond the signed 64 bits."""
    lower = declared.lower()
    return lower.startswith("bigint") and " unsigned" in lower


def kind_in(column: Column) -> Kind:
    """The kind of a column, as far as its type tells where it was not learned yet."""
    return NATURAL[storage_of(column.declared)] if column.kind is Kind.UNKNOWN else column.kind


def fits_number(kind: Kind, value: int | Decimal) -> bool:
    """Whether MySQL has room for all the digits of an integer beyond 64 bits, or of a Decimal."""
    if kind is Kind.BIGINT:
        return len(str(abs(int(value)))) <= MAX_DIGITS
    _, digits, exponent = Decimal(value).as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    fraction = max(0, -(int(exponent) + len(digits) - len(text)))
    return len(digits) + int(exponent) <= WHOLE_DIGITS and fraction <= FRACTION_DIGITS


def param(position: int, kind: Kind | None, storage: str = "") -> str:
    """A parameter beside an expression of its kind, or beside a column of this storage."""
    if storage == Storage.TEXT:
        return mark(position)
    form = {Kind.DATETIME: AS_DATETIME, Kind.DATE: AS_DATE}.get(kind, "") if kind else ""
    return mark(position, form)


def storage_beside(column: Column) -> str:
    """The storage of a column with which a param is compared as it is, so that an index serves; else nothing."""
    storage, kind = storage_of(column.declared), kind_in(column)
    return storage if storage is Storage.TEXT and kind in {Kind.DATETIME, Kind.DATE} else ""


def written(position: int, column: Column) -> str:
    """A parameter, encoded for the column's kind, as the column's type takes it."""
    storage, kind = storage_of(column.declared), kind_in(column)
    if storage is Storage.TEXT and kind in {Kind.DECIMAL, Kind.BIGINT}:
        return f"CONCAT({mark(position)})"
    if storage is Storage.SHAPE:
        return f"ST_GeomFromText({mark(position)})"
    return param(position, kind, storage)


def read(name: str, column: Column) -> str:
    """A column, quoted already, as SELECT lists it."""
    storage = storage_of(column.declared)
    if storage is Storage.SHAPE:
        return f"ST_AsText({name}) AS {_CONVERTED}"
    if storage is Storage.OTHER or (kind_in(column) is Kind.STR and storage not in {Storage.TEXT, Storage.OTHER}):
        return f"CAST({name} AS CHAR) AS {_CONVERTED}"
    if column.declared.lower().startswith("float"):
        # Its own text has six digits, which are not the number that it holds and compares by.
        return f"CAST({name} AS DOUBLE) AS {_CONVERTED}"
    return name


def value(name: str, column: Column, *, is_mariadb: bool) -> str:
    """A column, quoted already, as an expression of its kind in a clause."""
    storage, kind = storage_of(column.declared), kind_in(column)
    if storage is Storage.TEXT and kind in {Kind.DECIMAL, Kind.BIGINT}:
        return f"(CASE WHEN {name} REGEXP '{_NUMBER}' THEN CAST({name} AS DECIMAL({MAX_DIGITS},{FRACTION_DIGITS})) END)"
    if kind is Kind.BOOL and column.adopted:
        return f"(CASE {name} WHEN 1 THEN 1 WHEN 0 THEN 0 END)"
    if kind is Kind.JSON:
        # Beside JSON of MySQL's own, text would be one JSON string.
        as_json = f"(CASE WHEN JSON_VALID({name}) THEN CAST({name} AS JSON) END)"
        return as_json if storage is Storage.TEXT and not is_mariadb else name
    if storage is Storage.OTHER or (kind is Kind.STR and storage is not Storage.TEXT):
        text = f"CONVERT(ST_AsText({name}) USING utf8mb4)" if storage is Storage.SHAPE else f"CAST({name} AS CHAR)"
        return in_bytes(text, is_mariadb=is_mariadb)
    if storage is Storage.TEXT and kind in {Kind.DATETIME, Kind.DATE}:
        whole = f"LEFT({name}, {_DATETIME_TEXT})" if kind is Kind.DATETIME else name
        return f"CAST({whole} AS {'DATETIME(6)' if kind is Kind.DATETIME else 'DATE'})"
    if storage is Storage.TEXT and column.adopted:
        return text_in_bytes(name, column, is_mariadb=is_mariadb)
    return name


def text_in_bytes(name: str, column: Column, *, is_mariadb: bool) -> str:
    """A column of text, quoted already, so that it compares by its bytes, whatever collation an application gave it."""
    found = _COLLATION.search(column.declared)
    collation = found[1] if found else ""
    if collation == BINARY_COLLATION[is_mariadb]:
        return name
    converted = name if collation.startswith("utf8mb4") else f"CONVERT({name} USING utf8mb4)"
    return in_bytes(converted, is_mariadb=is_mariadb)


def in_set_of(text: str, column: Column) -> str:
    """Text in the character set of a column, whose index then serves; a character that it lacks is a question mark."""
    found = _COLLATION.search(column.declared)
    if found is None or found[1].startswith("utf8mb4"):
        return text
    return f"CONVERT({text} USING {found[1].partition('_')[0]}) COLLATE {found[1]}"


def in_bytes(text: str, *, is_mariadb: bool) -> str:
    """Text that compares and sorts by its bytes."""
    return f"{text} COLLATE {BINARY_COLLATION[is_mariadb]}"
