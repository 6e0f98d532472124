"""Statements as MySQL is sent them: the values of their parameters written in, each so that it can only be a value.

That holds in sessions with NO_BACKSLASH_ESCAPES, where a quote is the one character that ends a text; the connection
looks at each answer of the server whether it is one.
"""

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from app_kernel.core import clock
from app_kernel.core.errors import InvalidQuery
from app_kernel.db.dialects.mysql_marks import AS_DATE, AS_DATETIME, MARK, THEN, Values

_ODD_FLOAT = re.compile("e", re.IGNORECASE)


def render(sql: str, params: Sequence[Any]) -> str:
    """The text for the server; raises InvalidQuery when the number of params is not that of the marks."""
    texts, slots, count = _parts(sql)
    if len(params) != count:
        raise InvalidQuery("The number of params is not the number of ? in the statement.")
    if not slots:
        return texts[0]
    pieces = [texts[0]]
    for at, (position, form) in enumerate(slots):
        pieces.append(form(params[position]))
        pieces.append(texts[at + 1])
    return "".join(pieces)


def literal(value: Any) -> str:
    """A value as SQL."""
    if value is None:
        return "NULL"
    write = _WRITERS.get(type(value))
    if write is None:
        raise InvalidQuery(f"A parameter of type {type(value).__name__} cannot be written into a statement.")
    return write(value)


@lru_cache(maxsize=2048)
def _parts(sql: str) -> tuple[list[str], list[tuple[int, Callable[[Any], str]]], int]:
    """The text between marks, what stands at each, and the number of parameters."""
    pieces = MARK.split(sql.replace(THEN, "; "))
    slots = [(int(position) - 1, _FORMS[form]) for position, form in zip(pieces[1::3], pieces[2::3], strict=True)]
    return pieces[::3], slots, max((position + 1 for position, _ in slots), default=0)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'" if "'" in value else f"'{value}'"


def _float(value: float) -> str:
    # Without an exponent it would be a decimal number, and rounded.
    text = repr(value)
    return text if _ODD_FLOAT.search(text) else f"{text}e0"


def _datetime(value: Any) -> str:
    if value is None:
        return "NULL"
    text = value if isinstance(value, str) else clock.to_text(value)
    return f"TIMESTAMP{_text(f'{text[:10]} {text[11:26]}')}"


def _date(value: Any) -> str:
    if value is None:
        return "NULL"
    return f"DATE{_text(value if isinstance(value, str) else value.isoformat())}"


_WRITERS: dict[type, Callable[[Any], str]] = {
    str: _text,
    int: str,
    bool: lambda value: "1" if value else "0",
    float: _float,
    Decimal: lambda value: format(value, "f"),
    bytes: lambda value: f"x'{value.hex()}'",
    Values: lambda values: ", ".join(map(literal, values)) or "NULL",
    datetime: _datetime,
    date: _date,
}
_FORMS: dict[str, Callable[[Any], str]] = {"": literal, AS_DATETIME: _datetime, AS_DATE: _date}
