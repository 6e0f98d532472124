"""Who holds a table on MySQL keeps a change of it waiting for seconds, and everybody else behind it no longer."""

import asyncio
import itertools
import time

import pytest

from app_kernel.core.errors import DatabaseBusy, QueryTimeout, UnsupportedValue
from app_kernel.db.database import create_database
from app_kernel.db.drivers.base import ANY_GENERATION
from app_kernel.db.drivers.mysql_statements import DDL_LOCK_SECONDS
from tests.db.mysql_tools import place_on
from tests.db.server_tools import unit, until
from tests.faults.figures import figure

pytestmark = pytest.mark.acceptance("DB11")

LOCK_SECONDS = 1
"""In place of DDL_LOCK_SECONDS, for the sake of time."""


@pytest.fixture
async def place(mysql_url):
    async with place_on(mysql_url) as fresh:
        yield fresh


@pytest.fixture
async def handles(place):
    """Two processes, as far as the server can tell."""
    databases = [create_database(place.url(pool_size=4, statement_timeout=20)) for _ in range(2)]
    for database in databases:
        await database.open()
    yield [database.connection() for database in databases]
    for database in databases:
        await database.close()


@pytest.fixture
def hurried(monkeypatch):
    """Changes of the schema wait for less."""
    monkeypatch.setattr("app_kernel.db.drivers.mysql_schema.DDL_LOCK_SECONDS", LOCK_SECONDS)
    monkeypatch.setattr("app_kernel.db.drivers.runner.LOCK_RETRIES", 1)


HOLDERS = {
    "a reader": 'START TRANSACTION; SELECT * FROM "things"',
    "a writer": """START TRANSACTION; INSERT INTO "things" ("id") VALUES ('open')""",
    "a lock of the table": 'LOCK TABLES "things" READ',
}
CHANGES = {
    "a field": {"id": "a", "later": "x"},
    "a kind in place": {"id": "a", "n": 1.5},
    "a kind": {"id": "a", "n": "text"},
}


EACH = [*itertools.product(HOLDERS, CHANGES)]


def test_nobody_waits_for_as_long_as_the_server_would():
    assert DDL_LOCK_SECONDS <= 5


@pytest.mark.parametrize(("holder", "change"), figure(short=[*zip(HOLDERS, CHANGES, strict=True)], long=EACH))
async def test_an_open_transaction_holds_up_a_change_for_seconds_and_others_go_on(
    place, handles, hurried, holder, change
):
    db, other = handles
    await db.save_entity("things", {"id": "a", "n": 1, "t": "x"})
    await other.save_entity("others", {"id": "o", "n": 1})
    await place.look(HOLDERS[holder])
    slowest = 0.0

    async def go_on(call):
        nonlocal slowest
        began = time.monotonic()
        await call()
        slowest = max(slowest, time.monotonic() - began)

    began = time.monotonic()
    changing = asyncio.create_task(db.save_entity("things", CHANGES[change]))
    while not changing.done():
        await go_on(lambda: other.get_entity("things", "a"))
        await go_on(lambda: other.save_entity("others", {"id": "o", "n": time.monotonic_ns()}))
        await asyncio.sleep(0.1)
    with pytest.raises(DatabaseBusy):
        await changing
    # Two tries, and what everybody waited behind one of them.
    assert 2 * LOCK_SECONDS <= time.monotonic() - began < 2 * LOCK_SECONDS + 3
    assert slowest < LOCK_SECONDS + 2
    await place.look("UNLOCK TABLES; ROLLBACK")
    assert await place.waiting() == []
    row = await db.save_entity("things", CHANGES[change])
    assert {name: row[name] for name in CHANGES[change]} == CHANGES[change]
    assert await other.get_entity("things", "a") == row


async def test_a_change_in_a_transaction_that_is_held_up_says_what_to_call_before(place, handles, hurried):
    db, _ = handles
    await db.save_entity("things", {"id": "a", "n": 1})
    await place.look(HOLDERS["a reader"])
    async with db.transaction():
        await db.save_entity("others", {"id": "o"})
        with pytest.raises(DatabaseBusy, match=r"ensure_fields\(\) before"):
            await db.save_entity("things", {"id": "a", "later": 1})
        await db.save_entity("others", {"id": "p"})
    await place.look("ROLLBACK")
    assert await db.count_entities("others") == 2


async def test_a_row_that_another_transaction_holds_is_waited_for_as_long_as_a_statement_may_take(place):
    driver = await place.open(pool_size=2, statement_timeout=1)
    await driver.execute("CREATE TABLE notes (id VARCHAR(9) PRIMARY KEY, x int)", ())
    await driver.run("INSERT INTO notes VALUES ('a', 1)", ())
    await place.look("START TRANSACTION; UPDATE notes SET x = 2")
    for call in (
        lambda: driver.run("UPDATE notes SET x = 3", ()),
        lambda: driver.write(unit(("UPDATE notes SET x = 3",)), ANY_GENERATION, "notes"),
    ):
        began = time.monotonic()
        with pytest.raises((DatabaseBusy, QueryTimeout)):
            await call()
        assert time.monotonic() - began < 5
    await place.look("ROLLBACK")
    await driver.run("UPDATE notes SET x = 3", ())


async def test_processes_that_add_fields_and_change_kinds_at_once_never_wait_for_each_other_for_ever(handles):
    db, other = handles
    await db.save_entity("things", {"id": "a", "n": 1})

    async def grow(handle, who):
        for turn in range(4):
            await handle.save_entity("things", {"id": f"{who}{turn}", f"f_{turn}": turn, f"{who}_{turn}": "x"})
            async with handle.transaction():
                await handle.save_entity("things", {"id": "a", "n": turn})
                await handle.save_entity("things", {"id": f"{who}{turn}", f"f_{turn}": turn + 10})

    async def retype(handle):
        await handle.save_entity("things", {"id": "x", "n": 1.5})
        await handle.save_entity("things", {"id": "y", "n": "text"})

    async with asyncio.timeout(30):
        await asyncio.gather(grow(db, "p"), grow(other, "q"), grow(db, "r"), retype(other))
    for handle in handles:
        row = await handle.get_entity("things", "p3")
        assert (row["f_3"], row["p_3"]) == (13, "x")
        assert (await handle.get_entity("things", "y"))["n"] == "text"
        assert (await handle.get_entity("things", "x"))["n"] == 1.5


async def test_a_definition_that_waits_is_cancelled_with_its_task(place, handles):
    db, other = handles
    await db.save_entity("things", {"id": "a", "n": 1})
    await place.look(HOLDERS["a reader"])
    changing = asyncio.create_task(db.save_entity("things", {"id": "a", "later": 1}))

    async def waits():
        return await place.waiting() != []

    await until(waits)
    changing.cancel()
    await asyncio.wait([changing])
    assert changing.cancelled()

    async def gone():
        return await place.waiting() == []

    # The server goes on until its own limit; what it then does nobody has asked for.
    await until(gone, DDL_LOCK_SECONDS + 2)
    await place.look("ROLLBACK")
    assert (await other.save_entity("things", {"id": "a", "later": 2}))["later"] == 2


async def test_what_a_field_cannot_hold_changes_nothing_of_the_schema(place, handles):
    db, other = handles
    await db.execute("CREATE TABLE [made] ([id] VARCHAR(50) PRIMARY KEY, [n] INT)")
    await db.save_entity("made", {"id": "a", "n": 1})
    before = await place.columns("made")
    with pytest.raises(UnsupportedValue):
        await other.save_entity("made", {"id": "b", "n": "text"})
    assert await place.columns("made") == before
