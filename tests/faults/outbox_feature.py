"""A feature that sends every change out and writes down what arrives, as often and in the order in which it does."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import parse_qs, urlsplit

import apsw
import asyncpg

from app_kernel.core.events import EntityChanged
from app_kernel.core.feature import Feature
from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore
from tests.conformance import mysql_place

TOPIC = "admin:test_changes"


def every_change(change: EntityChanged) -> Iterable[Message]:
    """One message for each change, in order for each entity."""
    return [Message(TOPIC, {"id": change.id, "version": change.version}, key=str(change.id))]


async def write_down(db: EntityStore, messages: Sequence[Message]) -> None:
    """A row for each message; nothing but the inbox keeps one from being written twice."""
    for message in messages:
        await db.execute(
            "INSERT INTO [effects] ([entity], [version]) VALUES (?, ?)", (message.body["id"], message.body["version"])
        )


def look(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a database of any kind, as somebody else sees them."""
    if url.startswith("sqlite:"):
        with closing(apsw.Connection(url.removeprefix("sqlite:///"))) as connection:
            return list(connection.execute(sql))
    if url.startswith("mysql:"):
        return asyncio.run(_look_at_mysql(url, sql))
    return asyncio.run(_look_at_server(url, sql))


async def _look_at_mysql(url: str, sql: str) -> list[tuple[Any, ...]]:
    connection = await mysql_place.connect(url)
    try:
        await mysql_place.execute(connection, f"USE {urlsplit(url).path[1:]}")
        return await mysql_place.execute(connection, sql)
    finally:
        await connection.ensure_closed()


async def _look_at_server(url: str, sql: str) -> list[tuple[Any, ...]]:
    plain, schema = url.partition("?")[0], parse_qs(urlsplit(url).query)["schema"][0]
    connection = await asyncpg.connect(plain, server_settings={"search_path": schema})
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


def make_effects(url: str) -> None:
    """The table in which the rows are numbered as they arrive."""
    if url.startswith("sqlite:"):
        look(url, "CREATE TABLE effects (n INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT, version INTEGER)")
        return
    if url.startswith("mysql:"):
        look(
            url,
            "CREATE TABLE effects (n BIGINT AUTO_INCREMENT PRIMARY KEY, entity VARCHAR(191) COLLATE utf8mb4_bin,"
            " version BIGINT)",
        )
        return
    look(url, f"CREATE SCHEMA {parse_qs(urlsplit(url).query)['schema'][0]}")
    look(url, "CREATE TABLE effects (n BIGSERIAL PRIMARY KEY, entity TEXT, version BIGINT)")


def read_effects(url: str) -> dict[str, list[int]]:
    """The versions of each entity, as they arrived."""
    found: dict[str, list[int]] = {}
    for entity, version in look(url, "SELECT entity, version FROM effects ORDER BY n"):
        found.setdefault(str(entity), []).append(int(version))
    return found


FEATURE = Feature(name="test_changes", recorders=(every_change,), sinks={TOPIC: write_down})
