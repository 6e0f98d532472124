"""The kind of a value, what kinds become together, and that any value comes back as it was."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app_kernel.core.errors import UnsupportedValue
from app_kernel.db import connect, jsontext
from app_kernel.db.kinds import Kind, as_kind, kind_of, kind_of_type, merged

SAMPLES = {
    Kind.STR: "x",
    Kind.INT: 5,
    Kind.BIGINT: 2**63,
    Kind.FLOAT: 1.5,
    Kind.BOOL: True,
    Kind.DECIMAL: Decimal("1.5"),
    Kind.JSON: {"a": 1},
    Kind.DATETIME: datetime(2024, 1, 1, tzinfo=UTC),
    Kind.DATE: date(2024, 1, 1),
    Kind.BYTES: b"x",
    Kind.UUID: UUID(int=1),
}

MERGED = [
    (Kind.UNKNOWN, Kind.STR, "x", Kind.STR),
    (Kind.INT, Kind.FLOAT, 1.5, Kind.FLOAT),
    (Kind.FLOAT, Kind.INT, 2**53, Kind.FLOAT),
    (Kind.FLOAT, Kind.INT, -(2**53), Kind.FLOAT),
    (Kind.FLOAT, Kind.INT, 2**53 + 1, Kind.VARIANT),
    (Kind.FLOAT, Kind.INT, -(2**53) - 1, Kind.VARIANT),
    (Kind.FLOAT, Kind.BIGINT, 2**63, Kind.VARIANT),
    (Kind.INT, Kind.BIGINT, 2**63, Kind.BIGINT),
    (Kind.BIGINT, Kind.INT, 5, Kind.BIGINT),
    (Kind.INT, Kind.DECIMAL, Decimal(1), Kind.DECIMAL),
    (Kind.DECIMAL, Kind.INT, 5, Kind.DECIMAL),
    (Kind.DECIMAL, Kind.BIGINT, 2**63, Kind.DECIMAL),
    (Kind.DECIMAL, Kind.FLOAT, 1.5, Kind.VARIANT),
    (Kind.FLOAT, Kind.DECIMAL, Decimal(1), Kind.VARIANT),
    (Kind.INT, Kind.BOOL, True, Kind.VARIANT),
    (Kind.BOOL, Kind.INT, 1, Kind.VARIANT),
    (Kind.STR, Kind.UUID, UUID(int=1), Kind.VARIANT),
    (Kind.DATETIME, Kind.DATE, date(2024, 1, 1), Kind.VARIANT),
    (Kind.VARIANT, Kind.INT, 1, Kind.VARIANT),
]


@pytest.mark.parametrize("kind", SAMPLES)
def test_every_type_has_one_kind(kind):
    value = SAMPLES[kind]
    assert kind_of("f", value) is kind
    assert merged(kind, kind, value) is kind
    assert as_kind(kind, value) == value
    if kind is not Kind.BIGINT:
        assert kind_of_type(type(value)) is kind


@pytest.mark.parametrize(("column", "kind", "value", "expected"), MERGED)
def test_kinds_become_together(column, kind, value, expected):
    assert merged(column, kind, value) is expected


@pytest.mark.parametrize("unknown", [tuple, set, object, complex, type(None)])
def test_a_type_that_cannot_be_stored_has_no_kind(unknown):
    with pytest.raises(UnsupportedValue, match=unknown.__name__):
        kind_of_type(unknown)


@pytest.mark.parametrize("value", [*SAMPLES.values(), {"$kind": "int"}, {"$kind": "x", "value": 1}, [], "", 0, False])
def test_a_variant_remembers_the_kind_of_its_value(value):
    read = jsontext.load_variant(jsontext.dump_variant(value))
    assert (read, type(read)) == (value, type(value))


def test_equal_json_is_equal_text():
    assert jsontext.dump({"b": 1, "a": {"d": 1, "c": 2}}) == jsontext.dump({"a": {"c": 2, "d": 1}, "b": 1})


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
int64 = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | int64 | floats | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
VALUES = {
    "text": text,
    "int": int64,
    "large int": st.integers(-(10**60), 10**60),
    "float": floats.map(lambda value: value + 0.0),
    "bool": st.booleans(),
    "Decimal": st.decimals(allow_nan=False, allow_infinity=False, places=None).filter(
        lambda d: abs(d.adjusted()) < 900
    ),
    "dict": st.dictionaries(text, json_values, max_size=4),
    "list": st.lists(json_values, max_size=4),
    "datetime": st.datetimes(timezones=st.just(UTC)),
    "date": st.dates(),
    "bytes": st.binary(max_size=60),
    "UUID": st.uuids(),
}
ANY_VALUE = st.one_of(*VALUES.values())


QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.acceptance("DB4")
@pytest.mark.parametrize("kind", VALUES)
async def test_any_value_of_a_kind_comes_back_equal_and_of_the_same_type(kind):
    @QUICK
    @given(st.lists(VALUES[kind], min_size=1, max_size=8))
    async def check_all(values):
        async with connect("sqlite://:memory:") as db:
            for number, value in enumerate(values):
                await db.save_entity("things", {"id": str(number), f"v{number}": value})
                read = (await db.get_entity("things", str(number)))[f"v{number}"]
                assert (read, type(read)) == (value, type(value))

    await run_inside(check_all)


@pytest.mark.acceptance("DB4")
async def test_any_values_that_meet_in_one_field_come_back_equal():
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(ANY_VALUE, min_size=2, max_size=5))
    @example([5, 1.5, True])
    @example([2**53 + 1, 0.5])
    @example([2**53, 0.5, 2**53 + 1])
    @example([1, Decimal("0.1"), 0.1])
    async def check_all(values):
        async with connect("sqlite://:memory:") as db:
            for number, value in enumerate(values):
                await db.save_entity("things", {"id": str(number), "v": value})
            for number, value in enumerate(values):
                read = (await db.get_entity("things", str(number)))["v"]
                assert read == value
                assert type(read) is type(value) or {type(read), type(value)} <= {int, float, Decimal}
                assert await db.count_entities("things", "[v] = ? AND [id] = ?", (read, str(number))) == 1

    await run_inside(check_all)


async def run_inside(check):
    """Runs a hypothesis test of a coroutine; its examples run in a thread, each in a loop of its own."""
    import asyncio

    inner = check.hypothesis.inner_test
    check.hypothesis.inner_test = lambda *args, **kwargs: asyncio.run(inner(*args, **kwargs))
    await asyncio.to_thread(check)


@pytest.mark.acceptance("DB4")
@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.timezones()))  # noqa: DTZ001
@settings(max_examples=100, deadline=None)
def test_any_instant_is_read_as_the_same_instant_in_utc(value):
    stored = as_kind(Kind.DATETIME, value)
    # Python calls times in an hour that a zone repeats unequal to every time in another zone (PEP 495).
    assert stored.timestamp() == value.timestamp()
    assert stored.tzinfo is UTC
