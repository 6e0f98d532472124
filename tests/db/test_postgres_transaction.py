"""In a transaction of the caller's a call that fails takes back only itself, and the whole ends in time."""

import asyncio

import pytest

from app_kernel.core.errors import (
    ConnectionLost,
    DatabaseBusy,
    InvalidQuery,
    QueryTimeout,
    TransactionTimeout,
    UniqueViolation,
    VersionConflict,
)
from app_kernel.db.drivers.base import ANY_GENERATION
from app_kernel.db.errors import MissingColumn, MissingTable, SchemaStale
from tests.db.postgres_tools import place_on
from tests.db.server_tools import failing_unit, unit, until

INSERT = "INSERT INTO notes (id, x) VALUES ($1, $2)"
ALL = "SELECT id, x FROM notes ORDER BY id"


@pytest.fixture
async def place(postgres_url):
    async with place_on(postgres_url) as fresh:
        yield fresh


@pytest.fixture
async def driver(place):
    opened = await place.open(pool_size=2)
    await opened.execute("CREATE TABLE notes (id text PRIMARY KEY, x bigint)", ())
    return opened


async def rows(session):
    return [tuple(row) for row in await session.fetch(ALL, ())]


async def are_idle(place):
    return {state for _, state in await place.backends()} <= {"idle"}


FAILURES = {
    "a unique field": (lambda t: t.run(INSERT, ("a", 9)), UniqueViolation),
    "a read of no table": (lambda t: t.fetch("SELECT 1 FROM nothing", ()), MissingTable),
    "a read of no column": (lambda t: t.fetch("SELECT nothing FROM notes", ()), MissingColumn),
    "a read of nonsense": (lambda t: t.fetch("SELEC", ()), InvalidQuery),
    "a parameter of another type": (lambda t: t.run(INSERT, ("z", "text")), InvalidQuery),
    "a wrong number of parameters": (lambda t: t.fetch(ALL, (1,)), InvalidQuery),
    "a unit that fails midway": (lambda t: t.write(unit((INSERT, "z", 1), (INSERT, "a", 1)), -1, ""), UniqueViolation),
    "a unit that raises": (
        lambda t: t.write(failing_unit(VersionConflict(), (INSERT, "z", 1)), -1, ""),
        VersionConflict,
    ),
    "a unit that raises anything": (lambda t: t.write(failing_unit(KeyError(), (INSERT, "z", 1)), -1, ""), KeyError),
    "another generation": (lambda t: t.write(unit((INSERT, "z", 1)), 99, "notes"), SchemaStale),
    "no such table": (lambda t: t.write(unit((INSERT, "z", 1)), t.generation, "nothing"), MissingTable),
    "a definition that fails": (
        lambda t: t.define(unit(("CREATE TABLE made (i int)",), (INSERT, "a", 1))),
        UniqueViolation,
    ),
    "a raw definition that fails": (lambda t: t.execute("CREATE TABLE notes (i int)", ()), InvalidQuery),
    "several statements": (lambda t: t.execute("DELETE FROM notes; SELECT 1", ()), InvalidQuery),
    "an end of the transaction": (lambda t: t.execute("COMMIT", ()), InvalidQuery),
    "what no transaction may do": (lambda t: t.execute("CREATE INDEX CONCURRENTLY ON notes (x)", ()), InvalidQuery),
    "a statement that is too slow": (lambda t: t.execute("SELECT pg_sleep(9)", ()), QueryTimeout),
}


@pytest.mark.parametrize("written", ["nothing", "a write", "a unit", "a nested write"])
@pytest.mark.parametrize("case", FAILURES)
async def test_a_call_that_fails_takes_back_only_itself(place, driver, case, written):
    call, error = FAILURES[case]
    slow = case == "a statement that is too slow"
    session = await place.open(pool_size=1, statement_timeout=1) if slow else driver
    transaction = await session.begin(5)
    await transaction.run(INSERT, ("a", 1))
    if written == "nothing":
        await rows(transaction)
    elif written == "a write":
        await transaction.run(INSERT, ("b", 1))
    elif written == "a unit":
        await transaction.write(unit((INSERT, "b", 1)), ANY_GENERATION, "notes")
    else:
        await transaction.begin_nested()
        await transaction.run(INSERT, ("b", 1))
        await transaction.end_nested(keep=True)
    before = [("a", 1)] if written == "nothing" else [("a", 1), ("b", 1)]
    with pytest.raises(error):
        await call(transaction)
    assert await rows(transaction) == before
    with pytest.raises(error):
        await call(transaction)
    await transaction.run(INSERT, ("c", 3))
    await transaction.commit()
    assert await rows(session) == [*before, ("c", 3)]
    assert await are_idle(place)


async def test_savepoints_nest_and_take_the_generation_back_too(place, driver):
    transaction = await driver.begin(5)
    before = transaction.generation
    await transaction.run(INSERT, ("a", 1))
    await transaction.begin_nested()
    await transaction.run(INSERT, ("b", 2))
    await transaction.begin_nested()
    await transaction.execute("ALTER TABLE notes ADD COLUMN color text", ())
    assert transaction.generation == before + 1
    await transaction.run("UPDATE notes SET color = 'red'", ())
    await transaction.end_nested(keep=False)
    assert transaction.generation == before
    with pytest.raises(MissingColumn):
        await transaction.fetch("SELECT color FROM notes", ())
    await transaction.begin_nested()
    await transaction.run(INSERT, ("c", 3))
    await transaction.end_nested(keep=True)
    await transaction.end_nested(keep=True)
    await transaction.begin_nested()
    await transaction.run("DELETE FROM notes", ())
    await transaction.end_nested(keep=False)
    await transaction.commit()
    assert await rows(driver) == [("a", 1), ("b", 2), ("c", 3)]
    assert driver.generation == before


