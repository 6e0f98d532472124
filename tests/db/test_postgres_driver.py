"""How PostgreSQL is driven: each call is whole, at the generation it was made for, and leaves its connection clean."""

import asyncio

import pytest

from app_kernel.core.errors import (
    ConstraintViolation,
    DatabaseBusy,
    DatabaseClosed,
    InvalidQuery,
    MissingValue,
    QueryTimeout,
    StorageReadOnly,
    StoreError,
    Unavailable,
    UniqueViolation,
    UnsupportedValue,
    VersionConflict,
)
from app_kernel.db.drivers.base import ANY_GENERATION
from app_kernel.db.errors import MissingColumn, MissingTable, SchemaStale
from app_kernel.db.url import make_driver
from tests.db.postgres_tools import database_with, place_on, run_behind_a_definition
from tests.db.server_tools import failing_unit, unit, until

NOTES = "CREATE TABLE notes (id text PRIMARY KEY, x bigint, email text UNIQUE, n int NOT NULL DEFAULT 0 CHECK (n < 9))"


@pytest.fixture
async def place(postgres_url):
    async with place_on(postgres_url) as fresh:
        yield fresh


@pytest.fixture
async def driver(place):
    opened = await place.open()
    await opened.execute(NOTES, ())
    await opened.run("INSERT INTO notes (id, x, email) VALUES ('a', 1, 'a@b')", ())
    return opened


async def test_an_observed_read_tells_the_generation_also_when_it_finds_nothing(place, driver):
    other = await place.open()
    before = other.generation
    await driver.execute("ALTER TABLE notes ADD COLUMN color text", ())
    sql = f"SELECT id{driver.dialect.generation_column} FROM notes WHERE id = $1"
    assert other.generation == before
    (row,) = await other.fetch(sql, ("a",), observed=True)
    assert tuple(row) == ("a", before + 1)
    assert other.generation == before + 1
    await driver.execute("ALTER TABLE notes ADD COLUMN size text", ())
    assert await other.fetch(sql, ("nobody",), observed=True) == []
    assert other.generation == before + 2


async def test_a_unit_is_all_or_nothing(place, driver):
    change = ("UPDATE notes SET x = 2 WHERE id = $1", "a")
    with pytest.raises(VersionConflict):
        await driver.write(failing_unit(VersionConflict(), change), driver.generation, "notes")
    with pytest.raises(UniqueViolation):
        await driver.write(unit(change, ("INSERT INTO notes (id) VALUES ('a')",)), driver.generation, "notes")
    with pytest.raises(ZeroDivisionError):
        await driver.write(failing_unit(ZeroDivisionError(), change), ANY_GENERATION, "notes")
    assert await place.look("SELECT x FROM notes") == [(1,)]
    assert await driver.write(unit(change, ("SELECT x FROM notes",)), driver.generation, "notes") == [(2,)]
    assert await place.look("SELECT x FROM notes") == [(2,)]
    assert {state for _, state in await place.backends()} == {"idle"}


async def test_a_unit_for_another_generation_changes_nothing(place, driver):
    change = unit(("UPDATE notes SET x = 2",))
    for wrong in (driver.generation - 1, driver.generation + 1):
        with pytest.raises(SchemaStale):
            await driver.write(change, wrong, "notes")
    with pytest.raises(MissingTable):
        await driver.write(change, driver.generation, "nothing")
    assert await place.look("SELECT x FROM notes") == [(1,)]


async def test_nobody_changes_the_table_between_the_look_at_the_generation_and_the_commit(place, driver):
    looked, goes_on = asyncio.Event(), asyncio.Event()
    generation = driver.generation

    def slow():
        yield ("SELECT 1", ())
        looked.set()
        yield ("SELECT pg_advisory_xact_lock(77)", ())
        yield ("UPDATE notes SET x = 2", ())

    await place.onlooker.execute("SELECT pg_advisory_lock(77)")
    writing = asyncio.create_task(driver.write(slow, generation, "notes"))
    await looked.wait()
    other = await place.open()
    altering = asyncio.create_task(other.execute("ALTER TABLE notes ALTER COLUMN x TYPE text", ()))

    async def waits():
        return bool(await place.look("SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"))

    await until(waits)
    assert not altering.done()
    await place.onlooker.execute("SELECT pg_advisory_unlock(77)")
    goes_on.set()
    await writing
    await altering
    with pytest.raises(SchemaStale):
        await driver.write(unit(("UPDATE notes SET x = 3",)), generation, "notes")
    assert await place.look("SELECT x FROM notes") == [("2",)]


