"""A fault at every word with a server: what was being done is whole or was not done, and what follows works.

Every statement of the kernel's goes through two methods of a connection. A run does a little of everything; each run
has one fault, at the next place in turn.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncmy
import asyncpg
import pytest

from app_kernel.core.errors import StoreError
from app_kernel.core.outbox import Message
from app_kernel.db.database import Database, create_database
from app_kernel.db.drivers import mysql_connection, postgres_connection
from tests.conformance.mysql_place import empty_database
from tests.conformance.postgres_place import empty_schema
from tests.db.server_tools import until
from tests.faults.figures import figure

PLACES = {"postgres": empty_schema, "mysql": empty_database}
LOST: dict[Any, Exception] = {
    postgres_connection.Connection: asyncpg.ConnectionDoesNotExistError("closed in the middle of operation"),
    mysql_connection.Connection: asyncmy.errors.OperationalError(2013, "Lost connection to server during query"),
}
"""What the drivers say when the server goes away before its answer has come."""
REFUSED: dict[Any, Exception] = {
    postgres_connection.Connection: asyncpg.DeadlockDetectedError("deadlock detected"),
    mysql_connection.Connection: asyncmy.errors.OperationalError(1213, "Deadlock found when trying to get lock"),
}
"""What they say when the same again may succeed."""
KINDS = (
    "broken before",
    "broken after",
    "cancelled",
    "failed",
    "refused",
    "refused then broken",
    "refused then failed",
)
"""What follows a refusal is most often its undoing."""
TOPIC = "test:faults"
STEP = figure(short=3, long=1)
"""Of the places of a fault every third one is tried in a short run, another third for each kind of fault."""
MOST = 400


class UnexpectedError(Exception):
    """No error that any driver raises."""


@dataclass
class Faults:
    """Waits for the word of this number and does something to it."""

    at: int
    kind: str
    count: int = 0
    task: "asyncio.Task[None] | None" = None
    """Whoever does all this."""
    is_beside: bool = False
    """Whether the word was another task's, such as of signals."""

    @property
    def happened(self) -> bool:
        """Whether it has been done."""
        return self.count > self.at

    async def around(self, connection: Any, call: Callable[[], Any]) -> Any:
        """The call, with or without its fault."""
        number, self.count = self.count, self.count + 1
        first, _, second = self.kind.partition(" then ")
        if number == self.at:
            self.is_beside = asyncio.current_task() is not self.task
            return await self._strike(first, connection, call)
        if second and number == self.at + 1:
            return await self._strike(second, connection, call)
        return await call()

    async def _strike(self, kind: str, connection: Any, call: Callable[[], Any]) -> Any:
        if kind in ("broken", "broken before"):
            connection.terminate()
        elif kind == "broken after":
            await call()
            connection.terminate()
            raise LOST[type(connection)]
        elif kind == "cancelled":
            assert self.task is not None
            self.task.cancel()
        else:
            raise REFUSED[type(connection)] if kind == "refused" else UnexpectedError
        return await call()


@contextmanager
def watched(faults: Faults) -> Iterator[None]:
    """Every word of a connection passes by the faults."""
    with pytest.MonkeyPatch.context() as patch:
        for connection in LOST:
            for name in ("fetch", "execute"):
                patch.setattr(connection, name, _passing(getattr(connection, name), faults))
        yield


def _passing(original: Any, faults: Faults) -> Any:
    async def method(self: Any, *arguments: Any, **options: Any) -> Any:
        return await faults.around(self, lambda: original(self, *arguments, **options))

    return method


