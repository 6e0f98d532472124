"""What only PostgreSQL does: it builds indexes while others write, and has a type for UUIDs."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app_kernel.core.errors import UniqueViolation
from tests.conformance.backends import BACKENDS, Place

VALID = "SELECT i.indisvalid FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid WHERE c.relname = ?"


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with BACKENDS["postgres"]() as fresh:
        yield fresh


async def test_an_index_that_a_build_left_unfinished_is_built_again(place):
    db = await place.open()
    await db.save_entities("people", [{"id": "a", "email": "x"}, {"id": "b", "email": "x"}])
    sql = "CREATE UNIQUE INDEX CONCURRENTLY [ux_people_email] ON [people] ([email]) WHERE [deleted_at] IS NULL"
    with pytest.raises(UniqueViolation):
        await db.execute(sql)
    assert await db.execute(VALID, ("ux_people_email",)) == [(False,)]
    with pytest.raises(UniqueViolation, match="already"):
        await db.ensure_index("people", ["email"], unique=True)
    assert await db.execute(VALID, ("ux_people_email",)) == []
    with pytest.raises(UniqueViolation):
        await db.execute(sql)
    await db.save_entity("people", {"id": "b", "email": "y"})
    await db.ensure_index("people", ["email"], unique=True)
    assert await db.execute(VALID, ("ux_people_email",)) == [(True,)]


async def test_inside_a_transaction_the_unfinished_index_is_replaced_too(place):
    db = await place.open()
    await db.save_entities("people", [{"id": "a", "email": "x"}, {"id": "b", "email": "x"}])
    with pytest.raises(UniqueViolation):
        await db.execute("CREATE UNIQUE INDEX CONCURRENTLY [ux_people_email] ON [people] ([email])")
    await db.delete_entity("people", "a")
    async with db.transaction():
        await db.ensure_index("people", ["email"], unique=True)
    assert await db.execute(VALID, ("ux_people_email",)) == [(True,)]


async def test_many_handles_that_build_many_indexes_at_once_all_succeed(place):
    handles = [await place.open() for _ in range(3)]
    fields = {f"f{number}": int for number in range(4)}
    await handles[0].ensure_fields("people", fields)
    await handles[0].save_entities("people", [dict.fromkeys(fields, number) for number in range(500)])
    await asyncio.gather(*(handle.ensure_index("people", [field]) for handle in handles for field in fields))
    for field in fields:
        assert await handles[0].execute(VALID, (f"ix_people_{field}",)) == [(True,)]


async def test_a_transaction_that_is_open_meanwhile_delays_the_index_and_nobody_else(place):
    db, other = await place.open(), await place.open()
    await db.save_entities("people", [{"email": f"{number}@x"} for number in range(10)])
    async with other.transaction():
        await other.save_entity("people", {"email": "open@x"})
        build = asyncio.create_task(_build(place))
        while not await db.execute("SELECT 1 FROM pg_stat_activity WHERE [query] LIKE 'CREATE INDEX CONC%'"):
            assert not build.done()
        await db.save_entity("people", {"email": "meanwhile@x"})
        assert not build.done()
    await build
    assert await db.execute(VALID, ("ix_people_email",)) == [(True,)]
    assert await db.count_entities("people") == 12


async def _build(place):
    handle = await place.open()
    await handle.ensure_index("people", ["email"])


async def test_uuids_of_an_applications_own_table_are_found_however_they_are_spelled(place):
    db = await place.open()
    await db.execute("CREATE TABLE [papers] ([id] uuid PRIMARY KEY, [t] text)")
    ids = [f"0000000{number}-aaaa-4bbb-8ccc-000000000000" for number in range(3)]
    await db.save_entities("papers", [{"id": id, "t": "x"} for id in ids])
    given = [ids[2].upper(), "none", ids[0].replace("-", ""), ids[2]]
    assert [row["id"] for row in await db.get_entities("papers", given)] == [ids[2], ids[0]]
    assert [row["id"] async for row in db.iterate_entities("papers", batch_size=2)] == ids
    assert await db.delete_entities("papers", [ids[1].upper(), "none"]) == 1


LIVE = "SELECT 1 FROM pg_stats WHERE schemaname = current_schema() AND tablename = ? AND attname = 'deleted_at'"


async def _estimate(db, sql):
    return int((await db.execute(f"EXPLAIN {sql}"))[0][0].split("rows=")[1].split()[0])


async def test_a_table_that_one_call_filled_is_known_to_the_planner_at_once(place):
    db = await place.open()
    await db.save_entities("people", [{"n": number} for number in range(999)])
    assert await db.execute(LIVE, ("people",)) == []
    await db.ensure_index("people", ["n"])
    await db.save_entities("people", [{"n": number} for number in range(1000)])
    assert len(await db.execute(LIVE, ("people",))) == 1
    assert len(await db.execute(LIVE, ("people_history",))) == 1
    assert await _estimate(db, "SELECT 1 FROM [people] WHERE [deleted_at] IS NULL") > 1500


async def test_what_the_planner_knows_is_not_gathered_again_for_every_call_nor_in_a_transaction(place, monkeypatch):
    db = await place.open()
    ran, run = [], db._driver.run

    async def watched(sql, params):
        ran.append(sql)
        return await run(sql, params)

    monkeypatch.setattr(db._driver, "run", watched)
    async with db.transaction():
        await db.save_entities("people", [{"n": number} for number in range(1000)])
    assert ran == []
    for _ in range(3):
        await db.save_entities("people", [{"n": number} for number in range(1000)])
    assert len(ran) == 1
    await db.save_entities("people", [{"n": number} for number in range(9000)] * 5)
    assert len(ran) == 2


async def test_a_save_stands_where_the_planner_could_not_be_told(place, monkeypatch):
    db = await place.open()
    monkeypatch.setattr(type(db._dialect), "analyze", lambda *_: "ANALYZE nowhere")
    assert len(await db.save_entities("people", [{"n": number} for number in range(1000)])) == 1000
    assert await db.count_entities("people") == 1000
