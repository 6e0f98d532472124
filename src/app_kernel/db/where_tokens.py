"""The tokens of a where clause, and the way of its params and literals to the driver."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from app_kernel.core import clock
from app_kernel.core.errors import InvalidQuery, UnsupportedValue
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.kinds import INT64_MAX, INT64_MIN, Kind, as_kind, check_text, kind_of, kind_of_type

MAX_TEXT = 20_000
"""Characters of a clause."""
MAX_NAME = 63
"""Bytes of a name; what PostgreSQL keeps."""
MAX_PATTERN = 50_000
"""Bytes of a LIKE pattern; what SQLite takes."""

WORDS = frozenset({"AND", "OR", "NOT", "LIKE", "ILIKE", "IN", "BETWEEN", "IS", "NULL", "TRUE", "FALSE", "ASC", "DESC"})
"""The words of the grammar."""
_FOREIGN_WORDS = """
    ALL ALTER ANALYZE ANY AS ATTACH BEGIN BY CASE CAST COLLATE COMMIT CREATE CROSS CURRENT_DATE CURRENT_TIME
    CURRENT_TIMESTAMP DEFAULT DELETE DETACH DISTINCT DROP ELSE END ESCAPE EXCEPT EXEC EXECUTE EXISTS EXPLAIN FROM FULL
    GLOB GRANT GROUP HAVING INNER INSERT INTERSECT INTO ISNULL JOIN LEFT LIMIT MATCH NATURAL NOTNULL NULLS OFFSET ON
    ORDER OUTER OVER PRAGMA REGEXP REINDEX RETURNING REVOKE RIGHT ROLLBACK SELECT SET SIMILAR SOME TABLE THEN TRUNCATE
    UNION UPDATE USING VACUUM VALUES WHEN WHERE WITH XOR
