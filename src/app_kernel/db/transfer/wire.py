"""Values on their way: one plain form for each kind, the same whatever database they come from and go to.

Text, whole numbers, floats, bool, bytes and None; everything else is the text in which SQLite keeps it. A row is a
list of them in the order of its columns' names, and its digest is one of that form.
"""

import base64
import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import orjson

from app_kernel.core import clock
from app_kernel.db import jsontext
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.dialects.mysql_storage import fits_number
from app_kernel.db.kinds import Kind
from app_kernel.db.table import Column, EntityTable

Convert = Callable[[Any], Any]
WireRow = list[Any]

_UNREADABLE = (ValueError, TypeError, ArithmeticError, KeyError, AttributeError)
_DIGEST_BYTES = 16
_MODULUS = 1 << (8 * _DIGEST_BYTES)
_TIMESTAMP_LENGTH = 27
_UUID_LENGTH = 36

_TO_WIRE: dict[Kind, Convert] = {
    Kind.BIGINT: str,
    Kind.DECIMAL: lambda value: format(value, "f"),
    Kind.JSON: jsontext.dump,
    Kind.DATETIME: clock.to_text,
    Kind.DATE: date.isoformat,
    Kind.UUID: str,
    Kind.VARIANT: jsontext.dump_variant,
}


class Codec:
    """Between the rows of one table, as a driver gives and takes them, and rows on their way."""

    def __init__(self, dialect: Dialect, table: EntityTable) -> None:
        columns = [table.columns[name] for name in table.names]
        self._readers = [(at, read) for at, each in enumerate(columns) if (read := _reader(dialect, each)) is not None]
        self._writers = [(at, make) for at, each in enumerate(columns) if (make := _writer(dialect, each)) is not None]
        self._by_name = {each.name: _writer(dialect, each) for each in columns}

    def from_rows(self, rows: Iterable[Sequence[Any]]) -> list[WireRow]:
        """Rows as the driver gave them, on their way; what does not read as its kind stays as it is stored."""
        read = [list(row) for row in rows]
        for at, convert in self._readers:
            for row in read:
                value = row[at]
                if value is not None:
                    try:
                        row[at] = convert(value)
                    except _UNREADABLE:
                        row[at] = _plain(value)
        return read

    def to_rows(self, rows: Iterable[WireRow]) -> list[list[Any]]:
        """Rows on their way, as the driver takes them; raises what a value that is none of its kind raises."""
        made = [list(row) for row in rows]
        for at, convert in self._writers:
            for row in made:
                value = row[at]
                if value is not None:
                    row[at] = convert(value)
        return made

    def to_value(self, name: str, value: Any) -> Any:
        """One value of a column, as the driver takes it."""
        convert = self._by_name[name]
        return value if value is None or convert is None else convert(value)


class Digest:
    """What tells whether two tables hold the same rows, in whatever order these come."""

    def __init__(self, kinds: Sequence[Kind], *, sum: int = 0, rows: int = 0) -> None:  # noqa: A002 - the word for it
        self._width = len(kinds)
        self._decimals = [at for at, kind in enumerate(kinds) if kind is Kind.DECIMAL]
        self._jsons = [at for at, kind in enumerate(kinds) if kind is Kind.JSON]
        self.sum = sum
        self.rows = rows

    def add(self, rows: Sequence[WireRow]) -> None:
        """Counts rows in."""
        total = self.sum
        for row in rows:
            packed = orjson.dumps(self.told(row), default=_tag)
            total += int.from_bytes(hashlib.blake2b(packed, digest_size=_DIGEST_BYTES).digest(), "big")
        self.sum = total % _MODULUS
        self.rows += len(rows)

    @property
    def text(self) -> str:
        """The digest; that of no rows is all zeros."""
        return format(self.sum, f"0{2 * _DIGEST_BYTES}x")

    def told(self, row: WireRow) -> WireRow:
        """The row with those values in one spelling that are equal in several; a row of key columns as it is."""
        if not (self._decimals or self._jsons) or len(row) != self._width:
            return row
        told = row
        for at in self._decimals:
            value = told[at]
            # 1.50 and 1.5 are equal, and so are 0.0 and -0.
            if type(value) is str and value.endswith(("0", ".")) and ("." in value or value == "-0"):
                short = value.rstrip("0").rstrip(".") if "." in value else value
                told = [*told[:at], "0" if short in ("-0", "-", "") else short, *told[at + 1 :]]
        for at in self._jsons:
            value = told[at]
            if type(value) is str and "-0.0" in value:
                told = [*told[:at], jsontext.dump(jsontext.load(jsontext.plain(value))), *told[at + 1 :]]
        return told


def pack(rows: Sequence[WireRow]) -> bytes:
    """Rows as JSON."""
    return orjson.dumps(rows, default=_tag)


def unpack(packed: bytes) -> list[WireRow]:
    """The rows that `pack` was given; raises ValueError for anything else."""
    rows: list[WireRow] = orjson.loads(packed)
    if b'{"$' in packed:
        for row in rows:
            for at, value in enumerate(row):
                if type(value) is dict:
                    row[at] = _untag(value)
    return rows


