"""Several handles and processes work on one database: each sees at its next verb what another one changed."""

import asyncio
import json

import pytest

from app_kernel.core.errors import VersionConflict
from tests.conformance.processes import Process
from tests.conformance.steps import expect_same


class Other(Process):
    """Another process, which is asked for verbs."""

    async def ask(self, verb, *args):
        self.tell(json.dumps([verb, args]).encode() + b"\n")
        return json.loads(await self.said())


async def other_process(place):
    return await Other().start("other_process", place.url)


async def test_a_table_made_by_another_handle_is_seen_by_the_next_verb_of_any_kind(place):
    one, other = await place.open(), await place.open()
    for number, read in enumerate(
        (
            lambda name: other.get_entity(name, "a"),
            other.find_entities,
            lambda name: other.find_entities(name, "[x] = ?", (1,)),
            lambda name: other.find_entities(f"{name}_history"),
            other.count_entities,
            lambda name: other.delete_entity(name, "a"),
        )
    ):
        name = f"notes{number}"
        assert not await read(name)
        await one.save_entity(name, {"id": "a", "x": 1})
        assert await read(name)


async def test_a_column_made_by_another_handle_is_seen_by_the_next_verb_of_any_kind(place):
    one, other = await place.open(), await place.open()
    await one.save_entity("notes", {"id": "a", "x": 1})
    assert (await other.get_entity("notes", "a"))["x"] == 1
    await one.save_entity("notes", {"id": "a", "by_get": 1})
    assert (await other.get_entity("notes", "a"))["by_get"] == 1
    await one.save_entity("notes", {"id": "a", "by_find": 1})
    assert (await other.find_entities("notes"))[0]["by_find"] == 1
    await one.save_entity("notes", {"id": "a", "by_where": 1})
    assert await other.count_entities("notes", "[by_where] = ?", (1,)) == 1
    await one.save_entity("notes", {"id": "a", "by_order": 1})
    assert (await other.find_entities("notes", order_by="[by_order]"))[0]["by_order"] == 1
    await one.save_entity("notes", {"id": "a", "by_save": 1})
    assert (await other.save_entity("notes", {"id": "a", "x": 2}))["by_save"] == 1
    await one.save_entity("notes", {"id": "a", "by_restore": 1})
    assert await other.delete_entity("notes", "a")
    assert (await other.restore_entity("notes", "a"))["by_restore"] == 1
    kept = await other.find_entities("notes_history", order_by="[_version] DESC", limit=1)
    assert kept[0]["by_restore"] == 1


async def test_a_kind_changed_by_another_handle_is_seen_by_the_next_verb(place):
    one, other = await place.open(), await place.open()
    await one.save_entity("notes", {"id": "a", "v": 5})
    expect_same((await other.get_entity("notes", "a"))["v"], 5)
    await one.save_entity("notes", {"id": "b", "v": 0.5})
    expect_same((await other.get_entity("notes", "a"))["v"], 5.0)
    expect_same((await other.save_entity("notes", {"id": "c", "v": 7}))["v"], 7.0)
    await one.save_entity("notes", {"id": "d", "v": "text"})
    expect_same((await other.save_entity("notes", {"id": "e", "v": True}))["v"], True)
    found = await other.find_entities("notes", "[v] = ?", ("text",))
    assert [row["id"] for row in found] == ["d"]
    expect_same((await one.get_entity("notes", "e"))["v"], True)


async def test_rows_of_another_handle_are_read_at_once(place):
    one, other = await place.open(), await place.open()
    for number in range(20):
        writer, reader = (one, other) if number % 2 else (other, one)
        await writer.save_entity("notes", {"id": "a", "n": number})
        assert (await reader.get_entity("notes", "a"))["n"] == number
    assert await one.delete_entity("notes", "a")
    assert await other.get_entity("notes", "a") is None


@pytest.mark.acceptance("DB8")
async def test_one_new_entity_saved_first_by_twenty_tasks_of_two_handles_has_the_union_of_their_fields(place):
    handles = [await place.open(), await place.open()]
    tasks = 20
    saves = (
        handles[number % 2].save_entity("notes", {"id": str(number), f"f{number}": number, "shared": number})
        for number in range(tasks)
    )
    saved = await asyncio.gather(*saves)
    assert [row[f"f{number}"] for number, row in enumerate(saved)] == list(range(tasks))
    for db in (*handles, await place.open()):
        rows = await db.find_entities("notes", order_by="[shared]")
        assert [row[f"f{number}"] for number, row in enumerate(rows)] == list(range(tasks))
        assert all({f"f{number}" for number in range(tasks)} <= set(row) for row in rows)
        assert await db.count_entities("notes_history") == tasks


