"""SQL of an engine over tables of its own: in the open transaction where there is one, the same on every backend."""

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest

from app_kernel.core.errors import TransactionInOtherTask, UniqueViolation
from app_kernel.db import Database, create_database
from tests.conformance.backends import Place
from tests.conformance.steps import spell

TABLE = "CREATE TABLE IF NOT EXISTS [kernel_parcels] ([id] {key}, [weight] INTEGER)"
ADD = "INSERT INTO [kernel_parcels] ([id], [weight]) VALUES (?, ?)"
ALL = "SELECT [id], [weight] FROM [kernel_parcels] ORDER BY [id]"


@pytest.fixture
async def database(place: Place) -> AsyncIterator[Database]:
    opened = create_database(place.url)
    await opened.open()
    await opened.statements.define([spell(TABLE, place.words)])
    yield opened
    await opened.statements.define(["DROP TABLE [kernel_parcels]"])
    await opened.close()


async def parcels(database: Database) -> list[tuple[Any, ...]]:
    return [tuple(row[:2]) for row in await database.statements.fetch(ALL)]


async def test_a_statement_outside_of_a_transaction_is_one_of_its_own(database: Database) -> None:
    # MySQL gives no rows back.
    returning = "" if database.statements.backend == "mysql" else " RETURNING [id]"
    rows = await database.statements.run(f"{ADD}{returning}", ("a", 1))
    assert [row[0] for row in rows] == (["a"] if returning else [])
    assert [row[0] for row in await database.statements.run(ALL, ())] == ["a"]
    assert await parcels(database) == [("a", 1)]
    assert not database.statements.in_transaction


async def test_a_unit_is_kept_as_a_whole_or_not_at_all(database: Database) -> None:
    def two(first: str, second: str) -> Generator[tuple[str, Any], Any, int]:
        yield ADD, (first, 1)
        yield ADD, (second, 2)
        rows = yield ALL, ()
        return len(rows)

    assert await database.statements.write(lambda: two("a", "b")) == 2
    with pytest.raises(UniqueViolation):
        await database.statements.write(lambda: two("c", "a"))
    assert await parcels(database) == [("a", 1), ("b", 2)]


async def test_statements_join_the_open_transaction(database: Database) -> None:
    db, statements = database.connection(), database.statements
    with pytest.raises(RuntimeError):
        async with db.transaction():
            await statements.run(ADD, ("a", 1))
            assert statements.in_transaction
            assert await parcels(database) == [("a", 1)]
            raise RuntimeError
    assert await parcels(database) == []
    async with db.transaction():
        await statements.run(ADD, ("b", 1))
        await db.save_entity("things", {"name": "beside it"})
    assert await parcels(database) == [("b", 1)]
    assert await db.count_entities("things") == 1


async def test_a_failed_statement_leaves_the_transaction_open(database: Database) -> None:
    async with database.connection().transaction():
        await database.statements.run(ADD, ("a", 1))
        with pytest.raises(UniqueViolation):
            await database.statements.run(ADD, ("a", 2))
        await database.statements.run(ADD, ("b", 2))
    assert await parcels(database) == [("a", 1), ("b", 2)]


async def test_another_task_may_not_join_an_inherited_transaction(database: Database) -> None:
    async with database.connection().transaction():
        with pytest.raises(TransactionInOtherTask):
            await asyncio.gather(database.statements.run(ADD, ("a", 1)))
    assert await parcels(database) == []


async def test_a_callback_follows_the_commit_and_only_that(database: Database) -> None:
    called: list[str] = []
    db, statements = database.connection(), database.statements
    statements.after_commit(lambda: called.append("at once"))
    async with db.transaction():
        statements.after_commit(lambda: called.append("committed"))
        assert called == ["at once"]
    with pytest.raises(RuntimeError):
        async with db.transaction():
            statements.after_commit(lambda: called.append("rolled back"))
            raise RuntimeError
    assert called == ["at once", "committed"]


async def test_a_signal_reaches_another_handle(place: Place, database: Database) -> None:
    other, heard = create_database(place.url), asyncio.Event()
    await other.open()
    try:
        end = other.statements.on_signal("parcels", heard.set)
        async with asyncio.timeout(20):
            while not heard.is_set():
                # PostgreSQL's listener connects in the background; what was said before that is not heard.
                database.statements.signal("parcels")
                await asyncio.sleep(0.05)
        end()
    finally:
        await other.close()
    assert heard.is_set()


async def test_a_lease_has_one_holder(place: Place, database: Database) -> None:
    other = create_database(place.url)
    await other.open()
    try:
        lease = await database.statements.acquire_lease("parcels")
        assert lease is not None
        assert await other.statements.acquire_lease("parcels") is None
        assert await lease.renew()
        await lease.release()
        again = await other.statements.acquire_lease("parcels")
        assert again is not None
        await again.release()
    finally:
        await other.close()


async def test_a_database_is_called_the_same_by_all_who_open_it(place: Place, database: Database) -> None:
    other = create_database(place.url)
    await other.open()
    try:
        assert await other.statements.database_id() == await database.statements.database_id()
    finally:
        await other.close()