async def test_a_definition_inside_is_seen_by_others_after_the_commit_only(place, driver):
    before = driver.generation
    transaction = await driver.begin(5)
    await transaction.execute("ALTER TABLE notes ADD COLUMN color text", ())
    assert (transaction.generation, driver.generation) == (before + 1, before)
    await transaction.rollback()
    assert driver.generation == before
    transaction = await driver.begin(5)
    await transaction.execute("ALTER TABLE notes ALTER COLUMN x TYPE text", ())
    await transaction.run("INSERT INTO notes (id, x) VALUES ($1, $2)", ("a", "text"))
    await transaction.commit()
    assert driver.generation == before + 1
    assert await rows(driver) == [("a", "text")]


async def test_statements_prepared_before_a_type_changed_are_prepared_anew_inside_too(place):
    driver = await place.open(pool_size=1)
    await driver.execute("CREATE TABLE notes (id text PRIMARY KEY, x bigint)", ())
    await driver.run(INSERT, ("a", 1))
    assert await rows(driver) == [("a", 1)]
    await place.onlooker.execute("ALTER TABLE notes ALTER COLUMN x TYPE text")
    transaction = await driver.begin(5)
    await transaction.run("UPDATE notes SET id = 'b'", ())
    assert await rows(transaction) == [("b", "1")]
    await transaction.run(INSERT, ("c", "text"))
    await transaction.write(unit((INSERT, "d", "text")), ANY_GENERATION, "notes")
    await transaction.commit()
    assert await rows(driver) == [("b", "1"), ("c", "text"), ("d", "text")]


@pytest.mark.acceptance("DB11")
async def test_the_server_ends_a_transaction_whose_process_does_not_come_back(place, driver):
    transaction = await driver.begin(0.3)
    transaction._timer.cancel()
    await transaction.run(INSERT, ("a", 1))
    await until(lambda: are_idle(place), 4)
    with pytest.raises((TransactionTimeout, ConnectionLost)):
        await transaction.commit()
    assert await rows(driver) == []


async def test_a_deferred_constraint_fails_at_the_commit_and_nothing_is_kept(place, driver):
    await driver.execute("CREATE TABLE owed (id text UNIQUE DEFERRABLE INITIALLY DEFERRED)", ())
    transaction = await driver.begin(5)
    for _ in range(2):
        await transaction.run("INSERT INTO owed VALUES ('a')", ())
    with pytest.raises(UniqueViolation):
        await transaction.commit()
    with pytest.raises(UniqueViolation):
        await transaction.fetch(ALL, ())
    assert [tuple(row) for row in await driver.fetch("SELECT * FROM owed", ())] == []
    assert await are_idle(place)


async def test_a_connection_that_may_keep_something_of_a_transaction_is_not_used_again(place):
    driver = await place.open(pool_size=1)
    before = await place.backends()
    transaction = await driver.begin(5)
    await transaction.execute("SELECT set_config('work_mem', '5MB', false)", ())
    await transaction.commit()
    assert [tuple(row) for row in await driver.fetch("SHOW work_mem", ())] != [("5MB",)]
    assert await place.backends() != before


async def test_a_definition_leaves_no_time_limit_for_locks_behind(driver):
    transaction = await driver.begin(5)
    for limit in ("0", "7s"):
        await transaction.fetch("SELECT set_config('lock_timeout', $1, true)", (limit,))
        await transaction.execute(f"ALTER TABLE notes ADD COLUMN c{limit} text", ())
        assert [tuple(row) for row in await transaction.fetch("SHOW lock_timeout", ())] == [(limit,)]
        with pytest.raises(InvalidQuery):
            await transaction.execute("ALTER TABLE notes ADD COLUMN broken nothing", ())
        assert [tuple(row) for row in await transaction.fetch("SHOW lock_timeout", ())] == [(limit,)]
    await transaction.commit()
    assert [tuple(row) for row in await driver.fetch("SHOW lock_timeout", ())] == [("0",)]


async def test_of_two_that_wrote_and_then_define_one_is_told_what_to_do_before(driver):
    async def write_and_define(name):
        transaction = await driver.begin(10)
        try:
            await transaction.run(INSERT, (name, 1))
            await both_wrote.wait()
            await transaction.execute(f"ALTER TABLE notes ADD COLUMN {name} text", ())
            await transaction.commit()
        finally:
            await transaction.rollback()

    both_wrote = asyncio.Barrier(2)
    outcomes = await asyncio.gather(write_and_define("a"), write_and_define("b"), return_exceptions=True)
    (error,) = [outcome for outcome in outcomes if outcome is not None]
    assert isinstance(error, DatabaseBusy)
    assert "ensure_fields() before the transaction" in error.message
    assert len(await rows(driver)) == 1


@pytest.mark.parametrize("text", ["SELECT 1\0", "SELECT '\ud800'"])
async def test_a_text_that_cannot_be_sent_costs_the_call_only(place, driver, text):
    before = await place.backends()
    transaction = await driver.begin(5)
    await transaction.run(INSERT, ("a", 1))
    for session in (driver, transaction):
        for call in (
            lambda s=session: s.execute(text, ()),
            lambda s=session: s.fetch(text, ()),
            lambda s=session: s.run(text, ()),
            lambda s=session: s.write(unit((text,)), ANY_GENERATION, "notes"),
            lambda s=session: s.define(unit((text,))),
        ):
            with pytest.raises(InvalidQuery, match="The statement"):
                await call()
    await transaction.commit()
    assert await rows(driver) == [("a", 1)]
    assert {pid for pid, _ in before} <= {pid for pid, _ in await place.backends()}