"""
"""Words of SQL without a meaning here. As names they need brackets, so that a clause never reads as what it is not."""
_RESERVED = WORDS | frozenset(_FOREIGN_WORDS.split())

_PATH = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
_TOKEN = re.compile(
    rf"""[ \t\r\n]*(?:
        (?P<word>{_PATH})
      | (?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{{1,4}})?(?![A-Za-z0-9_.]))
      | (?P<text>'[^']*+(?:''[^']*+)*+')
      | \[(?P<name>{_PATH})\]
      | (?P<comment>--|/\*)
      | (?P<symbol><>|<=|>=|==|!=|[-=<>+*(),?])
      | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_BLANKS = re.compile(r"[ \t\r\n]*")
_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

_REASONS = {
    '"': "Double quotes have no meaning here: text stands in 'single quotes', a name bare or in [brackets].",
    "`": "Backticks have no meaning here: a name stands bare or in [brackets].",
    ";": "A clause is one condition; a second statement is never run.",
    "#": "Comments have no place in a clause.",
    "'": "This text has no closing quote.",
    "[": "A name in brackets is a letter or underscore, then letters, digits and underscores; paths join with a dot.",
    "]": "This bracket was never opened.",
    "$": "A parameter is written as ?.",
    ":": "A parameter is written as ?, and casts are not supported.",
    "@": "A parameter is written as ?.",
}


class Token(NamedTuple):
    """A piece of a clause. `type` is the word or symbol itself, or one of word, name, number, text and end."""

    type: str
    text: str
    at: int


def refusal(text: str, at: int, reason: str) -> InvalidQuery:
    """The error that names the place in a clause: a short excerpt and the character, counted from 1."""
    excerpt = text[at : at + 20]
    place = f"near {excerpt!r}" if excerpt else "at the end"
    return InvalidQuery(f"{reason} ({place}, character {at + 1})")


def tokenize(text: str) -> list[Token]:
    """The tokens of a clause, the last of type `end`; raises InvalidQuery for what is no token."""
    if not isinstance(text, str):
        raise InvalidQuery(f"A clause is text, not {type(text).__name__}.")
    if len(text) > MAX_TEXT:
        raise InvalidQuery(f"A clause has at most {MAX_TEXT} characters, not {len(text)}.")
    if unreadable := _UNREADABLE.search(text):
        raise refusal(text, unreadable.start(), "Control characters and lone surrogates have no place in a clause.")
    tokens = []
    at = 0
    while True:
        found = _TOKEN.match(text, at)
        if found is None:
            raise _not_a_token(text, at)
        token = _token(text, found)
        tokens.append(token)
        if token.type == "end":
            return tokens
        at = found.end()


def _token(text: str, found: re.Match[str]) -> Token:
    group = found.lastgroup or ""
    piece, at = found[group], found.start(group)
    if group == "symbol":
        return Token(piece, piece, at)
    if group == "word":
        upper = piece.upper()
        if upper in WORDS:
            return Token(upper, piece, at)
        first = upper.partition(".")[0]
        if first in _RESERVED:
            raise refusal(text, at, f"{first} has no meaning here; a name like this needs [brackets].")
    elif group == "comment":
        raise refusal(text, at, "Comments have no place in a clause.")
    return Token(group, piece, at)


def _not_a_token(text: str, at: int) -> InvalidQuery:
    blanks = _BLANKS.match(text, at)
    start = blanks.end() if blanks else at
    character = text[start]
    if character.isascii() and character.isdigit():
        return refusal(text, start, "This is no number.")
    return refusal(text, start, _REASONS.get(character, "This character has no meaning here."))


# What compile knows of a value: its kind, None for NULL, the type itself where it cannot be stored; for a list or tuple
# its type with the tags of its items.
Tag = Any

_TAGS: dict[type, Kind | None] = {
    **{
        python_type: kind_of_type(python_type)
        for python_type in (str, float, bool, Decimal, dict, datetime, date, bytes, UUID)
    },
    type(None): None,
}


def signature(params: Sequence[Any]) -> tuple[Tag, ...]:
    """What a compiled clause depends on of its params: their types and, of a list or tuple, those of its items."""
    if not isinstance(params, (tuple, list)):
        raise InvalidQuery(f"params is a tuple or a list, not {type(params).__name__}; one value is (value,).")
    return tuple([value_tag(value) for value in params])


def value_tag(value: Any) -> Tag:
    """The tag of one value."""
    given = type(value)
    if given is int:
        return Kind.INT if INT64_MIN <= value <= INT64_MAX else Kind.BIGINT
    if given is list or given is tuple:
        return given, tuple([Kind.JSON if type(item) is list else value_tag(item) for item in value])
    return _TAGS.get(given, given)


@dataclass(frozen=True, slots=True)
class Slot:
    """One placeholder: where its value comes from and how the driver gets it."""

    kind: Kind
    """What the database is given: the kind of the column or expression it stands beside."""
    encode: Callable[[Any], Any]
    """From the param to what the driver takes; raises InvalidQuery for a value that no row can hold."""
    source: int
    """The position of the param; -1 for a literal of the clause."""
    item: int = -1
    """The position inside a param that is a list or tuple; -1 for the param itself."""
    literal: Any = None
    """A literal as the driver takes it."""
    storage: str = ""
    """How the column that it stands beside holds its kind, where that is not the usual way."""


_BESIDE_NUMBER: dict[Kind, dict[Kind, Kind]] = {
    Kind.INT: {
        Kind.INT: Kind.INT,
        Kind.STR: Kind.INT,  # for [id] alone, as the encoder sees to: an id out of a path is text
        Kind.BOOL: Kind.INT,
        Kind.FLOAT: Kind.FLOAT,
        Kind.BIGINT: Kind.BIGINT,
        Kind.DECIMAL: Kind.DECIMAL,
    },
    Kind.BIGINT: {
        Kind.INT: Kind.BIGINT,
        Kind.BIGINT: Kind.BIGINT,
        Kind.FLOAT: Kind.DECIMAL,
        Kind.DECIMAL: Kind.DECIMAL,
    },
}
_BESIDE_PATH = {kind: kind for kind in (Kind.STR, Kind.INT, Kind.FLOAT, Kind.BOOL, Kind.JSON)} | {
    Kind.BIGINT: Kind.FLOAT
}
_WIDER = {
    frozenset({Kind.INT, Kind.FLOAT}): Kind.FLOAT,
    frozenset({Kind.INT, Kind.BIGINT}): Kind.BIGINT,
    frozenset({Kind.INT, Kind.DECIMAL}): Kind.DECIMAL,
    frozenset({Kind.BIGINT, Kind.DECIMAL}): Kind.DECIMAL,
    frozenset({Kind.STR, Kind.UUID}): Kind.STR,
}


def meeting(left: Kind, right: Kind) -> Kind | None:
    """The kind in which expressions of two kinds compare; None when they do not."""
    if left is right or right is Kind.UNKNOWN:
        return left
    return right if left is Kind.UNKNOWN else _WIDER.get(frozenset({left, right}))


def meeting_value(column: Kind, given: Kind) -> Kind | None:
    """The kind in which a column compares with a value whose type is of the kind `given`; None when they do not."""
    if column is Kind.UNKNOWN:
        return given
    if column in _BESIDE_NUMBER:
        return _BESIDE_NUMBER[column].get(given)
    return column if column is Kind.VARIANT or (column, given) in _CONVERSIONS else None


def meeting_path(given: Kind, *, is_value: bool) -> Kind | None:
    """The kind in which a value inside JSON compares with another value or expression; None when it does not."""
    return None if given is Kind.BIGINT and not is_value else _BESIDE_PATH.get(given)


def type_name(tag: Tag) -> str:
    """A tag as messages name it."""
    if isinstance(tag, tuple):
        return str(tag[0].__name__)
    if isinstance(tag, Kind):
        return {Kind.BIGINT: "int beyond 64 bits", Kind.JSON: "dict or list"}.get(tag, tag.value)
    return "NULL" if tag is None else str(tag.__name__)


def encoder(dialect: Dialect, field: str, kind: Kind, given: Kind, *, pattern: bool = False) -> Callable[[Any], Any]:
    """The way of values of the kind `given` into a slot of `kind`; `meeting_value` allowed the pair."""
    if pattern:
        return _text_encoder(dialect, field, _check_pattern)
    if kind is given is Kind.STR:
        return _text_encoder(dialect, field, check_text)
    if kind is given is Kind.INT and kind not in dialect.encoders:
        return _as_it_is
    if (kind, given) == (Kind.STR, Kind.DATETIME) and field not in _TIMESTAMPS:
        raise InvalidQuery(f"[{field}] holds text, not datetimes; only the kernel's own times compare with both.")
    if (kind, given) == (Kind.INT, Kind.STR) and field != "id":
        raise InvalidQuery(f"[{field}] (int) with a value of type str: they do not compare.")
    convert = _as_it_is if kind is given or kind is Kind.VARIANT else _CONVERSIONS[kind, given]

    def encode(value: Any) -> Any:
        try:
            kind_of(field, value)
            converted = convert(value)
            kind_of(field, converted)
            return dialect.encode(kind, as_kind(kind, converted))
        except UnsupportedValue as problem:
            raise InvalidQuery(problem.message) from None
        except ValueError as problem:
            raise InvalidQuery(f"[{field}]: {problem}") from None

    return encode


_TIMESTAMPS = frozenset({"created_at", "updated_at", "deleted_at", "_at"})
"""Fields whose text the kernel writes, in one form, so that an aware datetime can be put beside it."""


def _text_encoder(dialect: Dialect, field: str, check: Callable[[str, str], None]) -> Callable[[Any], Any]:
    encode = dialect.encoders.get(Kind.STR, _as_it_is)

    def encode_text(value: Any) -> Any:
        try:
            check(field, value)
        except UnsupportedValue as problem:
            raise InvalidQuery(problem.message) from None
        return encode(value)

    return encode_text


def _check_pattern(field: str, value: str) -> None:
    check_text(field, value)
    if len(value.encode()) > MAX_PATTERN:
        raise InvalidQuery(f"[{field}]: a LIKE pattern has at most {MAX_PATTERN} bytes.")
    if (len(value) - len(value.rstrip("\\"))) % 2:
        raise InvalidQuery(f"[{field}]: a LIKE pattern ends in a backslash that escapes nothing; write two of them.")


def _as_it_is(value: Any) -> Any:
    return value


def _to_exact_float(value: int | Decimal) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = 0.0
    if number != value:
        raise ValueError(f"this {type(value).__name__} has no exact float; pass float(value).")
    return number


def _to_whole_number(value: str) -> int:
    number = int(value) if re.fullmatch("-?[0-9]{1,19}", value) else None
    if number is None or not INT64_MIN <= number <= INT64_MAX:
        raise ValueError("this table has whole numbers as ids.")
    return number


def _to_bool(value: int) -> bool:
    if value not in {0, 1}:
        raise ValueError("a bool compares with True, False, 1 and 0 only.")
    return value == 1


def _to_datetime(value: str) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("this text is no ISO 8601 date and time such as 2026-11-22T21:10:04Z.") from None


def _to_date(value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError("this text is no ISO 8601 date such as 2026-11-22.") from None


def _to_uuid_text(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        return value


_CONVERSIONS: dict[tuple[Kind, Kind], Callable[[Any], Any]] = {
    (Kind.STR, Kind.UUID): str,
    (Kind.STR, Kind.DATETIME): clock.to_text,
    (Kind.INT, Kind.BOOL): int,
    (Kind.INT, Kind.STR): _to_whole_number,
    (Kind.BIGINT, Kind.INT): _as_it_is,
    (Kind.FLOAT, Kind.INT): _to_exact_float,
    (Kind.FLOAT, Kind.BIGINT): _to_exact_float,
    (Kind.FLOAT, Kind.DECIMAL): _to_exact_float,
    (Kind.DECIMAL, Kind.INT): Decimal,
    (Kind.DECIMAL, Kind.BIGINT): Decimal,
    (Kind.DECIMAL, Kind.FLOAT): Decimal,
    (Kind.BOOL, Kind.INT): _to_bool,
    (Kind.DATETIME, Kind.STR): _to_datetime,
    (Kind.DATE, Kind.STR): _to_date,
    (Kind.UUID, Kind.STR): _to_uuid_text,
    **{(kind, kind): _as_it_is for kind in Kind if kind not in {Kind.UNKNOWN, Kind.VARIANT}},
}
"""From (kind of the slot, kind of the value's type)."""