async def test_a_unit_that_waited_for_a_change_of_the_table_hears_of_it(place, driver):
    """The look at the generation comes after the lock: it sees what was committed while it waited."""
    await place.onlooker.execute("BEGIN")
    await place.onlooker.execute("ALTER TABLE notes ALTER COLUMN x TYPE text")
    await place.onlooker.execute("UPDATE kernel_meta SET value = value + 1 WHERE key = 'generation'")
    writing = asyncio.create_task(driver.write(unit(("UPDATE notes SET x = 3",)), driver.generation, "notes"))

    async def waits():
        return bool(await place.look("SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'RowExclusiveLock'"))

    await until(waits)
    await place.onlooker.execute("COMMIT")
    with pytest.raises(SchemaStale):
        await writing
    assert await place.look("SELECT x FROM notes") == [("1",)]


async def test_the_server_s_default_isolation_does_not_matter(place, driver):
    await place.onlooker.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable',"
        " current_database()); END $$"
    )
    try:
        other = await place.open()
        rows = await other.write(unit(("SHOW transaction_isolation",)), other.generation, "notes")
    finally:
        await place.onlooker.execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET default_transaction_isolation',"
            " current_database()); END $$"
        )
    assert rows == [("read committed",)]


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_a_single_statement_that_waited_for_a_definition_sees_its_generation(postgres_url, isolation):
    async with (
        database_with(postgres_url, "default_transaction_isolation", isolation) as url,
        place_on(url) as place,
    ):
        assert await place.look("SHOW default_transaction_isolation") == [(isolation,)]
        driver = await place.open()
        await driver.execute(NOTES, ())
        assert await run_behind_a_definition(place, driver) == []
        assert [tuple(row) for row in await driver.fetch("SHOW transaction_isolation", ())] == [("read committed",)]


async def test_a_definition_moves_the_generation_on_and_waits_for_others(place, driver):
    other = await place.open()
    bump = ("UPDATE kernel_meta SET value = value + 1 WHERE key = 'generation'",)
    before = driver.generation
    await asyncio.gather(*(one.define(unit(bump)) for one in (driver, other) for _ in range(10)))
    assert max(driver.generation, other.generation) == before + 20
    with pytest.raises(UniqueViolation):
        await driver.define(unit(bump, ("INSERT INTO notes (id) VALUES ('a')",)))
    assert await place.look("SELECT value FROM kernel_meta WHERE key = 'generation'") == [(before + 20,)]


async def test_twelve_processes_open_a_new_database_at_once(place):
    drivers = await asyncio.gather(*(place.open(pool_size=1) for _ in range(12)))
    assert {driver.generation for driver in drivers} == {1}
    assert await place.look("SELECT key, value FROM kernel_meta ORDER BY 1") == [("format", 1), ("generation", 1)]


async def test_a_database_of_a_newer_version_is_refused(place, driver):
    await driver.run("UPDATE kernel_meta SET value = 99 WHERE key = 'format'", ())
    with pytest.raises(Unavailable, match="newer version"):
        await place.open()
    assert len(await place.backends()) == 1


async def test_a_user_who_may_only_read_and_write_can_open_what_is_there(place, driver, postgres_url):
    role = f"{place.schema}_role"
    await place.onlooker.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    await place.onlooker.execute(f"GRANT USAGE ON SCHEMA {place.schema} TO {role}")
    await place.onlooker.execute(
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {place.schema} TO {role}"
    )
    limited = make_driver(f"postgres://{role}:x@{postgres_url.rpartition('@')[2]}?schema={place.schema}")
    try:
        await limited.open()
        await limited.write(unit(("UPDATE notes SET x = 7",)), limited.generation, "notes")
        with pytest.raises(Unavailable, match="may not"):
            await limited.execute("DROP TABLE notes", ())
    finally:
        await limited.close()
        await place.onlooker.execute(f"DROP OWNED BY {role}")
        await place.onlooker.execute(f"DROP ROLE {role}")
    assert await place.look("SELECT x FROM notes") == [(7,)]


