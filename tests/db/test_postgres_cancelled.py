"""A task that is cancelled inside a transaction leaves it usable: what it was doing is done whole, or taken back."""

import asyncio

import pytest

from app_kernel.core.errors import ConnectionLost, UniqueViolation
from app_kernel.db.drivers.base import ANY_GENERATION
from tests.db.postgres_tools import place_on
from tests.db.server_tools import unit, until

INSERT = "INSERT INTO notes (id, x) VALUES ($1, $2)"
TURNS = range(1, 13)
"""After how many turns of the event loop a task is cancelled."""


@pytest.fixture
async def place(postgres_url):
    async with place_on(postgres_url) as fresh:
        yield fresh


@pytest.fixture
async def driver(place):
    opened = await place.open(pool_size=2)
    await opened.execute("CREATE TABLE notes (id text PRIMARY KEY, x bigint)", ())
    return opened


async def ids(session):
    return [row[0] for row in await session.fetch("SELECT id FROM notes ORDER BY id", ())]


async def is_cancelled(call, turns, times=1):
    """Cancels a call after so many turns of the loop; whether it was still under way."""
    task = asyncio.create_task(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    await asyncio.wait([task])
    return task.cancelled()


async def test_a_cancelled_beginning_leaves_no_savepoint(driver):
    for turns in TURNS:
        transaction = await driver.begin(5)
        await transaction.run(INSERT, ("a", 1))
        await transaction.begin_nested()
        await transaction.run(INSERT, ("b", 2))
        if not await is_cancelled(transaction.begin_nested(), turns, times=1 + turns % 3):
            assert turns > 2
            await transaction.end_nested(keep=True)
        await transaction.run(INSERT, ("c", 3))
        await transaction.end_nested(keep=False)
        assert await ids(transaction) == ["a"]
        await transaction.begin_nested()
        await transaction.run(INSERT, ("d", 4))
        await transaction.end_nested(keep=True)
        await transaction.commit()
        assert await ids(driver) == ["a", "d"]
        await driver.run("DELETE FROM notes", ())


@pytest.mark.parametrize("keep", [False, True])
async def test_a_cancelled_end_of_a_part_still_ends_it_and_the_generation_is_right(driver, keep):
    for turns in TURNS:
        transaction = await driver.begin(5)
        before = transaction.generation
        await transaction.run(INSERT, ("a", 1))
        await transaction.begin_nested()
        await transaction.begin_nested()
        await transaction.execute(f"ALTER TABLE notes ADD COLUMN c{turns} text", ())
        await transaction.run(f"INSERT INTO notes (id, c{turns}) VALUES ('b', 'text')", ())
        assert await is_cancelled(transaction.end_nested(keep=keep), turns, times=1 + turns % 3) or turns > 2
        assert transaction.generation == before + keep
        assert await ids(transaction) == ["a", "b"] if keep else ["a"]
        await transaction.run(INSERT, ("c", 3))
        await transaction.end_nested(keep=False)
        assert transaction.generation == before
        assert await ids(transaction) == ["a"]
        await transaction.commit()
        assert (await ids(driver), driver.generation) == (["a"], before)
        await driver.run("DELETE FROM notes", ())


CALLS = {
    "run": lambda t: t.run(INSERT, ("z", 1)),
    "write": lambda t: t.write(unit((INSERT, "z", 1), (INSERT, "zz", 1)), t.generation, "notes"),
    "define": lambda t: t.execute("CREATE TABLE z (i int)", ()),
    "fetch": lambda t: t.fetch("SELECT 1", ()),
    "a failure": lambda t: t.run(INSERT, ("a", 1)),
}


@pytest.mark.parametrize("kind", CALLS)
async def test_a_cancelled_call_takes_back_itself_alone(place, driver, kind):
    transaction = await driver.begin(30)
    kept = []
    for turns in (*TURNS, *TURNS):
        await transaction.run(INSERT, (name := f"a{len(kept):02}", 1))
        kept.append(name)
        generation = transaction.generation
        try:
            cancelled = await is_cancelled(CALLS[kind](transaction), turns, times=1 + turns % 3)
        except UniqueViolation:
            cancelled = True
        if cancelled:
            assert await ids(transaction) == kept
            assert transaction.generation == generation
        else:
            assert turns > 2
            await transaction.run("DELETE FROM notes WHERE id LIKE 'z%' OR id = 'a'", ())
            await transaction.execute("DROP TABLE IF EXISTS z", ())
    await transaction.commit()
    assert await ids(driver) == kept


async def test_a_call_that_is_cancelled_while_it_waits_for_a_lock_takes_back_itself_alone(place, driver):
    await driver.execute("CREATE TABLE others (i int)", ())
    await place.onlooker.execute("BEGIN; LOCK TABLE others")
    transaction = await driver.begin(20)
    await transaction.run(INSERT, ("a", 1))
    waiting = asyncio.create_task(
        transaction.write(unit(("INSERT INTO others VALUES (1)",)), transaction.generation, "others")
    )

    async def waits():
        return await place.look("SELECT 1 FROM pg_locks WHERE relation = 'others'::regclass AND NOT granted") != []

    await until(waits)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert not await waits()
    assert await ids(transaction) == ["a"]
    await transaction.commit()
    assert await ids(driver) == ["a"]
    await place.onlooker.execute("ROLLBACK")


async def test_a_call_that_is_cancelled_on_a_broken_connection_ends_the_transaction(place, driver):
    transaction = await driver.begin(5)
    await transaction.run(INSERT, ("a", 1))
    await place.terminate()
    assert await is_cancelled(transaction.run(INSERT, ("b", 1)), 1)
    for call in (transaction.commit, lambda: transaction.end_nested(keep=True), lambda: ids(transaction)):
        with pytest.raises(ConnectionLost, match="nothing of the transaction was kept"):
            await call()
    assert transaction.committed is False
    await transaction.rollback()
    assert await ids(driver) == []


async def test_a_cancelled_commit_is_done_and_known(driver):
    for turns in TURNS:
        transaction = await driver.begin(5)
        await transaction.run(INSERT, (f"{turns:02}", 1))
        assert transaction.committed is False
        assert await is_cancelled(transaction.commit(), turns, times=3) or turns > 2
        assert transaction.committed is True
        assert len(await ids(driver)) == turns


async def test_a_cancelled_commit_that_failed_is_not_known_to_have_succeeded(driver):
    await driver.execute("CREATE TABLE owed (id text UNIQUE DEFERRABLE INITIALLY DEFERRED)", ())
    transaction = await driver.begin(5)
    await transaction.write(unit(*[("INSERT INTO owed VALUES ('a')",)] * 2), ANY_GENERATION, "owed")
    assert await is_cancelled(transaction.commit(), 1)
    assert transaction.committed is False
    with pytest.raises(UniqueViolation):
        await transaction.fetch("SELECT 1", ())
