"""Which names and ids there can be, and that none is taken for another."""

import pytest

from app_kernel.core.errors import InvalidName, ReservedName, UnsupportedValue
from tests.conformance.cases.names import (
    ENTITIES,
    FIELDS,
    HISTORIES,
    IDS,
    KERNELS,
    NEVER_ENTITIES,
    NEVER_FIELDS,
)

VERBS = {
    "save_entity": ({"id": "a", "x": 1},),
    "delete_entity": ("a",),
    "restore_entity": ("a",),
    "get_entity": ("a",),
    "find_entities": (),
    "count_entities": (),
}
WRITES = ("save_entity", "delete_entity", "restore_entity")


async def definitions(db):
    """What the database has been given so far."""
    return await db.execute("SELECT [entity], [field] FROM [kernel_catalog] ORDER BY 1, 2")


@pytest.mark.acceptance("DB1")
@pytest.mark.parametrize("name", ENTITIES)
async def test_an_entity_may_have_this_name(db, name):
    await db.save_entity(name, {"id": "a", "x": 1})
    await db.save_entity(name, {"id": "a", "x": 0.5, "y": None})
    assert (await db.get_entity(name, "a"))["x"] == 0.5
    assert len(await db.find_entities(name, "[x] = ?", (0.5,), "[x] DESC", 5)) == 1
    assert await db.count_entities(f"{name}_history") == 2
    assert await db.delete_entity(name, "a")
    assert (await db.restore_entity(name, "a"))["x"] == 0.5
    assert await db.delete_entity(name, "a", permanent=True, purge_history=True)


@pytest.mark.acceptance("DB1")
@pytest.mark.parametrize("name", FIELDS)
async def test_a_field_and_an_order_may_have_this_name(db, name):
    await db.save_entity("notes", {"id": "a", name: 1})
    await db.save_entity("notes", {"id": "a", name: 2})
    await db.save_entity("notes", {"id": "b", name: 3})
    assert [row["id"] for row in await db.find_entities("notes", order_by=f"[{name}] DESC")] == ["b", "a"]
    await db.save_entity("notes", {"id": "b", name: "text"})
    assert [row[name] for row in await db.find_entities("notes")] == [2, "text"]
    assert len(await db.find_entities("notes", f"[{name}] = ?", (2,))) == 1
    kept = await db.find_entities("notes_history", order_by="[id], [_version]")
    assert [row[name] for row in kept] == [1, 2, 3, "text"]


@pytest.mark.acceptance("DB1")
@pytest.mark.parametrize("name", NEVER_ENTITIES, ids=lambda name: repr(name)[:20])
async def test_no_entity_has_this_name(db, name):
    for verb, arguments in VERBS.items():
        with pytest.raises(InvalidName) as failure:
            await getattr(db, verb)(name, *arguments)
        assert isinstance(failure.value, ValueError)
        assert failure.value.status == 422
        assert await definitions(db) == []


@pytest.mark.acceptance("DB1")
@pytest.mark.parametrize("name", NEVER_FIELDS, ids=lambda name: repr(name)[:20])
async def test_no_field_has_this_name(db, name):
    if not isinstance(name, (list, dict)):
        with pytest.raises(InvalidName):
            await db.save_entity("notes", {"id": "a", "x": 1, name: 1})
        with pytest.raises(InvalidName):
            await db.save_entity("notes", {"id": "a", "x": 1, name: None})
    assert await definitions(db) == []
    assert await db.find_entities("notes") == []


@pytest.mark.acceptance("DB13")
@pytest.mark.parametrize("name", KERNELS)
async def test_the_kernels_own_tables_are_closed_to_the_public_verbs(db, name):
    for verb, arguments in VERBS.items():
        with pytest.raises(ReservedName, match="kernel_"):
            await getattr(db, verb)(name, *arguments)
        assert await definitions(db) == []


@pytest.mark.acceptance("DB13")
@pytest.mark.parametrize("name", HISTORIES)
async def test_a_history_is_not_written(db, name):
    await db.save_entity("widgets", {"id": "a", "x": 1})
    before = await db.find_entities("widgets_history")
    for verb in WRITES:
        with pytest.raises(ReservedName, match="history"):
            await getattr(db, verb)(name, *VERBS[verb])
    with pytest.raises(ReservedName, match="history"):
        await db.delete_entity(name, "a", permanent=True, purge_history=True)
    assert await db.find_entities("widgets_history") == before