@pytest.mark.acceptance("DB8")
async def test_twenty_new_columns_of_one_row_added_at_once_are_all_there(place):
    handles = [await place.open(), await place.open()]
    await handles[0].save_entity("notes", {"id": "a"})
    await asyncio.gather(
        *(handles[number % 2].save_entity("notes", {"id": "a", f"f{number}": [number]}) for number in range(20))
    )
    row = await handles[1].get_entity("notes", "a")
    assert [row[f"f{number}"] for number in range(20)] == [[number] for number in range(20)]
    assert row["_version"] == 21


async def test_kinds_changed_at_once_by_two_handles_keep_every_value(place):
    handles = [await place.open(), await place.open()]
    values = [5, "007", 0.5, True, None, {"a": 1}, b"x", 2**63, [1], "5", 7, 1.0]
    await asyncio.gather(
        *(handles[at % 2].save_entity("notes", {"id": f"{at:02}", "v": value}) for at, value in enumerate(values))
    )
    rows = await handles[0].find_entities("notes", order_by="[id]")
    assert [row["v"] for row in rows] == values
    assert [type(row["v"]) for row in rows if row["v"] not in (5, 7)] == [
        type(value) for value in values if value not in (5, 7)
    ]


async def test_many_updates_of_one_row_are_all_counted(place):
    handles = [await place.open(), await place.open()]
    await handles[0].save_entity("notes", {"id": "a", "n": -1})
    await asyncio.gather(*(handles[n % 2].save_entity("notes", {"id": "a", "n": n}) for n in range(40)))
    assert (await handles[0].get_entity("notes", "a"))["_version"] == 41
    kept = await handles[1].find_entities("notes_history", order_by="[_version]")
    assert [row["_version"] for row in kept] == list(range(1, 42))
    assert sorted(row["n"] for row in kept) == list(range(-1, 40))


async def test_of_many_saves_that_expect_one_version_one_wins(place):
    handles = [await place.open(), await place.open()]
    await handles[0].save_entity("notes", {"id": "a", "n": -1})
    saves = (handles[n % 2].save_entity("notes", {"id": "a", "n": n}, expected_version=1) for n in range(20))
    done = await asyncio.gather(*saves, return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == sorted(["dict", *[VersionConflict.__name__] * 19])
    assert (await handles[1].get_entity("notes", "a"))["_version"] == 2


@pytest.mark.acceptance("DB8")
async def test_another_process_and_this_one_see_each_others_tables_columns_and_kinds(place):
    db, other = await place.open(), await other_process(place)
    assert await other.ask("get_entity", "notes", "a") is None
    await db.save_entity("notes", {"id": "a", "x": 5})
    assert (await other.ask("get_entity", "notes", "a"))["x"] == 5
    assert (await other.ask("save_entity", "notes", {"id": "a", "y": "new"}))["_version"] == 2
    assert (await db.get_entity("notes", "a"))["y"] == "new"
    assert (await other.ask("save_entity", "notes", {"id": "b", "x": 0.5}))["x"] == 0.5
    expect_same((await db.get_entity("notes", "a"))["x"], 5.0)
    await db.save_entity("notes", {"id": "c", "x": "text"})
    assert [row["x"] for row in await other.ask("find_entities", "notes", None, None, "[id]")] == [5.0, 0.5, "text"]
    assert await other.ask("find_entities", "papers") == []
    await db.save_entity("papers", {"id": "p", "z": [1]})
    assert (await other.ask("save_entity", "papers", {"id": "p", "z": [2]}))["_version"] == 2
    assert (await db.get_entity("papers", "p"))["z"] == [2]
    assert await other.stop() == 0


@pytest.mark.acceptance("DB8")
@pytest.mark.slow
async def test_processes_that_start_at_once_on_a_new_database_make_it_together(place):
    await place.start_anew()
    others = await asyncio.gather(*(other_process(place) for _ in range(4)))
    rows = await asyncio.gather(
        *(each.ask("save_entity", "notes", {"id": str(at), f"f{at}": at}) for at, each in enumerate(others))
    )
    assert [row["_version"] for row in rows] == [1] * 4
    db = await place.open()
    found = await db.find_entities("notes", order_by="[id]")
    assert [row[f"f{at}"] for at, row in enumerate(found)] == list(range(4))
    assert await asyncio.gather(*(each.stop() for each in others)) == [0] * 4
