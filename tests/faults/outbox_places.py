"""Where the outbox is tested on a server: two schemas or databases of it, gone at the end."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import pytest

from tests.conformance import mysql_place


def server_of(backend: str, request: pytest.FixtureRequest) -> str | None:
    """The address of the server of a backend; None for SQLite."""
    address: str | None = None if backend == "sqlite" else request.getfixturevalue(f"{backend}_url")
    return address


@contextmanager
def outbox_urls(server: str | None) -> Iterator[tuple[str, str] | None]:
    """The app and the admin database on a server; None where there is none, for files."""
    if server is None:
        yield None
        return
    names = [f"t_{role}_{secrets.token_hex(6)}" for role in ("app", "admin")]
    if server.startswith("mysql:"):
        with _mysql_databases(server, names) as urls:
            yield urls
        return
    try:
        # Small pools: eight services with two each would have all connections of a server as it is shipped.
        app, admin = (f"{server}?schema={name}&pool_size=4" for name in names)
        yield f"{app}&application_name={names[0]}", admin
    finally:
        asyncio.run(execute(server, f"DROP SCHEMA IF EXISTS {', '.join(names)} CASCADE"))


@contextmanager
def _mysql_databases(server: str, names: list[str]) -> Iterator[tuple[str, str]]:
    place = server.rpartition("/")[0]
    try:
        asyncio.run(
            _execute_mysql(server, "; ".join(f"CREATE DATABASE {name} CHARACTER SET utf8mb4" for name in names))
        )
        app, admin = (f"{place}/{name}?pool_size=4" for name in names)
        yield app, admin
    finally:
        asyncio.run(_execute_mysql(server, "; ".join(f"DROP DATABASE IF EXISTS {name}" for name in names)))


async def _execute_mysql(server: str, sql: str) -> None:
    connection = await mysql_place.connect(server)
    try:
        await mysql_place.execute(connection, sql)
    finally:
        await connection.ensure_closed()


async def execute(server: str, sql: str) -> None:
    """One statement on a connection of its own."""
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