@pytest.mark.acceptance("DB13")
async def test_a_history_is_read_and_the_kernels_tables_are_there_all_the_same(db):
    await db.save_entity("widgets", {"id": "a", "x": 1})
    assert len(await db.find_entities("widgets_history")) == 1
    assert await db.count_entities("widgets_history") == 1
    assert len(await definitions(db)) > 0
    assert await db.privileged.count_entities("kernel_nothing") == 0


@pytest.mark.acceptance("DB6")
@pytest.mark.parametrize("id", IDS, ids=lambda id: ascii(id)[:20])
async def test_an_id_is_kept_as_it_is(db, id):
    saved = await db.save_entity("notes", {"id": id, "x": 1})
    assert saved["id"] == id
    assert (await db.get_entity("notes", id))["id"] == id
    assert [row["id"] for row in await db.find_entities("notes", "[id] = ?", (id,))] == [id]
    assert (await db.save_entity("notes", {"id": id, "x": 2}))["_version"] == 2
    assert await db.count_entities("notes_history", "[id] = ?", (id,)) == 2
    assert await db.delete_entity("notes", id)
    assert (await db.restore_entity("notes", id))["id"] == id


@pytest.mark.acceptance("DB6")
async def test_ids_that_look_alike_are_different_entities(db):
    for number, id in enumerate(IDS):
        await db.save_entity("notes", {"id": id, "n": number})
    assert await db.count_entities("notes") == len(IDS)
    for number, id in enumerate(IDS):
        assert (await db.get_entity("notes", id))["n"] == number
    found = [row["id"] for row in await db.find_entities("notes", order_by="[id]")]
    assert found == sorted(IDS, key=str.encode)


@pytest.mark.acceptance("DB6")
@pytest.mark.parametrize("id", ["", "x" * 192, "x" * 255, "x" * 300, "🙂" * 192, "a\x00b", "\ud800"], ids=ascii)
async def test_an_id_that_not_every_backend_can_hold_is_refused(db, id):
    with pytest.raises(UnsupportedValue, match=r"\[id\]"):
        await db.save_entity("notes", {"id": id, "x": 1})
    assert await definitions(db) == []
    await db.save_entity("notes", {"id": "a", "x": 1})
    with pytest.raises(UnsupportedValue, match=r"\[id\]"):
        await db.save_entity("notes", {"id": id, "y": 1})
    assert await db.get_entity("notes", id) is None
    assert "y" not in await db.get_entity("notes", "a")


@pytest.mark.acceptance("DB6")
@pytest.mark.parametrize("other", ["Notes", "NOTES", "nOtEs"])
async def test_an_entity_that_differs_only_in_case_is_refused_by_writes_and_not_there_for_reads(db, other):
    await db.save_entity("notes", {"id": "a", "x": 1})
    with pytest.raises(InvalidName, match="case"):
        await db.save_entity(other, {"id": "a", "x": 2})
    assert await db.get_entity(other, "a") is None
    assert await db.find_entities(other) == []
    assert await db.count_entities(other) == 0
    assert await db.find_entities(f"{other}_history") == []
    assert await db.delete_entity(other, "a", permanent=True) is False
    assert await db.restore_entity(other, "a") is None
    assert (await db.get_entity("notes", "a"))["x"] == 1


@pytest.mark.acceptance("DB6")
@pytest.mark.parametrize("other", ["Name", "NAME", "nAmE", "ID", "Id", "Created_At", "DELETED_AT", "Later"])
async def test_a_field_that_differs_only_in_case_is_refused(db, other):
    await db.save_entity("notes", {"id": "a", "name": "x", "later": None})
    with pytest.raises(InvalidName, match="case"):
        await db.save_entity("notes", {"id": "a", "fresh": 1, other: "y"})
    row = await db.get_entity("notes", "a")
    assert (row["name"], row["_version"], "fresh" in row) == ("x", 1, False)
    assert await db.find_entities("notes", f"[{other}] = ?", ("x",)) == []
    assert len(await db.find_entities("notes", f"[{other}] IS NULL")) == 1


@pytest.mark.acceptance("DB6")
async def test_two_fields_of_one_save_that_differ_only_in_case_are_refused_and_leave_nothing(db):
    for first, second in (("name", "Name"), ("A", "a"), ("id", "ID")):
        with pytest.raises(InvalidName, match="case"):
            await db.save_entity("notes", {first: "x", second: "y"})
    assert await definitions(db) == []
    assert await db.find_entities("notes") == []
