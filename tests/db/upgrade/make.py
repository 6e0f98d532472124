"""Makes a database as a version of app_kernel makes it, and writes down what is in it, as that version reads it.

Run with an older version in front of today's, which need not know how to make the same:

    git worktree add --detach /tmp/old COMMIT
    PYTHONPATH=/tmp/old/src python -m tests.db.upgrade.make sqlite:////tmp/old.db tests/db/upgrade/NAME

That writes NAME.sql, every table and row to the letter, and NAME.json. A PostgreSQL URL names an empty schema called
`kernel_upgrade`. Nothing is used but what the first version had, and what later ones have only where they have it.
"""

import asyncio
import importlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from app_kernel.auth import create_user
from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import UniqueViolation
from app_kernel.core.tables import Index, Table
from app_kernel.db import create_database

ENTITIES = ("everything", "parts", "visits", "gone", "books", "tickets", "wide", "places")
"""What `fill` makes: all of them have a history."""
SCHEMA = "kernel_upgrade"
"""In which a dump of PostgreSQL is; whoever runs it puts a name of its own there."""
USER, PASSWORD = "ada@example.com", "correct horse battery staple"

_SETTINGS = ("--", "SET ", "SELECT pg_catalog.set_config", "\\restrict", "\\unrestrict")
_KEYS = {
    "sqlite": ("TEXT PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT"),
    "postgres": ("TEXT PRIMARY KEY", "BIGSERIAL PRIMARY KEY"),
    "mysql": ("VARCHAR(191) PRIMARY KEY", "BIGINT AUTO_INCREMENT PRIMARY KEY"),
}
"""How an application declares a key of its own and one that the database gives, by the scheme of the URL."""
_HERE = timezone(timedelta(hours=2))
_EVERYTHING: dict[str, Any] = {
    "id": "e1",
    "text": "Grüße, 'quoted' \"twice\" \\ 100% \N{SNOWMAN} \N{GRINNING FACE}\nline\ttab ",
    "empty": "",
    "whole": -(2**63),
    "large": 2**200 + 1,
    "real": 0.1 + 0.2,
    "tiny": 5e-324,
    "yes": True,
    "price": Decimal("1234567890123456789.10"),
    "tags": ["a", {"b": [1, 2.5, None, True]}, "ü"],
    "settings": {"theme": "dark", "sizes": [1, 2, 3], "deep": {"er": {"still": "here"}}},
    "seen_at": datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=UTC),
    "begins_at": datetime(1, 1, 2, 3, 4, 5, tzinfo=UTC),
    "local_at": datetime(2026, 7, 1, 12, 0, 0, 5, tzinfo=_HERE),
    "born": date(1999, 12, 31),
    "raw": bytes(range(256)),
    "key": UUID("12345678-1234-5678-1234-567812345678"),
    "nothing": None,
}


async def fill(url: str) -> None:
    """Rows of every kind, their histories, deleted and purged ones, tables of an application's own, an account."""
    database = create_database(url)
    await database.open()
    try:
        db = database.connection()
        await _fill_own(db)
        await _fill_adopted(db, url)
        await create_user(db, USER, PASSWORD, role="admin", config=ServiceConfig(jwt_secret="x" * 40))
        await _fill_messages(database.connection())
        await _fill_jobs(database, url)
    finally:
        await database.close()


async def _fill_own(db: Any) -> None:
    await db.save_entity("everything", _EVERYTHING, comment="first")
    await db.save_entity("everything", {"id": "e1", "text": None, "whole": 2**63 - 1, "nothing": None})
    await db.save_entity("everything", {"id": "e1", "real": 1e300, "tags": [], "raw": b""}, comment="third")
    await db.save_entity("everything", {"id": "e2", "nothing": None})
    indexes = (Index(("code",), unique=True), Index(("weight", "code")))
    await db.ensure_tables([Table("parts", {"code": str, "weight": float}, indexes, history=True)])
    for number in range(12):
        await db.save_entity("parts", {"id": f"p{number:02}", "code": f"C-{number}", "weight": number / 8})
    for number in range(0, 12, 5):
        await db.delete_entity("parts", f"p{number:02}")
    await db.restore_entity("parts", "p05")
    with suppress(UniqueViolation):
        await db.save_entity("parts", {"id": "twice", "code": "C-1"})
    await db.save_entity("parts", {"id": "p00b", "code": "C-0"}, comment="takes the place of a deleted one")
    for values in ({"at": 1}, {"at": 2.5}, {"at": "text"}, {"at": True}, {"at": {"json": 1}}):
        await db.save_entity("visits", {"id": f"v-{type(values['at']).__name__}", **values})
    await db.save_entity("gone", {"id": "g1", "name": "purged"})
    await db.delete_entity("gone", "g1", permanent=True)
    await db.save_entity("gone", {"id": "g1", "name": "made again"})
    await db.save_entity("gone", {"id": "g2", "name": "purged with its history"})
    await db.delete_entity("gone", "g2", permanent=True, purge_history=True)
    await db.save_entity("gone", {"id": "g3", "name": "purged for good"})
    await db.delete_entity("gone", "g3", permanent=True)
    await db.save_entity("wide", {"id": "w", **{f"field_{number}": number for number in range(20)}})
    await db.save_entity("places", {"id": "here", "lat": 1, "name": "x" * 300})
    await db.save_entity("places", {"id": "here", "lat": 1.5})


