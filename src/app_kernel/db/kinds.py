"""The logical kinds of values: what a column holds, whatever the database calls it.

A value comes back equal and of the same type, or it is refused here, before any SQL exists.
"""

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from app_kernel.core.errors import UnsupportedValue


class Kind(StrEnum):
    """What a column holds. The text of each is what the catalog stores."""

    UNKNOWN = "unknown"
    """Only ever saved as None: the field is known, its column comes with the first value."""
    STR = "str"
    INT = "int"
    BIGINT = "bigint"
    """Integers beyond 64 bits; read as int like the others."""
    FLOAT = "float"
    BOOL = "bool"
    DECIMAL = "decimal"
    JSON = "json"
    DATETIME = "datetime"
    DATE = "date"
    BYTES = "bytes"
    UUID = "uuid"
    VARIANT = "variant"
    """Values of different kinds, each remembered with its own: equality and IS NULL only."""


INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
EXACT_FLOAT = 2**53
"""The largest magnitude up to which every integer is a float too."""
MAX_DIGITS = 4000
"""Digits of an integer or Decimal on each side of the point; every backend and Python's int parser take them."""
MAX_JSON_DEPTH = 100

_KIND_OF_TYPE: dict[type, Kind] = {
    str: Kind.STR,
    int: Kind.INT,
    float: Kind.FLOAT,
    bool: Kind.BOOL,
    Decimal: Kind.DECIMAL,
    dict: Kind.JSON,
    list: Kind.JSON,
    datetime: Kind.DATETIME,
    date: Kind.DATE,
    bytes: Kind.BYTES,
    UUID: Kind.UUID,
}

_PLAIN: tuple[type, ...] = (str, bool, int, float, dict, list)

_ADVICE: dict[type, str] = {
    tuple: "use a list",
    set: "use a list",
    frozenset: "use a list",
    bytearray: "use bytes(...)",
    memoryview: "use bytes(...)",
}


def kind_of_type(python_type: type) -> Kind:
    """The kind of a Python type, for declared tables; raises UnsupportedValue for a type that cannot be stored."""
    try:
        return _KIND_OF_TYPE[python_type]
    except KeyError:
        raise UnsupportedValue(f"Values of type {python_type.__name__} cannot be stored.") from None


def kind_of(field: str, value: Any) -> Kind:
    """The kind of a value that is not None; raises UnsupportedValue, which names the field, if it cannot be kept."""
    kind = _KIND_OF_TYPE.get(type(value))
    if kind is Kind.STR:
        check_text(field, value)
    elif kind is Kind.INT:
        return _kind_of_int(field, value)
    elif kind is Kind.FLOAT:
        if not math.isfinite(value):
            raise UnsupportedValue(f"[{field}]: NaN and infinities cannot be stored.")
    elif kind is Kind.JSON:
        _check_json(field, field, value, 0)
    elif kind is Kind.DATETIME:
        _check_datetime(field, value)
    elif kind is Kind.DECIMAL:
        _check_decimal(field, value)
    elif kind is None:
        raise UnsupportedValue(f"[{field}]: {_refusal(value)}")
    return kind


def merged(column: Kind, value_kind: Kind, value: Any) -> Kind:
    """The kind a column must have to hold what it holds and this value too; `column` itself when it already can."""
    if column is value_kind or column is Kind.VARIANT:
        return column
    if column is Kind.UNKNOWN:
        return value_kind
    pair = (column, value_kind)
    if pair == (Kind.FLOAT, Kind.INT):
        return Kind.FLOAT if is_exact_float(value) else Kind.VARIANT
    return _WIDER.get(pair, Kind.VARIANT)


_WIDER = {
    (Kind.INT, Kind.FLOAT): Kind.FLOAT,
    (Kind.INT, Kind.BIGINT): Kind.BIGINT,
    (Kind.BIGINT, Kind.INT): Kind.BIGINT,
    (Kind.INT, Kind.DECIMAL): Kind.DECIMAL,
    (Kind.BIGINT, Kind.DECIMAL): Kind.DECIMAL,
    (Kind.DECIMAL, Kind.INT): Kind.DECIMAL,
    (Kind.DECIMAL, Kind.BIGINT): Kind.DECIMAL,
}


