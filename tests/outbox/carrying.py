"""Databases, messages and sinks for the tests of the outbox."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from app_kernel.core import clock
from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore
from app_kernel.db.database import Database, create_database
from app_kernel.db.outbox.relay import Receivers, Relay
from app_kernel.db.outbox.rows import OutboxRows
from tests.conformance.backends import SERVICE_BACKENDS
from tests.conformance.mysql_place import empty_database

ALL_BACKENDS = ("sqlite", "postgres", "mysql")
BACKENDS = tuple(SERVICE_BACKENDS)
"""On MySQL in the long run; what its own statements make different runs on all of them in every run."""
ADMIN = "admin:things"
LOCAL = "test:things"


@asynccontextmanager
async def opened(*urls: str) -> AsyncIterator[list[Database]]:
    """Open databases; private ones in memory unless their URLs are given."""
    databases = [create_database(url) for url in urls or ("sqlite://:memory:",) * 2]
    for database in databases:
        await database.open()
    try:
        yield databases
    finally:
        for database in databases:
            await database.close()


@asynccontextmanager
async def opened_on(backend: str, request: pytest.FixtureRequest) -> AsyncIterator[list[Database]]:
    """An app and an admin database of a backend, empty."""
    if backend == "sqlite":
        async with opened() as databases:
            yield databases
        return
    if backend == "mysql":
        async with empty_database() as app, empty_database() as admin, opened(app, admin) as databases:
            yield databases
        return
    server = request.getfixturevalue("postgres_url")
    names = [f"outbox_{role}_{clock.new_id().replace('-', '')[-12:]}" for role in ("app", "admin")]
    try:
        async with opened(*(f"{server}?schema={name}" for name in names)) as databases:
            yield databases
    finally:
        connection = await asyncpg.connect(server)
        await connection.execute(f"DROP SCHEMA IF EXISTS {', '.join(names)} CASCADE")
        await connection.close()


@asynccontextmanager
async def relaying(source: Database, receivers: Receivers, **options: Any) -> AsyncIterator[Relay]:
    """A running relay, stopped at the end."""
    relay = Relay(source, receivers, **options)
    relay.start()
    try:
        yield relay
    finally:
        await relay.stop()


async def send(database: Database, *messages: Message) -> None:
    """Puts messages into the outbox in one commit."""
    await database.connection().privileged.send_messages(messages)


def numbered(numbers: Iterable[int], *, topic: str = ADMIN, key: str = "k") -> list[Message]:
    """Messages that say their number."""
    return [Message(topic, {"n": number}, key) for number in numbers]


class WritingSink:
    """Saves an entity for each message, and fails as long as it is told to."""

    def __init__(self) -> None:
        self.refused: set[int] = set()
        self.away: Exception | None = None
        self.calls = 0

    async def __call__(self, db: EntityStore, messages: Sequence[Message]) -> None:
        self.calls += 1
        if self.away is not None:
            raise self.away
        for message in messages:
            await db.save_entity("arrived", {"n": message.body["n"], "message": message.id})
            if message.body["n"] in self.refused:
                raise ValueError(f"cannot write {message.body['n']}")


async def arrived(database: Database) -> list[int]:
    """The numbers of what arrived, in the order of arrival."""
    return [row["n"] for row in await database.connection().find_entities("arrived", order_by="id")]


async def until(what: str, condition: Callable[[], Awaitable[object]], seconds: float = 15) -> None:
    """Returns once it holds; fails after some seconds."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - what it waits for is in a database
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{what} did not happen within {seconds} s") from None


async def until_empty(database: Database, seconds: float = 15) -> None:
    """Returns when nothing is left to send."""

    async def is_empty() -> bool:
        return (await OutboxRows(database.driver).lag()).unsent == 0

    await until("an empty outbox", is_empty, seconds)


async def until_arrived(database: Database, count: int, seconds: float = 15) -> list[int]:
    """What arrived, once it is as much as that."""

    async def is_there() -> bool:
        return len(await arrived(database)) >= count

    await until(f"the arrival of {count}", is_there, seconds)
    return await arrived(database)
