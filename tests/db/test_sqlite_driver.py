"""How SQLite is driven: one writer that commits together, and readers that do not stall the loop."""

import asyncio
import time

import pytest

from app_kernel.core.errors import DatabaseBusy, QueryTimeout, UniqueViolation
from tests.db.sqlite_tools import COUNTING, Gate, names, opened, until

ENDLESS_INSERT = (
    "INSERT INTO notes (id, n) WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x, x FROM c"
)
ENDLESS = "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"


@pytest.fixture
async def db(tmp_path):
    async with opened(tmp_path) as (store, _):
        yield store


async def test_units_that_wait_are_committed_together(db):
    await db.save_entity("notes", {"id": "a", "n": -1})
    async with Gate(db) as gate:
        done = await gate.finish(*(db.save_entity("notes", {"id": str(n), "n": n}) for n in range(50)))
    assert [row["n"] for row in done] == list(range(50))
    assert gate.commits["all"] <= 2
    assert await db.count_entities("notes") == 51
    assert await db.count_entities("notes_history") == 51


async def test_more_units_than_one_commit_takes_are_all_done(db):
    await db.save_entity("notes", {"id": "a", "n": -1})
    async with Gate(db) as gate:
        done = await gate.finish(*(db.save_entity("notes", {"id": "a", "n": n}) for n in range(300)))
    assert [row["_version"] for row in done] == list(range(2, 302))
    assert gate.commits["all"] <= 5


async def test_a_unit_that_fails_takes_only_itself_back(db):
    await db.execute("CREATE TABLE own (id TEXT PRIMARY KEY, email TEXT UNIQUE, n INTEGER CHECK (n >= 0))")
    await db.save_entity("own", {"id": "a", "email": "a", "n": 0})
    async with Gate(db) as gate:
        done = await gate.finish(
            db.save_entity("own", {"id": "b", "email": "b"}),
            db.save_entity("own", {"id": "c", "email": "a"}),
            db.save_entity("own", {"id": "d", "email": "d", "n": -1}),
            db.save_entity("own", {"id": "a", "n": 5}),
            db.save_entity("own", {"id": "a", "n": 6}, expected_version=1),
            db.save_entity("own", {"id": "e", "email": "e"}),
        )
    expected = ["dict", "UniqueViolation", "ConstraintViolation", "dict", "VersionConflict", "dict"]
    assert names(done) == expected
    assert gate.commits["all"] <= 2
    assert [row["id"] for row in await db.find_entities("own")] == ["a", "b", "e"]
    assert await db.count_entities("own_history") == 4


async def test_a_unit_that_raises_anything_takes_only_itself_back(db):
    await db.save_entity("notes", {"id": "a", "n": 0})
    driver = db._driver

    def broken():
        yield ("UPDATE notes SET n = 99", ())
        raise ZeroDivisionError

    def stale():
        yield ("UPDATE notes SET n = 98", ())

    async with Gate(db) as gate:
        done = await gate.finish(
            driver.write(broken, driver.generation, "notes"),
            db.save_entity("notes", {"id": "b", "n": 1}),
            driver.write(stale, driver.generation - 1, "notes"),
            db.save_entity("notes", {"id": "c", "n": 2}),
        )
    assert names(done) == ["ZeroDivisionError", "dict", "SchemaStale", "dict"]
    assert [row["n"] for row in await db.find_entities("notes")] == [0, 1, 2]


async def test_an_error_that_ends_the_whole_transaction_costs_nobody_else_anything(db):
    await db.execute("CREATE TABLE own (id TEXT PRIMARY KEY, n INTEGER UNIQUE ON CONFLICT ROLLBACK)")
    await db.execute("CREATE TABLE guarded (id TEXT PRIMARY KEY, n INTEGER)")
    await db.execute(
        "CREATE TRIGGER guard BEFORE INSERT ON guarded WHEN new.n < 0 BEGIN SELECT RAISE(ROLLBACK, 'no debts'); END"
    )
    await db.save_entity("own", {"id": "a", "n": 0})
    await db.save_entity("guarded", {"id": "a", "n": 0})
    async with Gate(db) as gate:
        done = await gate.finish(
            db.save_entity("own", {"id": "b", "n": 1}),
            db.save_entity("own", {"id": "c", "n": 0}),
            db.save_entity("guarded", {"id": "b", "n": 1}),
            db.save_entity("guarded", {"id": "c", "n": -1}),
            db.save_entity("own", {"id": "d", "n": 2}),
        )
    assert names(done) == ["dict", "UniqueViolation", "dict", "ConstraintViolation", "dict"]
    assert "no debts" in str(done[3])
    assert [row["id"] for row in await db.find_entities("own")] == ["a", "b", "d"]
    assert [row["id"] for row in await db.find_entities("guarded")] == ["a", "b"]
    kept = await db.find_entities("own_history", order_by="[id]")
    assert [(row["id"], row["_version"]) for row in kept] == [("a", 1), ("b", 1), ("d", 1)]


async def test_a_raw_statement_that_ends_the_transaction_is_an_error_and_the_next_write_works(db):
    await db.save_entity("notes", {"id": "a", "n": 1})
    await db.execute("CREATE UNIQUE INDEX one_n ON notes (n)")
    for conflict in ("ROLLBACK", "ABORT", "FAIL"):
        with pytest.raises(UniqueViolation):
            await db.execute(f"INSERT OR {conflict} INTO notes (id, n) SELECT 'b', 2 UNION ALL SELECT 'c', 1")
        assert await db.count_entities("notes") == 1
        assert (await db.save_entity("notes", {"id": "a", "n": 1}))["n"] == 1


