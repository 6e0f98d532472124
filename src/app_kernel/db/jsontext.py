"""JSON text as columns hold it: canonical, so that equal values are equal text."""

import base64
import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from app_kernel.core import clock
from app_kernel.db.kinds import Kind, kind_of

_OPTIONS = orjson.OPT_SORT_KEYS
_TAG = "$kind"
"""Marks a value inside a variant column whose kind JSON does not have."""


def dump(value: Any) -> str:
    """A checked JSON value as text with sorted keys."""
    return orjson.dumps(value, option=_OPTIONS).decode()


def dump_plain(value: Any) -> str:
    """As `dump`, with floats that need no exponent to be told from integers, and without a sign before zero.

    PostgreSQL keeps the digits of a number inside jsonb, not its spelling: of 1e17 it makes 100000000000000000, an
    integer; 100000000000000000.0 stays a float.
    """
    return plain(dump(value))


def plain(text: str) -> str:
    """Text of `dump` as `dump_plain` makes it of the same value."""
    return _PIECES.sub(_plain_number, text) if _ODD_NUMBER.search(text) else text


_ODD_NUMBER = re.compile(r"[0-9]e[-+0-9]|-0\.0")
_PIECES = re.compile(r"""("(?:[^"\\]|\\.)*+")|-?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?""")
"""Text, which is left alone, and numbers."""


def _plain_number(found: re.Match[str]) -> str:
    piece = found[0]
    if found[1] is not None:
        return piece
    if piece == "-0.0":
        return "0.0"
    if "e" not in piece:
        return piece
    digits = format(Decimal(piece), "f")
    return digits if "." in digits else f"{digits}.0"


def load(text: str) -> Any:
    """The value of JSON text; raises ValueError when it is none."""
    return orjson.loads(text)


def dump_variant(value: Any) -> str:
    """A value of any kind as text that remembers its kind; equal values of one kind are equal text."""
    kind = kind_of("value", value)
    if kind in _TO_TEXT:
        return dump({_TAG: kind.value, "value": _TO_TEXT[kind](value)})
    if type(value) is dict and _TAG in value:
        return dump({_TAG: Kind.JSON.value, "value": value})
    return dump(value)


def load_variant(text: str) -> Any:
    """The value that `dump_variant` wrote."""
    value = orjson.loads(text)
    if type(value) is dict and _TAG in value:
        kind, inner = Kind(value[_TAG]), value["value"]
        return inner if kind is Kind.JSON else _FROM_TEXT[kind](inner)
    return value


_TO_TEXT: dict[Kind, Callable[[Any], str]] = {
    Kind.BIGINT: str,
    Kind.DECIMAL: lambda value: format(value, "f"),
    Kind.DATETIME: clock.to_text,
    Kind.DATE: date.isoformat,
    Kind.BYTES: lambda value: base64.b64encode(value).decode(),
    Kind.UUID: str,
}

_FROM_TEXT: dict[Kind, Callable[[str], Any]] = {
    Kind.BIGINT: int,
    Kind.DECIMAL: Decimal,
    Kind.DATETIME: datetime.fromisoformat,
    Kind.DATE: date.fromisoformat,
    Kind.BYTES: base64.b64decode,
    Kind.UUID: UUID,
}