ERRORS = {
    "INSERT INTO notes (id) VALUES ('a')": (UniqueViolation, "id"),
    "INSERT INTO notes (id, email) VALUES ('b', 'a@b')": (UniqueViolation, "email"),
    "INSERT INTO notes (id, n) VALUES ('b', NULL)": (MissingValue, "n"),
    "INSERT INTO notes (id, n) VALUES ('b', 10)": (ConstraintViolation, "n_check"),
    "INSERT INTO notes (id, n) VALUES ('b', 9999999999)": (InvalidQuery, "fit"),
    "INSERT INTO notes (id, nothing) VALUES ('b', 1)": (MissingColumn, "nothing"),
    "INSERT INTO nothing (id) VALUES ('b')": (MissingTable, "nothing"),
    "SELECT nothing FROM notes": (MissingColumn, "nothing"),
    "SELECT x + 9223372036854775807 FROM notes": (InvalidQuery, "fit"),
    "SELECT 'canary'::bigint": (InvalidQuery, "fit"),
    "SELECT 'canary'::jsonb": (InvalidQuery, "fit"),
    "SELECT 1 / (x - 1) FROM notes": (InvalidQuery, "zero"),
    "SELEC 1": (InvalidQuery, "SELEC"),
    "SELECT 1; SELECT 2": (InvalidQuery, "one statement"),
    "SELECT 'canary'::varchar(3) || repeat('x', 2000000000)": (StoreError, ""),
}


@pytest.mark.parametrize("sql", ERRORS)
async def test_errors_are_ours_name_fields_and_never_values(place, driver, sql):
    kind, word = ERRORS[sql]
    with pytest.raises((StoreError, MissingTable, MissingColumn)) as caught:
        await driver.run(sql, ())
    assert isinstance(caught.value, kind)
    assert word in str(caught.value)
    assert "a@b" not in str(caught.value)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is not None
    assert await driver.fetch("SELECT count(*) FROM notes", ()) == [(1,)]
    assert len(await place.backends()) == 1


async def test_a_unique_field_is_named_also_of_a_composite_and_of_a_quoted_name(driver):
    await driver.execute('CREATE TABLE pairs ("Case" text, b text, UNIQUE ("Case", b))', ())
    await driver.run("INSERT INTO pairs VALUES ('x)=(y', 'z')", ())
    with pytest.raises(UniqueViolation) as caught:
        await driver.run("INSERT INTO pairs VALUES ('x)=(y', 'z')", ())
    assert caught.value.field == "Case, b"
    await driver.execute("CREATE UNIQUE INDEX ON notes (lower(email))", ())
    with pytest.raises(UniqueViolation) as caught:
        await driver.run("INSERT INTO notes (id, email) VALUES ('b', 'A@B')", ())
    assert caught.value.field == "lower(email)"


async def test_text_that_a_column_cannot_hold_is_an_unsupported_value(driver):
    await driver.execute("CREATE TABLE short (code varchar(3))", ())
    with pytest.raises(UnsupportedValue, match="longer"):
        await driver.run("INSERT INTO short VALUES ($1)", ("canary",))
    with pytest.raises(UnsupportedValue, match="NUL"):
        await driver.run("INSERT INTO short VALUES ($1)", ("\0",))


async def test_a_read_only_server_says_so(place, driver):
    reader = await place.open(pool_size=1)
    await reader._runner.script("SET default_transaction_read_only = on")
    with pytest.raises(StorageReadOnly):
        await reader.write(unit(("UPDATE notes SET x = 2",)), reader.generation, "notes")
    with pytest.raises(StorageReadOnly):
        await reader.run("UPDATE notes SET x = 2", ())
    assert tuple((await reader.fetch("SELECT x FROM notes", ()))[0]) == (1,)


async def test_a_slow_statement_ends_in_time_and_leaves_the_connection_usable(place):
    await place.lay_out()
    driver = await place.open(statement_timeout=1, pool_size=1)
    (pid, _), *_ = await place.backends()
    began = asyncio.get_running_loop().time()
    with pytest.raises(QueryTimeout):
        await driver.fetch("SELECT pg_sleep(20)", ())
    with pytest.raises(QueryTimeout):
        await driver.write(unit(("SELECT pg_sleep(20)",)), ANY_GENERATION, "notes")
    assert asyncio.get_running_loop().time() - began < 5
    assert [pid for pid, _ in await place.backends()] == [pid]