async def test_a_constraint_checked_at_the_commit_fails_only_the_unit_that_violates_it(db):
    await db.execute("CREATE TABLE parent (id TEXT PRIMARY KEY)")
    await db.execute(
        "CREATE TABLE child (id TEXT PRIMARY KEY, parent TEXT REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)"
    )
    await db.save_entity("parent", {"id": "p"})
    await db.save_entity("child", {"id": "a", "parent": "p"})
    async with Gate(db) as gate:
        done = await gate.finish(
            db.save_entity("child", {"id": "b", "parent": "p"}),
            db.save_entity("child", {"id": "c", "parent": "nobody"}),
            db.save_entity("child", {"id": "d", "parent": "p"}),
        )
    assert names(done) == ["dict", "ConstraintViolation", "dict"]
    assert [row["id"] for row in await db.find_entities("child")] == ["a", "b", "d"]


async def test_a_unit_whose_task_was_cancelled_before_its_turn_is_not_run(db):
    await db.save_entity("notes", {"id": "a", "n": 0})
    async with Gate(db) as gate:
        gone = asyncio.create_task(db.save_entity("notes", {"id": "gone", "n": 1}))
        await until(lambda: gate.driver._writer._queue.qsize() == 1)
        gone.cancel()
        await until(gone.done)
        gate.gate.set()
    assert gone.cancelled()
    assert (await db.save_entity("notes", {"id": "b", "n": 2}))["n"] == 2
    assert [row["id"] for row in await db.find_entities("notes")] == ["a", "b"]


async def ticks_during(call):
    """What the call came to, and how often the loop went round meanwhile."""
    task, ticks = asyncio.ensure_future(call), 0
    while not task.done():
        await asyncio.sleep(0)
        ticks += 1
    return await task, ticks


async def test_a_long_read_leaves_the_loop_free_and_goes_to_a_thread_from_then_on(db):
    driver, sql = db._driver, COUNTING.format(400_000)
    rows, ticks = await ticks_during(driver.fetch(sql, ()))
    assert rows == [(400_000,)]
    assert ticks > 20
    assert sql in driver._known_long
    assert driver._readers._threads[0].name == "sqlite-reader"
    rows, ticks = await ticks_during(driver.fetch(sql, ()))
    assert (rows, ticks > 20) == ([(400_000,)], True)


async def test_a_short_read_is_done_at_once_without_a_thread(db):
    await db.save_entity("notes", {"id": "a", "n": 1})
    row, ticks = await ticks_during(db.get_entity("notes", "a"))
    assert (row["n"], ticks <= 2) == (1, True)
    assert db._driver._readers._threads == []


async def test_a_read_that_became_short_is_done_at_once_again(db):
    driver = db._driver
    driver._remember_long("SELECT 1")
    assert await driver.fetch("SELECT 1", ()) == [(1,)]
    while "SELECT 1" in driver._known_long:
        assert await driver.fetch("SELECT 1", ()) == [(1,)]
    assert await driver.fetch("SELECT 1", ()) == [(1,)]


async def test_reads_of_entities_go_on_while_a_long_one_runs(db):
    await db.save_entity("notes", {"id": "a", "n": 1})
    long = asyncio.create_task(db._driver.fetch(COUNTING.format(600_000), ()))
    await asyncio.sleep(0)
    done = [await db.get_entity("notes", "a") for _ in range(50)]
    assert not long.done()
    assert {row["n"] for row in done} == {1}
    assert await long == [(600_000,)]


async def test_a_read_that_takes_too_long_is_ended(tmp_path):
    async with opened(tmp_path, statement_seconds=0.1) as (db, driver):
        await db.save_entity("notes", {"id": "a", "n": 1})
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(QueryTimeout):
                await driver.fetch(ENDLESS, ())
            assert time.monotonic() - began < 5
        assert (await db.get_entity("notes", "a"))["n"] == 1


@pytest.mark.parametrize("sql", [ENDLESS, f"/* raw */ {ENDLESS}", ENDLESS_INSERT])
async def test_a_raw_statement_that_takes_too_long_is_ended_and_leaves_nothing(tmp_path, sql):
    async with opened(tmp_path, statement_seconds=0.1) as (db, _):
        await db.save_entity("notes", {"id": "a", "n": 1})
        began = time.monotonic()
        with pytest.raises(QueryTimeout):
            await db.execute(sql)
        assert time.monotonic() - began < 5
        assert await db.count_entities("notes") == 1
        assert (await db.save_entity("notes", {"id": "b", "n": 2}))["n"] == 2


async def test_a_write_waits_for_a_long_transaction_of_its_own_process_as_long_as_for_another(tmp_path):
    """Refused while it waits, it is not done later; and one that has begun is not refused."""
    async with opened(tmp_path, busy_seconds=0.2) as (db, driver):
        await db.save_entity("notes", {"id": "0", "n": 0})
        inside, leave = asyncio.Event(), asyncio.Event()

        async def long() -> None:
            async with db.transaction(seconds=60):
                await db.save_entity("notes", {"id": "long", "n": 1})
                inside.set()
                await leave.wait()

        task = asyncio.create_task(long())
        await inside.wait()
        with pytest.raises(DatabaseBusy):
            await db.save_entity("notes", {"id": "refused", "n": 2})
        with pytest.raises(DatabaseBusy):
            async with db.transaction(seconds=60):
                raise AssertionError
        leave.set()
        await task
        await db.save_entity("notes", {"id": "after", "n": 3})
        assert [row["id"] for row in await db.find_entities("notes")] == ["0", "after", "long"]
        assert driver._writer._transactions == 0
