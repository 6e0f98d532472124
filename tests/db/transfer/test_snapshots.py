"""A snapshot shows one instant, whatever happens beside it, and keeps nobody waiting."""

import asyncio

import pytest

from app_kernel.db import connect
from app_kernel.db.drivers.base import SnapshotLost
from app_kernel.db.url import make_driver

BACKENDS = ("sqlite", "postgres", "mysql")
_COUNT = 'SELECT count(*), max("n") FROM "things"'


@pytest.mark.parametrize("backend", BACKENDS)
async def test_all_statements_see_the_database_as_of_one_instant(place, backend):
    url = await place(backend)
    async with connect(url) as db:
        await db.save_entities("things", [{"id": f"t{n}", "n": n} for n in range(10)])
        driver = make_driver(url)
        await driver.open()
        async with driver.snapshot() as snapshot:
            # Not looked at yet: the instant is that of the opening.
            await db.save_entity("things", {"id": "t10", "n": 10})
            assert tuple((await snapshot.fetch(_COUNT))[0]) == (10, 9)
            await db.save_entity("things", {"id": "t0", "n": 99})
            await db.delete_entity("things", "t1", permanent=True)
            assert tuple((await snapshot.fetch(_COUNT, table="things"))[0]) == (10, 9)
        async with driver.snapshot() as snapshot:
            assert tuple((await snapshot.fetch(_COUNT))[0]) == (10, 99)
        await driver.close()


@pytest.mark.parametrize("backend", BACKENDS)
async def test_who_adds_a_field_does_not_wait_for_a_snapshot(place, backend):
    url = await place(backend)
    async with connect(url) as db:
        await db.save_entity("things", {"id": "t", "n": 1})
        driver = make_driver(url)
        await driver.open()
        async with driver.snapshot() as snapshot:
            await snapshot.fetch(_COUNT, table="things")
            async with asyncio.timeout(2.5):
                await db.save_entity("things", {"id": "t", "fresh": "a new column"})
        await driver.close()
        assert (await db.get_entity("things", "t"))["fresh"] == "a new column"


@pytest.mark.parametrize("backend", ["postgres", "mysql"])
async def test_a_table_that_was_rewritten_is_noticed_and_never_taken_for_an_empty_one(place, backend):
    url = await place(backend)
    async with connect(url) as db:
        await db.save_entity("things", {"id": "t", "n": 1})
        driver = make_driver(url)
        await driver.open()
        async with driver.snapshot() as snapshot:
            await db.save_entity("things", {"id": "t", "n": "of another kind"})
            with pytest.raises(SnapshotLost):
                await snapshot.fetch('SELECT * FROM "things"', table="things")
        await driver.close()


ENDLESS = {
    "sqlite": "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT MAX(n) FROM c",
    "postgres": "SELECT pg_sleep(1000)",
    "mysql": "SELECT SLEEP(1000)",
}


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_read_that_is_cancelled_leaves_nothing_behind(place, backend):
    driver = make_driver(await place(backend))
    await driver.open()
    async with asyncio.timeout(10):
        async with driver.snapshot() as snapshot:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await snapshot.fetch(ENDLESS[backend])
        async with driver.snapshot() as snapshot:
            assert tuple((await snapshot.fetch("SELECT 1"))[0]) == (1,)
        await driver.close()