async def test_a_definition_behind_a_long_reader_gives_up_instead_of_stopping_everybody(place, driver, monkeypatch):
    monkeypatch.setattr("app_kernel.db.drivers.runner.LOCK_RETRIES", 1)
    await place.onlooker.execute("BEGIN; SELECT * FROM notes")
    began = asyncio.get_running_loop().time()
    with pytest.raises(DatabaseBusy):
        await driver.execute("ALTER TABLE notes ADD COLUMN color text", ())
    assert 3 < asyncio.get_running_loop().time() - began < 12
    await place.onlooker.execute("COMMIT")
    await driver.execute("ALTER TABLE notes ADD COLUMN color text", ())


async def test_units_that_wait_for_each_other_are_both_done(place, driver):
    """A deadlock takes one of them back, and it is run again whole."""
    await driver.run("INSERT INTO notes (id, x) VALUES ('b', 1)", ())
    first = {"a": asyncio.Event(), "b": asyncio.Event()}
    runs: list[str] = []

    def crosswise(mine: str, other: str):
        def work():
            runs.append(mine)
            yield ("UPDATE notes SET x = x + 1 WHERE id = $1", (mine,))
            first[mine].set()
            yield ("SELECT pg_sleep(0.2)", ())
            yield ("UPDATE notes SET x = x + 10 WHERE id = $1", (other,))

        return work

    await asyncio.gather(
        driver.write(crosswise("a", "b"), driver.generation, "notes"),
        driver.write(crosswise("b", "a"), driver.generation, "notes"),
    )
    assert len(runs) == 3
    assert await place.look("SELECT x FROM notes ORDER BY id") == [(12,), (12,)]


async def test_statements_prepared_before_a_column_changed_its_type_are_prepared_anew(place, driver):
    """On every connection, for reads, writes and units, and whoever changed the column."""
    other = await place.open(pool_size=3)

    async def all_at_once(value):
        find, save = "SELECT id, x FROM notes WHERE x = $1", "UPDATE notes SET x = $1 WHERE id = 'a' RETURNING x"
        reads = [other.fetch(find, (value,)) for _ in range(6)]
        writes = [other.run(save, (value,)) for _ in range(6)]
        units = [other.write(unit((find, value), (save, value)), ANY_GENERATION, "notes") for _ in range(6)]
        return [tuple(row) for rows in await asyncio.gather(*reads, *writes, *units) for row in rows]

    assert {row[-1] for row in await all_at_once(1)} == {1}
    await place.onlooker.execute("ALTER TABLE notes ALTER COLUMN x TYPE text")
    assert {row[-1] for row in await all_at_once("text")} == {"text"}
    await place.onlooker.execute("ALTER TABLE notes ALTER COLUMN x TYPE double precision USING 0.5")
    assert {row[-1] for row in await all_at_once(1.5)} == {1.5}
    with pytest.raises(InvalidQuery, match="fit"):
        await other.fetch("SELECT id FROM notes WHERE x = $1", ("text",))


async def test_closing_finishes_what_waits_and_refuses_what_comes_later(place, driver):
    other = await place.open(pool_size=2)
    tasks = [asyncio.create_task(other.run("UPDATE notes SET x = x + 1", ())) for _ in range(50)]
    await asyncio.sleep(0)
    await other.close()
    await asyncio.gather(*tasks)
    assert await place.look("SELECT x FROM notes") == [(51,)]
    for late in (other.fetch("SELECT 1", ()), other.begin(1), other.execute("SELECT 1", ())):
        with pytest.raises(DatabaseClosed):
            await late
    await other.close()
    assert len(await place.backends()) == 1


async def test_the_schema_of_the_url_holds_everything(place, postgres_url):
    driver = await place.open()
    await driver.execute("CREATE TABLE here (id text)", ())
    rows = await place.look("SELECT tablename FROM pg_tables WHERE schemaname = $1", place.schema)
    assert {"here", "kernel_meta", "kernel_catalog", "kernel_leases", "kernel_outbox"} <= {row[0] for row in rows}


async def test_behind_a_pooler_nobody_listens_and_a_signal_stays_in_the_process(place):
    driver = await place.open(pgbouncer="true")
    heard = asyncio.Event()
    driver.on_signal("outbox", heard.set)
    driver.signal("outbox")
    await asyncio.wait_for(heard.wait(), 5)
    assert len(await place.backends()) == 1
