"""Raw SQL in portable spelling: [name] is an identifier, ? a parameter, ?? a literal question mark."""

import re
from functools import lru_cache
from typing import Any

from app_kernel.core.errors import InvalidQuery, UnsupportedValue
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.kinds import INT64_MAX, INT64_MIN, as_kind, check_text, kind_of

_TOKEN = re.compile(
    r"""'(?:[^']|'')*'            # text
      | "(?:[^"]|"")*"            # an identifier as the database quotes it
      | --[^\n]*
      | /\*.*?\*/
      | \[(?P<name>[A-Za-z_][A-Za-z0-9_]*)\]
      | (?P<literal>\?\?)
      | (?P<param>\?)
    """,
    re.VERBOSE | re.DOTALL,
)


@lru_cache(maxsize=512)
def compile_raw(sql: str, dialect: Dialect) -> str:
    """The statement as the database spells it; text, quoted names and comments stay untouched.

    Raises InvalidQuery for text that no database takes.
    """
    try:
        check_text("SQL", sql)
    except UnsupportedValue as exc:
        raise InvalidQuery(exc.message) from None
    position = 0

    def spell(found: re.Match[str]) -> str:
        nonlocal position
        if found["name"]:
            return dialect.quote(found["name"])
        if found["literal"]:
            return "?"
        if found["param"]:
            position += 1
            return dialect.placeholder(position)
        return found[0]

    return _TOKEN.sub(spell, sql)


def encode_raw(value: Any, dialect: Dialect) -> Any:
    """A parameter of a raw statement, stored as a value of its own kind is; raises UnsupportedValue."""
    if value is None:
        return None
    # Statements of many rows are full of these, which every database takes as they are.
    if type(value) is str:
        check_text("param", value)
        return value
    if type(value) is int and INT64_MIN <= value <= INT64_MAX:
        return value
    kind = kind_of("param", value)
    return dialect.encode_raw(kind, as_kind(kind, value))
