"""Databases as older versions of app_kernel left them, each made anew from its dump."""

import json
import secrets
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg

from tests.db.upgrade.make import SCHEMA

FOLDER = Path(__file__).parent
MADE_BY = {
    "sqlite_first": "c13ec30, which resolved the first issue",
    "sqlite_jobs": "3256c2b, with background jobs",
    "sqlite_workspaces": "b290f85, with identity, workspaces, flags and webhooks",
    "postgres_first": "73bde41, the first one on PostgreSQL",
    "postgres_jobs": "3256c2b, with background jobs",
}
"""Each dump, and the commit that made it, see `make.py`; its outbox and dead letters begin with 73bde41."""


@cache
def expected(name: str) -> Any:
    """What is in a dump, as the version read it that made it: rows and histories, by entity."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def has_jobs(name: str) -> bool:
    """Whether a job waits in a dump."""
    return not name.endswith("first")


def has_messages(name: str) -> bool:
    """Whether a message waits in a dump, and another one is dead."""
    return name != "sqlite_first"


@asynccontextmanager
async def restored(name: str, directory: Path, server: str | None) -> AsyncIterator[str]:
    """The URL of a database made from a dump: a new file, or a schema of its own on a PostgreSQL server."""
    script = (FOLDER / f"{name}.sql").read_text()
    token = secrets.token_hex(6)
    if server is None:
        file = directory / f"{token}.db"
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript(script)
        yield f"sqlite:///{file}?synchronous=NORMAL"
        return
    schema = f"upgrade_{token}"
    connection = await asyncpg.connect(server, server_settings={"client_min_messages": "error"})
    try:
        await connection.execute(script.replace(SCHEMA, schema))
        yield f"{server.partition('?')[0]}?schema={schema}&sslmode=disable&pool_size=5"
    finally:
        await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        await connection.close()