async def _fill_adopted(db: Any, url: str) -> None:
    key, serial = _KEYS[url.partition(":")[0]]
    await db.execute(f"CREATE TABLE [books] ([id] {key}, [title] TEXT NOT NULL, [pages] INTEGER DEFAULT 7)")
    await db.execute("INSERT INTO [books] ([id], [title]) VALUES ('b1', 'Before'), ('b2', 'Untouched')")
    await db.save_entity("books", {"id": "b1", "title": "After", "isbn": "978-3"}, comment="adopted")
    await db.save_entity("books", {"id": "b3", "title": "New", "pages": 300})
    await db.execute(f"CREATE TABLE [tickets] ([id] {serial}, [subject] TEXT)")
    await db.execute("INSERT INTO [tickets] ([subject]) VALUES ('one'), ('two')")
    await db.save_entity("tickets", {"subject": "three"})
    await db.save_entity("tickets", {"id": 1, "subject": "one, changed"})
    await db.delete_entity("tickets", 2)
    await db.execute("CREATE VIEW [titles] AS SELECT [id], [title] FROM [books]")


async def _fill_messages(db: Any) -> None:
    """A message that nobody took yet and a dead letter, in versions that have an outbox."""
    if not hasattr(db, "send_messages"):
        return
    outbox = importlib.import_module("app_kernel.core.outbox")
    await db.privileged.send_messages([outbox.Message(topic="upgrade", body={"kept": [1, "ü"]}, key="k", id="m1")])
    await db.privileged.execute(
        "INSERT INTO [kernel_dead_letters] ([id], [topic], [key], [body], [created_at], [died_at], [attempts],"
        " [reason]) VALUES ('d1', 'upgrade', 'k', '{}', '2026-01-01T00:00:00.000000Z',"
        " '2026-01-02T00:00:00.000000Z', 16, 'nobody took it')"
    )


async def _fill_jobs(database: Any, url: str) -> None:
    """A job that nobody ran yet, in versions that have jobs and databases that keep them."""
    if url.startswith("mysql"):
        return
    with suppress(ModuleNotFoundError):
        jobs = importlib.import_module("app_kernel.jobs")
        async with jobs.open_client(database.statements, None) as client:
            await client.enqueue("upgrade.waits", {"n": 1}, job_id="j1")


async def read(url: str) -> dict[str, Any]:
    """What is in such a database, as the version that runs this reads it: by entity, its rows and its history."""
    database = create_database(url)
    await database.open()
    try:
        db = database.connection()
        found: dict[str, Any] = {}
        for name in ENTITIES:
            rows = await db.find_entities(name, include_deleted=True, order_by="[id]")
            history = await db.find_entities(f"{name}_history", order_by="[id], [_version]")
            found[name] = {"rows": [as_json(row) for row in rows], "history": [as_json(row) for row in history]}
        return found
    finally:
        await database.close()


def as_json(value: Any) -> Any:
    """A value as JSON that tells its type as well."""
    if isinstance(value, Mapping):
        return {name: as_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [as_json(each) for each in value]
    if value is None or isinstance(value, str | bool):
        return value
    return {type(value).__name__: value.hex() if isinstance(value, bytes) else str(value)}


async def _make(url: str) -> dict[str, Any]:
    await fill(url)
    return await read(url)


def _dumped(url: str) -> str:
    """The whole database as statements that make it anew."""
    if url.startswith("sqlite"):
        # A version that was killed leaves its latest commits in the log, which is read as well.
        with closing(sqlite3.connect(url.partition("://")[2][1:])) as connection:
            return "\n".join(connection.iterdump()) + "\n"
    command = ["pg_dump", "--schema", SCHEMA, "--no-owner", "--no-privileges", "--inserts", url.partition("?")[0]]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line for line in text.splitlines() if line and not line.startswith(_SETTINGS)]
    return "\n".join(lines) + "\n"


def _written(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The same as JSON, with a line for each row."""
    parts = []
    for name, kept in found.items():
        lists = (
            f'"{key}": [\n' + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]"
            for key, rows in kept.items()
        )
        parts.append(f'"{name}": {{' + ", ".join(lists) + "}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    made = asyncio.run(_make(sys.argv[1]))
    Path(f"{sys.argv[2]}.json").write_text(_written(made))
    Path(f"{sys.argv[2]}.sql").write_text(_dumped(sys.argv[1]))