def is_exact_float(value: int) -> bool:
    """Whether an integer is a float too, and so is everything between."""
    return -EXACT_FLOAT <= value <= EXACT_FLOAT


def as_kind(kind: Kind, value: Any) -> Any:
    """A value as the column's kind has it: an int in a float or Decimal column, a datetime in UTC."""
    if kind is Kind.FLOAT:
        return float(value) + 0.0
    if kind is Kind.DECIMAL and type(value) is int:
        return Decimal(value)
    if kind is Kind.DATETIME:
        return value.astimezone(UTC)
    return value


def check_text(field: str, value: str) -> None:
    """Refuses text that not every database can hold: NUL characters and lone surrogates."""
    if "\x00" in value:
        raise UnsupportedValue(f"[{field}]: text with a NUL character cannot be stored.")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UnsupportedValue(f"[{field}]: text with a lone surrogate is not valid Unicode.") from None


def _kind_of_int(field: str, value: int) -> Kind:
    if INT64_MIN <= value <= INT64_MAX:
        return Kind.INT
    if value.bit_length() > MAX_DIGITS * 3.3:
        raise UnsupportedValue(f"[{field}]: an integer of more than {MAX_DIGITS} digits cannot be stored.")
    return Kind.BIGINT


def _check_datetime(field: str, value: datetime) -> None:
    if value.utcoffset() is None:
        raise UnsupportedValue(
            f"[{field}]: a datetime without a time zone is ambiguous;"
            " use datetime.now(UTC) or value.replace(tzinfo=UTC)."
        )
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise UnsupportedValue(f"[{field}]: this datetime lies outside the years 1 to 9999 in UTC.") from None


def _check_decimal(field: str, value: Decimal) -> None:
    if not value.is_finite():
        raise UnsupportedValue(f"[{field}]: NaN and infinities cannot be stored.")
    exponent = value.as_tuple().exponent
    if abs(value.adjusted()) > MAX_DIGITS or abs(int(exponent)) > MAX_DIGITS:
        raise UnsupportedValue(f"[{field}]: a Decimal of more than {MAX_DIGITS} digits cannot be stored.")


def _check_json(field: str, path: str, value: Any, depth: int) -> None:
    kind = type(value)
    if kind is str:
        check_text(path, value)
    elif kind is dict or kind is list:
        if depth >= MAX_JSON_DEPTH:
            raise UnsupportedValue(f"[{field}]: JSON nested deeper than {MAX_JSON_DEPTH} levels cannot be stored.")
        for key, item in value.items() if kind is dict else enumerate(value):
            if kind is dict:
                _check_json_key(path, key)
            _check_json(field, f"{path}.{key}", item, depth + 1)
    elif kind is int or kind is float:
        _check_json_number(path, value)
    elif value is not None and kind is not bool:
        raise UnsupportedValue(f"[{path}]: {_refusal(value)} Inside a dict or list only JSON types stay as they are.")


def _check_json_key(path: str, key: Any) -> None:
    if type(key) is not str:
        raise UnsupportedValue(f"[{path}]: the keys of a JSON object are text, not {type(key).__name__}.")
    check_text(path, key)


def _check_json_number(path: str, value: float) -> None:
    if type(value) is int and not INT64_MIN <= value <= INT64_MAX:
        raise UnsupportedValue(f"[{path}]: an integer inside JSON must fit 64 bits.")
    if not math.isfinite(value):
        raise UnsupportedValue(f"[{path}]: NaN and infinities cannot be stored.")


def _refusal(value: Any) -> str:
    kind = type(value)
    for base, advice in _ADVICE.items():
        if isinstance(value, base):
            return f"values of type {kind.__name__} cannot be stored; {advice}."
    for plain in _PLAIN:
        if isinstance(value, plain):
            return f"values of type {kind.__name__} would come back as {plain.__name__}; convert them first."
    return f"values of type {kind.__name__} cannot be stored."
