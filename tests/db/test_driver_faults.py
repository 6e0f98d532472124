"""What drivers say when they are closed, kept waiting, or lose what they need in the middle."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncmy
import pytest

from app_kernel.core.errors import DatabaseBusy, DatabaseClosed, StoreError, Unavailable
from app_kernel.db import connect
from app_kernel.db.drivers import mysql_schema
from app_kernel.db.errors import SchemaFact
from app_kernel.db.inspection import inspect_database
from app_kernel.db.inspection.connecting import make_onlooker
from app_kernel.db.url import make_driver
from tests.conformance.mysql_place import empty_database
from tests.conformance.postgres_place import empty_schema
from tests.db.server_places import SERVERS, shared_server
from tests.db.server_tools import until

PLACES = {"postgres": empty_schema, "mysql": empty_database}


@pytest.fixture(params=SERVERS)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    async with shared_server(request).place() as fresh:
        yield fresh


async def test_a_closed_sqlite_database_refuses_whatever_is_asked_of_it(tmp_path: Path) -> None:
    driver = make_driver(f"sqlite:///{tmp_path / 'app.db'}")
    await driver.open()
    await driver.close()
    with pytest.raises(DatabaseClosed):
        driver.snapshot()
    with pytest.raises(DatabaseClosed):
        await driver.acquire_lease("relay")
    with pytest.raises(DatabaseClosed):
        await driver.copy_file(str(tmp_path / "copy.db"))  # type: ignore[attr-defined]  # SQLite's own
    with pytest.raises(DatabaseClosed):
        await driver.fetch("SELECT 1", ())
    with pytest.raises(DatabaseClosed):
        await driver.begin(1)
    assert driver.pool().waiting == 0
    await driver.close()


@pytest.mark.parametrize("place", SERVERS, indirect=True)
async def test_a_snapshot_whose_statement_fails_goes_on_and_one_that_is_lost_says_so(place: Any) -> None:
    driver = await place.open()
    await driver.execute("CREATE TABLE things (id varchar(50) PRIMARY KEY)", ())
    async with driver.snapshot() as snapshot:
        with pytest.raises((StoreError, SchemaFact)):
            await snapshot.fetch("SELECT nothing FROM nowhere")
        assert [tuple(row) for row in await snapshot.fetch("SELECT count(*) FROM things", table="things")] == [(0,)]
    with pytest.raises(StoreError):
        async with driver.snapshot() as snapshot:
            await place.terminate()
            await snapshot.fetch("SELECT count(*) FROM things", table="things")
    assert [tuple(row) for row in await driver.fetch("SELECT count(*) FROM things", ())] == [(0,)]


@pytest.mark.parametrize("place", SERVERS, indirect=True)
async def test_a_commit_that_fails_as_no_driver_does_gives_its_connection_back(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = await place.open()
    transaction = await driver.begin(5)

    async def fail(connection: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(driver._wire, "commit", fail)
        with pytest.raises(ZeroDivisionError):
            await transaction.commit()

    async def is_given_back() -> bool:
        return bool(driver.pool().in_use == 0)

    await until(is_given_back)
    # Nobody knows what became of it, and it is over.
    await transaction.rollback()
    with pytest.raises(StoreError):
        await transaction.commit()


async def test_a_snapshot_on_postgres_whose_keeper_is_lost_does_not_end_as_if_nothing_was(
    request: pytest.FixtureRequest,
) -> None:
    request.param = "postgres"
    async with shared_server(request).place() as place:
        driver = await place.open()
        with pytest.raises(DatabaseClosed, match="kept the snapshot"):
            async with driver.snapshot():
                await place.terminate()
                # asyncpg hears of it when the server says goodbye.
                await asyncio.sleep(0.2)


async def test_a_change_of_the_schema_on_mysql_waits_for_another_process_only_so_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mysql_schema, "SCHEMA_LOCK_SECONDS", 1)
    async with empty_database() as url, connect(url) as one, connect(url) as other:
        await one.save_entity("things", {"id": "a", "n": 1})
        schema = one._driver._schema
        tables, _ = await schema._connections()
        await schema._lock(tables)
        with pytest.raises(DatabaseBusy, match="Another process"):
            await other.save_entity("things", {"id": "b", "fresh": 1})
        schema.close()
        assert (await other.save_entity("things", {"id": "b", "fresh": 1}))["fresh"] == 1


async def test_a_change_of_the_schema_on_mysql_waits_for_its_own_process_only_so_long() -> None:
    async with empty_database() as url, connect(url) as db:
        await db.save_entity("things", {"id": "a", "n": 1})
        schema = db._driver._schema
        schema._seconds = 0.1
        async with schema._turn:
            with pytest.raises(DatabaseBusy, match="all the time"):
                await db.save_entity("things", {"id": "b", "fresh": 1})
        assert (await db.save_entity("things", {"id": "b", "fresh": 1}))["fresh"] == 1


async def test_a_look_after_broken_changes_on_mysql_fails_as_unavailable_and_works_again() -> None:
    async with empty_database() as url, connect(url) as db:
        await db.save_entity("things", {"id": "a", "n": 1})
        schema = db._driver._schema
        await schema.mend()
        tables, _ = await schema._connections()

        async def lost(sql: str, *params: object) -> list[object]:
            raise asyncmy.errors.OperationalError(2013, "Lost connection to server during query")

        tables.fetch = lost
        with pytest.raises(Unavailable):
            await schema.mend()
        await schema.mend()


@pytest.mark.parametrize("backend", ["sqlite", *PLACES])
async def test_an_onlooker_that_is_not_open_or_is_told_nonsense_says_so(backend: str, tmp_path: Path) -> None:
    if backend == "sqlite":
        await assert_told(f"sqlite:///{tmp_path / 'app.db'}")
        return
    async with PLACES[backend]() as url:
        await assert_told(url)


async def assert_told(url: str) -> None:
    async with connect(url) as db:
        await db.save_entity("things", {"id": "a"})
    onlooker = make_onlooker(url)
    with pytest.raises(Unavailable):
        await onlooker.fetch("SELECT 1")
    await onlooker.open()
    try:
        with pytest.raises((StoreError, SchemaFact)):
            await onlooker.fetch("SELECT nothing FROM nowhere")
        assert [tuple(row) for row in await onlooker.fetch("SELECT 1")] == [(1,)]
        with pytest.raises(StoreError):
            await onlooker.fetch("DELETE FROM things")
    finally:
        await onlooker.close()


async def test_an_inspection_of_what_is_no_database_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await inspect_database(f"sqlite:///{tmp_path / 'none.db'}")
    (tmp_path / "text.db").write_text("no database, but longer than the header of one would be " * 100)
    with pytest.raises(StoreError):
        await inspect_database(f"sqlite:///{tmp_path / 'text.db'}")
