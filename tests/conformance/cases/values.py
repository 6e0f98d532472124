"""Values that come back equal and of the same type, and values that are refused at the door."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, NamedTuple
from uuid import UUID

PLUS_TWO = timezone(timedelta(hours=2))


def nested(levels: int) -> list[Any]:
    """A list in a list in a list ..."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


KEPT: dict[str, Any] = {
    "the empty text": "",
    "a space": " ",
    "text with spaces around": "  padded\t\n ",
    "digits with leading zeros": "007",
    "digits": "5",
    "a number in scientific spelling": "1e3",
    "a number with a point": "1.50",
    "a hexadecimal number": "0x10",
    "text that says null": "null",
    "text that says NULL": "NULL",
    "text that says true": "true",
    "text that says NaN": "NaN",
    "text that looks like JSON": '{"a": [1, 2, {"b": null}]}',
    "text that looks like a list": "[1, 2]",
    "text that looks like a date": "2024-01-01",
    "text that looks like an instant": "2024-01-01T00:00:00.000000Z",
    "text that looks like a UUID": "018f5c2e-7e7b-7cc3-98c4-dc0c0c07398f",
    "text that looks like a large number": "9223372036854775808",
    "quotes and backslashes": """it's "quoted" `so` [and] so \\ \\n %s ? ?? :x $1""",
    "an SQL comment": "x -- y /* z */ ; DROP TABLE things",
    "control characters": "a\x01\x02\x1f\x7f\r\n",
    "an emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽",
    "the last code point": "\U0010ffff",
    "composed text": "caf\u00e9",
    "decomposed text": "cafe\u0301",
    "right to left text": "שלום مرحبا",
    "a byte order mark": "\ufeffx",
    "a noncharacter": "\uffff",
    "a megabyte of text": "x" * 1_000_000,
    "a megabyte of emoji": "🙂" * 250_000,
    "zero": 0,
    "one": 1,
    "a negative int": -1,
    "the last int that a float is exact up to": 2**53,
    "an int that no float can be": 2**53 + 1,
    "the largest 64-bit int": 2**63 - 1,
    "the least 64-bit int": -(2**63),
    "an int just beyond 64 bits": 2**63,
    "an int just below 64 bits": -(2**63) - 1,
    "an unsigned 64-bit int beyond": 2**64,
    "an int of 100 digits": 10**100 + 1,
    "True": True,
    "False": False,
    "0.0": 0.0,
    "a float that is whole": 1.0,
    "a fraction": 0.1,
    "a float with 17 digits": 0.30000000000000004,
    "the largest float": 1.7976931348623157e308,
    "the least float": 5e-324,
    "a large whole float": 1e16,
    "a float beyond 64 bits": 1e20,
    "a negative float": -2.5,
    "Decimal zero": Decimal("0"),
    "a Decimal": Decimal("19.99"),
    "a Decimal with trailing zeros": Decimal("1.500"),
    "a negative Decimal": Decimal("-0.01"),
    "a whole Decimal": Decimal("5"),
    "a Decimal that no float can be": Decimal("0.1000000000000000055511151231257827"),
    "a Decimal of 60 digits": Decimal("123456789012345678901234567890.123456789012345678901234567890"),
    "a Decimal with an exponent": Decimal("1E+30"),
    "a small Decimal": Decimal("1E-30"),
    "an instant in UTC": datetime(2024, 2, 29, 12, 30, 15, 123456, UTC),
    "an instant without a fraction": datetime(2024, 1, 1, tzinfo=UTC),
    "the first instant": datetime(1, 1, 1, tzinfo=UTC),
    "the last instant": datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
    "an instant before 1970": datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
    "a date": date(2024, 2, 29),
    "the first date": date(1, 1, 1),
    "the last date": date(9999, 12, 31),
    "no bytes": b"",
    "bytes": b"\x00\x01\xfe\xff",
    "bytes that are text": b"hello",
    "every byte": bytes(range(256)),
    "a UUID": UUID("018f5c2e-7e7b-7cc3-98c4-dc0c0c07398f"),
    "the nil UUID": UUID(int=0),
    "the empty dict": {},
    "the empty list": [],
    "a dict": {"b": 1, "a": "x", "c": None, "d": True, "e": 1.5},
    "a list": [1, "1", 1.0, True, None, [], {}],
    "nested JSON": {"a": [{"b": {"c": [1, [2, [3, {"d": "é"}]]]}}]},
    "JSON with ints and floats that are equal": [1, 1.0, 0, 0.0, False, True],
    "JSON with the limits of 64 bits": [2**63 - 1, -(2**63), 2**53 + 1],
    "JSON with keys that look like SQL": {"a b": 1, "it's": 2, '"': 3, "": 4, "$": 5, "a.b": 6, "[0]": 7, "?": 8},
    "JSON with text of all sorts": ["", " ", "007", "👍", '"', "\\", "\n"],
    "JSON with a key that variants use": {"$kind": "decimal", "value": "1"},
    "JSON 50 levels deep": nested(50),
}

