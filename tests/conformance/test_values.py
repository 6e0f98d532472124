"""A value comes back equal and of the same type, or the save fails."""

import math

import pytest

from app_kernel.core.errors import UnsupportedValue
from tests.conformance.cases.values import KEPT, MOVED_TO_UTC, REFUSED, WITHOUT_SIGN
from tests.conformance.steps import expect_same

pytestmark = pytest.mark.acceptance("DB4")


@pytest.mark.parametrize("value", KEPT.values(), ids=KEPT)
async def test_a_value_comes_back_equal_and_of_the_same_type(place, value):
    db = await place.open()
    saved = await db.save_entity("things", {"id": "a", "v": value})
    expect_same(saved["v"], value)
    expect_same((await db.get_entity("things", "a"))["v"], value)
    await place.close()
    db = await place.open()
    expect_same((await db.get_entity("things", "a"))["v"], value)
    expect_same([row["v"] for row in await db.find_entities("things")], [value])
    # The same again is no change.
    again = await db.save_entity("things", {"id": "a", "v": value})
    assert again["_version"] == 1
    expect_same([row["v"] for row in await db.find_entities("things_history")], [value])


@pytest.mark.parametrize("value", KEPT.values(), ids=KEPT)
async def test_a_value_comes_back_also_where_none_came_first(place, value):
    db = await place.open()
    await db.save_entity("things", {"id": "none", "v": None})
    await place.close()
    db = await place.open()
    expect_same((await db.get_entity("things", "none"))["v"], None)
    await db.save_entity("things", {"id": "a", "v": value})
    expect_same((await db.get_entity("things", "a"))["v"], value)
    expect_same((await db.get_entity("things", "none"))["v"], None)
    cleared = await db.save_entity("things", {"id": "a", "v": None})
    expect_same(cleared["v"], None)
    kept = await db.find_entities("things_history", "[id] = ?", ("a",), "[_version]")
    expect_same([row["v"] for row in kept], [value, None])


@pytest.mark.parametrize(("value", "expected"), MOVED_TO_UTC.values(), ids=MOVED_TO_UTC)
async def test_an_instant_with_an_offset_comes_back_as_the_same_instant_in_utc(db, value, expected):
    assert value == expected
    saved = await db.save_entity("things", {"id": "a", "v": value})
    assert (saved["v"], str(saved["v"].tzinfo)) == (expected, "UTC")
    again = await db.save_entity("things", {"id": "a", "v": expected})
    assert again["_version"] == 1


@pytest.mark.parametrize("value", WITHOUT_SIGN.values(), ids=WITHOUT_SIGN)
async def test_the_sign_of_zero_is_not_kept(db, value):
    saved = await db.save_entity("things", {"id": "a", "v": value})
    assert saved["v"] == value
    assert math.copysign(1, saved["v"]) == 1


@pytest.mark.parametrize(("value", "text"), REFUSED.values(), ids=REFUSED)
async def test_a_value_that_cannot_be_kept_is_refused_with_its_field_and_changes_nothing(db, value, text):
    with pytest.raises(UnsupportedValue, match=r"v\b") as failure:
        await db.save_entity("things", {"id": "a", "ok": 1, "v": value})
    assert text in str(failure.value)
    assert isinstance(failure.value, ValueError)
    assert failure.value.status == 422
    assert await db.find_entities("things") == []
    assert await db.execute("SELECT entity FROM kernel_catalog") == []
    await db.save_entity("things", {"id": "a", "v": "before", "other": 1})
    with pytest.raises(UnsupportedValue) as failure:
        await db.save_entity("things", {"id": "a", "other": 2, "v": value})
    assert text in str(failure.value)
    row = await db.get_entity("things", "a")
    assert (row["v"], row["other"], row["_version"]) == ("before", 1, 1)


async def test_every_kind_fits_into_one_entity(db):
    entity = {f"f{number}": value for number, value in enumerate(KEPT.values())}
    saved = await db.save_entity("things", {"id": "all", **entity})
    expect_same({name: saved[name] for name in entity}, entity)
    found = await db.get_entity("things", "all")
    expect_same(found, saved)
    again = await db.save_entity("things", found)
    expect_same(again, saved)
