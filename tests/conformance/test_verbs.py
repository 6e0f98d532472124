"""The verbs do what they say, on every backend."""

import re

import pytest

from app_kernel.core import clock
from app_kernel.core.context import acting_as
from tests.conformance.cases import verbs
from tests.conformance.cases.graceful import GRACEFUL
from tests.conformance.cases.histories import HISTORIES
from tests.conformance.steps import check_case, expect_same

TEXT_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
OWNED = {"created_at", "updated_at", "created_by", "updated_by", "deleted_at", "_version"}


@pytest.mark.acceptance("DB5")
@pytest.mark.parametrize("case", [*verbs.SAVES, *verbs.VERSIONS, *verbs.DELETES], ids=str)
async def test_a_write_does_what_it_says(place, case):
    await check_case(place, case)


@pytest.mark.acceptance("DB14")
@pytest.mark.parametrize("case", HISTORIES, ids=str)
async def test_a_history_tells_what_was_done(place, case):
    await check_case(place, case)


@pytest.mark.acceptance("DB15")
@pytest.mark.parametrize("case", GRACEFUL, ids=str)
async def test_a_read_of_what_is_not_there_is_graceful(place, case):
    await check_case(place, case)


@pytest.mark.acceptance("DB14")
async def test_created_by_and_updated_by_follow_the_actor_and_are_unset_for_the_system(db):
    with acting_as("alice"):
        await db.save_entity("notes", {"id": "a", "x": 1})
    with acting_as("bob"), acting_as(None):
        system = await db.save_entity("notes", {"id": "a", "x": 2})
    with acting_as("bob"):
        row = await db.save_entity("notes", {"id": "a", "x": 3})
    assert (system["created_by"], system["updated_by"]) == ("alice", None)
    assert (row["created_by"], row["updated_by"]) == ("alice", "bob")
    rows = await db.find_entities("notes_history", order_by="[_version]")
    assert [(kept["created_by"], kept["updated_by"], kept["_actor"]) for kept in rows] == [
        ("alice", "alice", "alice"),
        ("alice", None, None),
        ("alice", "bob", "bob"),
    ]


async def test_a_row_has_the_fields_that_were_saved_and_the_kernels_own(db):
    row = await db.save_entity("notes", {"x": 1})
    assert set(row) == {"id", "x", *OWNED}
    assert next(iter(row)) == "id"
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", row["id"])
    history = await db.find_entities("notes_history")
    assert set(history[0]) == {*row, "_action", "_at", "_actor", "_comment"}
    assert {name: history[0][name] for name in row} == row


async def test_ids_that_the_store_makes_sort_in_the_order_of_their_making(db):
    made = [(await db.save_entity("notes", {"n": n}))["id"] for n in range(20)]
    assert made == sorted(set(made))


async def test_timestamps_are_utc_text_of_fixed_width_that_sorts(db):
    with clock.frozen() as frozen:
        first = await db.save_entity("notes", {"id": "a", "x": 1})
        frozen.advance(0.5)
        second = await db.save_entity("notes", {"id": "a", "x": 2})
        frozen.advance(1)
        unchanged = await db.save_entity("notes", {"id": "a", "x": 2})
        await db.delete_entity("notes", "a")
        deleted = await db.get_entity("notes", "a", include_deleted=True)
    times = [first["created_at"], second["updated_at"], deleted["deleted_at"]]
    assert all(TEXT_TIME.fullmatch(time) for time in times)
    assert times == sorted(set(times))
    assert first["updated_at"] == first["created_at"] == second["created_at"] == deleted["created_at"]
    assert unchanged["updated_at"] == second["updated_at"]
    assert deleted["updated_at"] == deleted["deleted_at"]
    rows = await db.find_entities("notes_history", order_by="[_version]")
    assert [row["_at"] for row in rows] == times


async def test_results_are_fresh_dicts_that_the_caller_may_change(db):
    given = {"id": "a", "tags": ["x"], "deep": {"a": [1]}}
    saved = await db.save_entity("notes", given)
    saved["tags"].append("y")
    saved["deep"]["a"].append(2)
    saved["new"] = True
    assert given == {"id": "a", "tags": ["x"], "deep": {"a": [1]}}
    first = await db.get_entity("notes", "a")
    assert type(first) is dict
    expect_same((first["tags"], first["deep"]), (["x"], {"a": [1]}))
    first["tags"].clear()
    del first["deep"]
    second, third = await db.get_entity("notes", "a"), (await db.find_entities("notes"))[0]
    third["deep"].clear()
    expect_same((second["tags"], second["deep"]), (["x"], {"a": [1]}))
    assert "new" not in second


async def test_what_is_saved_is_what_the_dict_held_at_the_call(db):
    tags = ["x"]
    entity = {"id": "a", "tags": tags}
    await db.save_entity("notes", entity)
    tags.append("y")
    entity["id"] = "b"
    assert (await db.get_entity("notes", "a"))["tags"] == ["x"]


@pytest.mark.acceptance("DB5")
async def test_a_read_entity_can_be_saved_as_it_is(db):
    await db.save_entity("notes", {"id": "a", "x": 1, "tags": ["x"], "none": None})
    read = await db.get_entity("notes", "a")
    expect_same(await db.save_entity("notes", read), read)
    changed = await db.save_entity("notes", {**read, "x": 2})
    expect_same({**changed, "x": 1, "_version": 1, "updated_at": read["updated_at"]}, read)


async def test_a_deleted_entity_that_was_read_is_not_resurrected_by_saving_it(db):
    from app_kernel.core.errors import EntityDeleted

    await db.save_entity("notes", {"id": "a", "x": 1})
    await db.delete_entity("notes", "a")
    read = await db.get_entity("notes", "a", include_deleted=True)
    for forged in (read, {**read, "deleted_at": None}, {**read, "deleted_at": ""}):
        with pytest.raises(EntityDeleted):
            await db.save_entity("notes", forged)
    assert await db.get_entity("notes", "a") is None
