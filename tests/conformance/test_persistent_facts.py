"""A read that the database refuses again and again, for what the store does not know, ends with an error."""

import asyncio

import pytest

from app_kernel.core.errors import Unavailable
from app_kernel.db.errors import MissingColumn, SchemaStale


async def _walked(db):
    return [row async for row in db.iterate_entities("notes")]


READS = {
    "get": lambda db: db.get_entity("notes", "a"),
    "get as of": lambda db: db.get_entity("notes", "a", as_of="2999-01-01T00:00:00Z"),
    "find": lambda db: db.find_entities("notes"),
    "find as of": lambda db: db.find_entities("notes", as_of="2999-01-01T00:00:00Z"),
    "count": lambda db: db.count_entities("notes"),
    "get many": lambda db: db.get_entities("notes", ["a"]),
    "walk": _walked,
    "history": lambda db: db.get_entity_history("notes", "a"),
    "version": lambda db: db.get_entity_version("notes", "a", 1),
    "revert": lambda db: db.revert("notes", "a", 1),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize(
    ("fact", "sentence"), [(MissingColumn("no such column: gone"), "gone"), (SchemaStale(), "kept changing")], ids=str
)
async def test_a_read_that_is_refused_again_and_again_ends_with_a_sentence(db, monkeypatch, read, fact, sentence):
    await db.save_entity("notes", {"id": "a", "x": 1})
    fetch = db._driver.fetch

    async def refused(sql, params, **kwargs):
        if 'FROM "notes' in sql:
            await asyncio.sleep(0)
            raise fact
        return await fetch(sql, params, **kwargs)

    monkeypatch.setattr(db._driver, "fetch", refused)
    async with asyncio.timeout(20):
        with pytest.raises(Unavailable, match=sentence):
            await READS[read](db)
    monkeypatch.undo()
    assert await READS[read](db)


async def test_a_schema_that_never_stands_still_ends_a_read_with_a_sentence(db, monkeypatch):
    await db.save_entity("notes", {"id": "a", "x": 1})
    driver, fetch = db._driver, db._driver.fetch

    async def moving(sql, params, **kwargs):
        rows = await fetch(sql, params, **kwargs)
        driver.generation += 1
        await asyncio.sleep(0)
        return rows

    monkeypatch.setattr(driver, "fetch", moving)
    async with asyncio.timeout(60 if db.backend == "mysql" else 20):
        for read in READS.values():
            with pytest.raises(Unavailable, match="kept changing"):
                await read(db)