@dataclass
class Run:
    """What one run did, and what is known of it."""

    table: str
    acknowledged: set[str] = field(default_factory=set)

    async def everything(self, database: Database) -> None:
        """Rows, columns, a transaction with a part and a message, a lease, a snapshot, a statement of one's own."""
        db, driver = database.connection(), database.driver
        await db.save_entity(self.table, {"id": "a", "x": 1})
        self.acknowledged.add("a")
        await db.save_entity(self.table, {"id": "a", "y": "text"})
        await db.save_entities(self.table, [{"id": f"m{number}", "x": number} for number in range(3)])
        self.acknowledged |= {"m0", "m1", "m2"}
        assert len(await db.find_entities(self.table, "[x] >= ?", [0])) == 4
        async with db.transaction():
            await db.save_entity(self.table, {"id": "b", "x": 2})
            async with db.transaction():
                await db.save_entity(self.table, {"id": "c", "x": 3})
            await db.privileged.send_messages([Message(TOPIC, {"n": self.table})])
        self.acknowledged |= {"b", "c"}
        await db.privileged.execute("SELECT COUNT(*) FROM [kernel_outbox]")
        lease = await driver.acquire_lease(self.table)
        if lease is not None:
            await lease.renew()
            await lease.release()
        async with driver.snapshot() as snapshot:
            rows = await snapshot.fetch(f'SELECT count(*) FROM "{self.table}"', table=self.table)
            assert rows[0][0] == 6
        await db.save_entity(self.table, {"id": "a", "x": 5})

    async def check(self, database: Database) -> None:
        """All of what was acknowledged is there, and of what belongs together all or nothing."""
        db = database.connection()
        await db.save_entity(self.table, {"id": "last", "x": 9})
        rows = {row["id"]: row for row in await db.find_entities(self.table, limit=100)}
        assert self.acknowledged <= rows.keys(), (self.acknowledged, rows.keys())
        sent = await db.privileged.execute(
            "SELECT COUNT(*) FROM [kernel_outbox] WHERE [topic] = ? AND [body] LIKE ?", [TOPIC, f'%"{self.table}"%']
        )
        assert {"b" in rows, "c" in rows, sent[0][0] == 1} in ({True}, {False}), (rows.keys(), sent)
        assert {"m0", "m1", "m2"} <= rows.keys() or not {"m0", "m1", "m2"} & rows.keys()
        for id, row in rows.items():
            assert await db.count_entities(f"{self.table}_history", "[id] = ?", [id]) == row["_version"], id


@pytest.fixture(params=PLACES)
async def database(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    async with PLACES[request.param]() as url:
        opened = create_database(url)
        await opened.open()
        yield opened
        await opened.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_breaks_at_whichever_word_leaves_nothing_by_halves(database: Database, kind: str) -> None:
    first, tried = KINDS.index(kind) % STEP, 0
    for at in range(first, MOST, STEP):
        run, faults = Run(f"t{at}"), Faults(at, kind)
        with watched(faults):
            faults.task = asyncio.create_task(run.everything(database))
            await asyncio.wait([faults.task], timeout=30)
        assert faults.task.done(), f"nothing goes on after fault {at}"
        if not faults.happened:
            break
        tried += 1
        if faults.task.cancelled():
            assert kind == "cancelled"
        else:
            error = faults.task.exception()
            # Some of what breaks is done again, and a commit that has begun goes on to its end.
            assert error is None or isinstance(error, StoreError | UnexpectedError), (at, error)
            assert kind != "failed" or faults.is_beside or isinstance(error, UnexpectedError), (at, error)
        async with asyncio.timeout(30):
            await run.check(database)
            await until(lambda: are_given_back(database))
    assert tried > 40 / STEP
    print(f"\n{database.driver.dialect.name}, {kind}: {tried} places")


async def are_given_back(database: Database) -> bool:
    """Whether no connection is in use: none was forgotten."""
    return database.driver.pool().in_use == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
async def test_whatever_breaks_as_a_database_is_opened_it_can_be_opened_afterwards(place: str, kind: str) -> None:
    tried = 0
    async with PLACES[place]() as url:
        for at in range(MOST):
            database, faults = create_database(url), Faults(at, kind)
            with watched(faults):
                faults.task = asyncio.create_task(database.open())
                await asyncio.wait([faults.task], timeout=30)
            assert faults.task.done(), f"nothing goes on after fault {at}"
            opened = not faults.task.cancelled() and faults.task.exception() is None
            if not faults.task.cancelled() and not opened:
                assert isinstance(faults.task.exception(), StoreError | UnexpectedError), faults.task
            if opened:
                await database.close()
            if not faults.happened:
                break
            tried += 1
            again = create_database(url)
            async with asyncio.timeout(30):
                await again.open()
                await again.connection().save_entity("notes", {"id": "a", "n": at})
                await again.close()
    assert tried > 1
