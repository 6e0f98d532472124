"""Where the outbox is tested on PostgreSQL: two schemas of a server, gone at the end."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg


@contextmanager
def outbox_urls(server: str | None) -> Iterator[tuple[str, str] | None]:
    """The app and the admin database on a server; None where there is none, for files."""
    if server is None:
        yield None
        return
    names = [f"t_{role}_{secrets.token_hex(6)}" for role in ("app", "admin")]
    try:
        # Small pools: eight services with two each would have all connections of a server as it is shipped.
        app, admin = (f"{server}?schema={name}&pool_size=4" for name in names)
        yield f"{app}&application_name={names[0]}", admin
    finally:
        asyncio.run(execute(server, f"DROP SCHEMA IF EXISTS {', '.join(names)} CASCADE"))


async def execute(server: str, sql: str) -> None:
    """One statement on a connection of its own."""
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
