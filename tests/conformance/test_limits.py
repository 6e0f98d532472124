"""A database does not grow without end: what is one too many is refused, and leaves nothing behind."""

import pytest

from app_kernel.core.errors import SchemaLimit
from app_kernel.db.schema import Schema
from app_kernel.db.store import Store
from app_kernel.db.transactions import scope_outside
from tests.faults.figures import figure


def limited(db, **limits):
    """A handle on the same database with small limits."""
    return Store(db._driver, outside=scope_outside(db._driver, Schema(db._driver, **limits), ()))


@pytest.mark.acceptance("DB1")
async def test_one_entity_too_many_is_refused_with_the_limit(db):
    few = limited(db, max_entities=3)
    for number in range(3):
        await few.save_entity(f"notes{number}", {"id": "a", "x": 1})
    for number in range(3, 9):
        with pytest.raises(SchemaLimit, match="3 entities"):
            await few.save_entity(f"notes{number}", {"id": "a", "x": 1})
        assert await few.find_entities(f"notes{number}") == []
    assert (await few.save_entity("notes0", {"id": "a", "y": 2}))["y"] == 2
    assert (await few.save_entity("notes2", {"id": "b"}))["_version"] == 1
    names = {row["entity"] for row in await db.execute("SELECT [entity] FROM [kernel_catalog]")}
    assert names == {"notes0", "notes1", "notes2"}


@pytest.mark.acceptance("DB1")
async def test_one_field_too_many_is_refused_with_the_limit(db):
    few = limited(db, max_fields=12)
    saved = await few.save_entity("notes", {"id": "a"})
    room = 12 - len(saved)
    await few.save_entity("notes", {"id": "a", **{f"f{number}": number for number in range(room)}})
    with pytest.raises(SchemaLimit, match="12 fields"):
        await few.save_entity("notes", {"id": "a", "one": 1})
    with pytest.raises(SchemaLimit, match="12 fields"):
        await few.save_entity("notes", {"id": "a", "f0": 7, "none": None})
    row = await few.save_entity("notes", {"id": "a", "f0": 8})
    assert (row["f0"], "one" in row, "none" in row, row["_version"]) == (8, False, False, 3)


@pytest.mark.acceptance("DB1")
async def test_an_entity_with_a_thousand_fields_is_refused_and_leaves_nothing(db):
    with pytest.raises(SchemaLimit, match="fields"):
        await db.save_entity("notes", {f"f{number}": number for number in range(1000)})
    assert await db.find_entities("notes") == []
    assert await db.execute("SELECT [entity] FROM [kernel_catalog]") == []
    assert (await db.save_entity("notes", {"f0": 1}))["f0"] == 1


async def test_an_entity_with_hundreds_of_fields_is_kept(db):
    fields = {f"f{number}": number for number in range(400)}
    saved = await db.save_entity("notes", {"id": "a", **fields})
    assert {name: saved[name] for name in fields} == fields
    changed = await db.save_entity("notes", {"id": "a", **{name: -value for name, value in fields.items()}})
    assert changed["f399"] == -399
    assert await db.count_entities("notes_history", "[f399] IS NOT NULL") == 2


@pytest.mark.acceptance("DB1")
@pytest.mark.soak
async def test_reading_thousands_of_names_makes_nothing_and_keeps_little(db):
    for number in range(figure(short=700 if db.backend == "mysql" else 2_000, long=10_000)):
        assert await db.get_entity(f"nothing{number}", "a") is None
    assert await db.execute("SELECT [entity] FROM [kernel_catalog]") == []
    assert len(db._outside.schema._tables) <= 20_000


async def test_the_statements_kept_for_an_entity_have_an_end(db):
    await db.save_entity("notes", {"id": "a", **{f"f{number}": 0 for number in range(11)}})
    for number in range(1, 2048):
        fields = {f"f{bit}": number for bit in range(11) if number >> bit & 1}
        await db.save_entity("notes", {"id": "a", **fields})
    assert len(db._outside.schema.known("notes").statements) <= 1100
    assert (await db.get_entity("notes", "a"))["f10"] == 2047