MOVED_TO_UTC: dict[str, tuple[datetime, datetime]] = {
    "an instant east of Greenwich": (
        datetime(2024, 1, 1, 1, 0, tzinfo=PLUS_TWO),
        datetime(2023, 12, 31, 23, 0, tzinfo=UTC),
    ),
    "an instant west of Greenwich": (
        datetime(2024, 6, 1, 20, 30, 0, 5, tzinfo=timezone(timedelta(hours=-5, minutes=-30))),
        datetime(2024, 6, 2, 2, 0, 0, 5, tzinfo=UTC),
    ),
    "an offset with seconds": (
        datetime(2024, 1, 1, 0, 0, 30, tzinfo=timezone(timedelta(seconds=30))),
        datetime(2024, 1, 1, tzinfo=UTC),
    ),
}

WITHOUT_SIGN: dict[str, float] = {"negative zero": -0.0}


class Color(Enum):
    RED = "red"


class Size(StrEnum):
    BIG = "big"


class Rank(IntEnum):
    FIRST = 1


class Text(str):
    __slots__ = ()


class Pair(NamedTuple):
    a: int
    b: int


class Number(int):
    pass


class Fields(dict[str, Any]):
    pass


ITSELF: list[Any] = []
ITSELF.append(ITSELF)

REFUSED: dict[str, tuple[Any, str]] = {
    "NaN": (float("nan"), "NaN"),
    "infinity": (float("inf"), "infinities"),
    "minus infinity": (float("-inf"), "infinities"),
    "Decimal NaN": (Decimal("NaN"), "NaN"),
    "a signalling NaN": (Decimal("sNaN"), "NaN"),
    "Decimal infinity": (Decimal("-Infinity"), "infinities"),
    "NaN inside JSON": ({"a": [float("nan")]}, "v.a.0"),
    "a naive datetime": (datetime(2024, 1, 1), "datetime.now(UTC)"),  # noqa: DTZ001
    "a naive datetime, told how to fix it": (datetime(2024, 1, 1), "value.replace(tzinfo=UTC)"),  # noqa: DTZ001
    "an instant before the first in UTC": (datetime(1, 1, 1, tzinfo=PLUS_TWO), "1 to 9999"),
    "an instant after the last in UTC": (datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2))), "1 to 9999"),
    "text with NUL": ("a\x00b", "NUL"),
    "a lone surrogate": ("a\ud800b", "surrogate"),
    "NUL inside JSON": ({"a": "\x00"}, "v.a"),
    "NUL in a key of JSON": ({"\x00": 1}, "NUL"),
    "a surrogate inside JSON": (["\udfff"], "v.0"),
    "a surrogate in a key of JSON": ({"\ud800": 1}, "surrogate"),
    "a key of JSON that is no text": ({1: "a"}, "keys"),
    "a key of JSON that is None": ({"a": {None: "a"}}, "v.a"),
    "an int beyond 64 bits inside JSON": ([2**63], "64 bits"),
    "a Decimal inside JSON": ({"price": Decimal("1")}, "v.price"),
    "a datetime inside JSON": ([datetime(2024, 1, 1, tzinfo=UTC)], "v.0"),
    "bytes inside JSON": ([b"x"], "v.0"),
    "a UUID inside JSON": ([UUID(int=1)], "v.0"),
    "a tuple inside JSON": ({"a": (1, 2)}, "use a list"),
    "JSON too deep": (nested(200), "deeper"),
    "JSON that contains itself": (ITSELF, "deeper"),
    "a tuple": ((1, 2), "use a list"),
    "a set": ({1}, "use a list"),
    "a frozenset": (frozenset({1}), "use a list"),
    "a named tuple": (Pair(1, 2), "use a list"),
    "a bytearray": (bytearray(b"x"), "bytes"),
    "a memoryview": (memoryview(b"x"), "bytes"),
    "an Enum": (Color.RED, "Color"),
    "a StrEnum": (Size.BIG, "str"),
    "an IntEnum": (Rank.FIRST, "int"),
    "a subclass of str": (Text("x"), "str"),
    "a subclass of int": (Number(1), "int"),
    "a subclass of dict": (Fields(a=1), "dict"),
    "a complex number": (1j, "complex"),
    "a timedelta": (timedelta(1), "timedelta"),
    "a time": (datetime(2024, 1, 1, tzinfo=UTC).time(), "time"),
    "an object": (object(), "object"),
    "a class": (int, "type"),
    "a function": (len, "builtin"),
    "an int of too many digits": (10**5000, "digits"),
    "a Decimal of too many digits": (Decimal("1E+5000"), "digits"),
    "a Decimal of too many decimal places": (Decimal("1E-5000"), "digits"),
}
