"""What can be cached comes back equal and of the same type; everything else is refused by name."""

import math
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from app_kernel.cache.values import MOST_TOLD, decode, encode
from app_kernel.core.errors import UncacheableValue


class Colour(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


class Pair(NamedTuple):
    a: int


class Model(BaseModel):
    price: int = 1


@dataclass
class Point:
    x: int


def types_of(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: types_of(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [types_of(inner) for inner in value]
    return type(value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_what_is_json_comes_back_equal_and_of_the_same_types(value: Any) -> None:
    again = decode(encode(value))
    assert again == value
    assert types_of(again) == types_of(value)
    assert math.copysign(1, again) == math.copysign(1, value) if isinstance(value, float) else True


ODD = [
    (1,), {1}, frozenset(), datetime.now(UTC), date(2026, 1, 2), Decimal(1), UUID(int=1), Colour.RED, Number.ONE,
    Text("a"), Pair(1), Point(1), OrderedDict(), b"a", bytearray(), object(), math.nan, math.inf, -math.inf, 2**64,
    -(2**63) - 1, "\ud800", {1: "a"}, {None: 1}, {Colour.RED: 1}, {Text("a"): 1}, {(1,): 1}, {"\ud800": 1},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=[f"{number} {type(odd).__name__}" for number, odd in enumerate(ODD)])
def test_what_json_does_not_give_back_is_refused_wherever_it_is(odd: Any) -> None:
    for value in (odd, [odd], {"rows": [{"at": odd}]}):
        with pytest.raises(UncacheableValue):
            encode(value)


def test_the_error_names_every_field_of_rows_at_once_and_each_of_them_once() -> None:
    row = {"id": "a", "created_at": datetime.now(UTC), "price": Decimal(1), "parts": [{"on": date(2026, 1, 2)}]}
    with pytest.raises(UncacheableValue) as caught:
        encode([row] * 500)
    message = str(caught.value)
    for field in ("['created_at'] is a datetime", "['price'] is a Decimal", "['parts'][0]['on'] is a date"):
        assert f"value[0]{field}" in message
    assert message.count("value[") == 3
    with pytest.raises(UncacheableValue) as caught:
        encode({str(number): (number,) for number in range(100)})
    assert str(caught.value).count("value[") == MOST_TOLD


def test_the_error_says_where_it_is() -> None:
    for value, complaint in [
        ({"rows": [{"at": (1,)}]}, r"value\['rows'\]\[0\]\['at'\] is a tuple"),
        ({"rows": [{2: 1}]}, r"value\['rows'\]\[0\] has a key of type int"),
        ([1, math.nan], r"value\[1\] is nan"),
        (2**64, "64-bit"),
        ({1, 2}, "value is a set"),
    ]:
        with pytest.raises(UncacheableValue, match=complaint):
            encode(value)


@pytest.mark.parametrize(
    ("odd", "instead"),
    [
        (Decimal("1.5"), r"its `str\(\)`"),
        (UUID(int=1), r"its `str\(\)`"),
        (Text("a"), r"its `str\(\)`"),
        (datetime.now(UTC), r"its `isoformat\(\)`"),
        (date(2026, 1, 2), r"its `isoformat\(\)`"),
        (Model(), r"its `model_dump\(mode='json'\)`"),
        (Point(1), r"its `dataclasses.asdict\(\)`"),
        (Pair(1), r"its `_asdict\(\)`"),
        (Colour.RED, "its `.value`"),
        (Number.ONE, "its `.value`"),
        (b"a", "text, such as base64"),
        ({1}, "a list or dict"),
        (object(), "a list, dict or text of it"),
    ],
)
def test_the_error_says_what_can_be_kept_in_its_place(odd: Any, instead: str) -> None:
    with pytest.raises(UncacheableValue, match=rf"value\[0\]\['price'\] is a .*: cache {instead}\.$"):
        encode([{"price": odd}])


def test_a_value_that_holds_itself_or_has_no_end_is_refused() -> None:
    own: list[Any] = []
    own.append(own)
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    for value in (own, deep):
        with pytest.raises(UncacheableValue, match=r"[Rr]ecursion"):
            encode(value)
