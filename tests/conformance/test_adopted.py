"""Tables that the application made itself are entities, and nothing in them is changed or dropped."""

import pytest

from app_kernel.core.errors import ConstraintViolation, MissingValue, UniqueViolation
from tests.conformance.cases import adopted, adopted_kinds
from tests.conformance.steps import check_case, spell


@pytest.mark.parametrize("case", adopted.SHAPES, ids=str)
async def test_a_table_of_the_applications_is_adopted(place, case):
    await check_case(place, case)


@pytest.mark.parametrize("case", adopted.SERIALS, ids=str)
async def test_an_integer_id_stays_an_integer(place, case):
    await check_case(place, case)


@pytest.mark.parametrize("case", adopted.CONSTRAINTS, ids=str)
async def test_a_constraint_is_respected_and_named(place, case):
    await check_case(place, case)


@pytest.mark.acceptance("DB4")
@pytest.mark.parametrize("case", adopted_kinds.KINDS, ids=str)
async def test_the_kind_of_an_adopted_column_is_learned(place, case):
    await check_case(place, case)


async def test_a_violated_constraint_says_its_field_and_its_status(db, place):
    await db.execute(spell("CREATE TABLE [own] ([id] {key}, [name] {text} NOT NULL UNIQUE)", place.words))
    await db.save_entity("own", {"id": "a", "name": "x"})
    with pytest.raises(UniqueViolation) as twice:
        await db.save_entity("own", {"id": "b", "name": "x"})
    with pytest.raises(MissingValue) as missing:
        await db.save_entity("own", {"id": "b"})
    assert (twice.value.field, twice.value.status) == ("name", 409)
    assert (missing.value.field, missing.value.status) == ("name", 422)
    assert isinstance(twice.value, ConstraintViolation)
    for failure in (twice, missing):
        assert "x" not in failure.value.message.split()
        assert "INSERT" not in failure.value.message


async def test_the_same_table_is_adopted_by_two_handles_at_once(place):
    one, other = await place.open(), await place.open()
    await one.execute(spell("CREATE TABLE [own] ([id] {key}, [name] {text})", place.words))
    await one.execute("INSERT INTO [own] VALUES ('a', 'x')")
    assert (await other.get_entity("own", "a"))["name"] == "x"
    assert (await one.save_entity("own", {"id": "a", "name": "y"}))["_version"] == 2
    assert (await other.save_entity("own", {"id": "a", "name": "z", "more": 1}))["_version"] == 3
    assert (await one.get_entity("own", "a"))["more"] == 1