class Odd:
    """A float that JSON has no number for; an application's own column may hold one."""

    __slots__ = ("text",)

    def __init__(self, value: float) -> None:
        self.text = str(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


def _tag(value: Any) -> Any:
    if type(value) is bytes:
        return {"$bytes": base64.b64encode(value).decode()}
    if type(value) is Odd:
        return {"$float": value.text}
    raise TypeError(f"{type(value).__name__} is no value on its way")


def _untag(value: dict[str, Any]) -> Any:
    if "$bytes" in value:
        return base64.b64decode(value["$bytes"])
    return Odd(float(value["$float"]))


def _plain(value: Any) -> Any:
    """A stored value that does not read as its kind."""
    return value if isinstance(value, str | int | float | bytes) else str(value)


def _reader(dialect: Dialect, column: Column) -> Convert | None:
    """From what the driver gives of a column to the value on its way; None where that is the same."""
    kind = column.kind
    own = {} if column.adopted else _OWN_READERS.get(dialect.name, {})
    if kind in own:
        return own[kind]
    decode, pack_value = dialect.decoder(column), _TO_WIRE.get(kind)
    if kind is Kind.FLOAT and column.adopted:
        pack_value = _float
    if decode is None or pack_value is None:
        return decode or pack_value
    return lambda stored: pack_value(decode(stored))


def _writer(dialect: Dialect, column: Column) -> Convert | None:
    """From the value on its way to what the driver takes; None where that is the same."""
    kind = column.kind
    if kind is Kind.FLOAT and column.adopted:
        return _checked_float if dialect.name != "postgres" else _any_float
    if dialect.name == "sqlite":
        return None
    return _POSTGRES_WRITERS.get(kind) if dialect.name == "postgres" else _MYSQL_WRITERS.get(kind)


def _moment(stored: Any) -> Any:
    if type(stored) is datetime and stored.tzinfo is UTC:
        return stored.isoformat(timespec="microseconds")[:26] + "Z"
    return clock.to_text(stored)


def _timestamp(stored: Any) -> Any:
    if type(stored) is str and len(stored) == _TIMESTAMP_LENGTH and stored.endswith("Z") and stored[10] == "T":
        return stored
    return clock.to_text(datetime.fromisoformat(stored))


def _uuid(stored: Any) -> Any:
    return stored if type(stored) is str and len(stored) == _UUID_LENGTH and stored.islower() else str(UUID(stored))


def _decimal(stored: Any) -> Any:
    return format(Decimal(stored if type(stored) is int else str(stored)), "f")


def _bool(stored: Any) -> Any:
    return bool(stored) if stored in (0, 1) else stored


def _json(stored: Any) -> Any:
    return jsontext.dump(jsontext.load(stored))


def _float(value: Any) -> Any:
    if not isinstance(value, float | int | Decimal):
        return value
    number = float(value)
    return number + 0.0 if math.isfinite(number) else Odd(number)


def _any_float(value: Any) -> Any:
    return float(value.text) if type(value) is Odd else value


def _checked_float(value: Any) -> Any:
    if type(value) is Odd:
        raise ValueError(f"{value.text} is no number here")
    return value


_SQLITE_READERS: dict[Kind, Convert | None] = {
    Kind.STR: None,
    Kind.INT: None,
    Kind.FLOAT: None,
    Kind.BYTES: None,
    Kind.BIGINT: None,
    Kind.VARIANT: None,
    Kind.BOOL: _bool,
    Kind.DECIMAL: _decimal,
    Kind.JSON: _json,
    Kind.DATETIME: _timestamp,
    Kind.DATE: None,
    Kind.UUID: _uuid,
}
_OWN_READERS: dict[str, dict[Kind, Convert | None]] = {
    "sqlite": _SQLITE_READERS,
    "postgres": {Kind.UUID: _uuid, Kind.VARIANT: None, Kind.DATETIME: _moment},
    "mysql": {Kind.UUID: _uuid, Kind.VARIANT: None, Kind.DATETIME: _moment},
}
"""For columns of the store's own, which hold text as it is on its way already."""
_POSTGRES_WRITERS: dict[Kind, Convert] = {
    Kind.BIGINT: Decimal,
    Kind.DECIMAL: Decimal,
    Kind.JSON: jsontext.plain,
}


def _fitting(kind: Kind, value: Any) -> Any:
    """A number that MySQL has room for; raises ValueError for one that it would round or refuse."""
    number = int(value) if kind is Kind.BIGINT else Decimal(value)
    if not fits_number(kind, number):
        raise ValueError("a number has more digits than MySQL keeps")
    return number


_MYSQL_WRITERS: dict[Kind, Convert] = {
    Kind.BIGINT: partial(_fitting, Kind.BIGINT),
    Kind.DECIMAL: partial(_fitting, Kind.DECIMAL),
    Kind.BOOL: int,
    Kind.JSON: jsontext.plain,
}
