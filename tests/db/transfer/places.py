"""Empty databases of every kind, and one that is full of all there can be."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg

from app_kernel.core.context import acting_as
from app_kernel.core.jobs import JOB_TOPIC
from app_kernel.core.outbox import Message
from app_kernel.db import Store, connect, create_database
from app_kernel.db.transfer.copying import Copy, Result
from app_kernel.db.transfer.filler import Options
from app_kernel.db.transfer.moves import opened_copy
from app_kernel.jobs import JOB_TABLES
from app_kernel.jobs.queues.database import DatabaseBackend
from app_kernel.jobs.records import NewJob
from tests.conformance.mysql_place import connect as connect_mysql
from tests.conformance.mysql_place import execute as execute_mysql

ENGINES = (JOB_TABLES,)
EDGES: list[dict[str, Any]] = [
    {
        "text": "", "whole": 0, "huge": 0, "real": 0.0, "yes": True, "exact": Decimal("0.00"), "tree": {},
        "at": datetime(1, 1, 1, tzinfo=UTC), "day": date(1, 1, 1), "raw": b"", "uid": UUID(int=0), "any": 1,
    },
    {
        "text": "a'b\"c\\d%_?[x]$1 😀\t\n ", "whole": 2**63 - 1, "huge": 2**80, "real": 1e-300, "yes": False,
        "exact": Decimal("12345678901234567890.123456789"), "tree": [1, 1.0, 1e17, -0.0, "x", None, True, {"b": {}}],
        "at": datetime.max.replace(tzinfo=UTC), "day": date.max, "raw": bytes(range(256)), "uid": UUID(int=2**128 - 1),
        "any": "text",
    },
    {
        "text": "ß€ ", "whole": -(2**63), "huge": -(2**80), "real": 0.1 + 0.2, "yes": None, "exact": Decimal("-1.50"),
        "tree": {"z": 1, "a": ["\\", '"', "�"]}, "at": datetime(2024, 2, 29, 23, 59, 59, 123456, UTC), "day": None,
        "raw": None, "uid": None, "any": [1, "x"], "never": None,
    },
]  # fmt: skip
_WORDS = {
    "sqlite": {"serial": "INTEGER PRIMARY KEY AUTOINCREMENT", "text": "TEXT", "number": "DOUBLE PRECISION"},
    "postgres": {"serial": "BIGSERIAL PRIMARY KEY", "text": "VARCHAR(80)", "number": "DOUBLE PRECISION"},
    "mysql": {"serial": "BIGINT AUTO_INCREMENT PRIMARY KEY", "text": "VARCHAR(80)", "number": "DOUBLE"},
}


@asynccontextmanager
async def empty_place(backend: str, folder: Path, server: str | None) -> AsyncIterator[str]:
    """The URL of a database that nobody has opened yet; what a server has of it is gone afterwards."""
    name = f"transfer_{token_hex(4)}"
    if backend == "sqlite" or server is None:
        yield f"sqlite:///{folder}/{name}.db?synchronous=NORMAL"
    elif backend == "postgres":
        yield f"{server}?schema={name}&pool_size=3"
        connection = await asyncpg.connect(server)
        await connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
        await connection.close()
    else:
        address = server.partition("?")[0].removesuffix(urlsplit(server).path)
        yield f"{address}/{name}?create=true&pool_size=3"
        connection = await connect_mysql(server)
        await execute_mysql(connection, f"DROP DATABASE IF EXISTS {name}; DROP DATABASE IF EXISTS {name}_admin")
        connection.close()


async def fill(url: str) -> None:
    """Every kind of value, history, what was deleted, tables of an application's own, indexes, messages and jobs."""
    database = create_database(url)
    await database.open()
    try:
        db = database.connection()
        await _fill_entities(db)
        await _fill_own(db, _WORDS[database.statements.backend])
        await db.privileged.send_messages([Message("admin:things", {"n": n}, key="k", id=f"m{n}") for n in range(3)])
        await database.statements.run(
            "INSERT INTO [kernel_inbox] ([id], [received_at]) VALUES ('t 1', '2024-01-01T00:00:00.000000Z')"
        )
        await database.statements.database_id()
        if database.statements.backend != "mysql":
            backend = DatabaseBackend(database.statements)
            await backend.open()
            await backend.enqueue(
                [
                    NewJob(id=f"job{n}", queue="default", task="t", body="{}", max_attempts=3, due=n or None)
                    for n in (0, 9)
                ]
            )
            await backend.pause("slow", True)
    finally:
        await database.close()


def _job(id: str, due: float | None) -> NewJob:
    return NewJob(id=id, queue="default", task="t", body="{}", max_attempts=3, due=due)


async def _fill_entities(db: Store) -> None:
    with acting_as("ada"):
        await db.save_entities("edges", [{"id": f"e{n}", **each} for n, each in enumerate(EDGES)])
    await db.save_entity("edges", {"id": "e0", "text": "changed", "late": 1})
    await db.save_entities("people", [{"id": f"p{n:02}", "email": f"{n}@x.org", "age": n} for n in range(20)])
    await db.delete_entity("people", "p03")
    await db.save_entity("people", {"id": "p99", "email": "3@x.org", "age": 3})
    await db.delete_entity("people", "p04", permanent=True)
    await db.delete_entity("people", "p05", permanent=True, purge_history=True)
    await db.ensure_index("people", ["email"], unique=True)
    await db.ensure_index("people", ["age", "id"])
    await db.save_entity("people", {"id": "ä", "email": "Ä@x.org"})
    await db.save_entity("people", {"id": "A", "email": "a@x.org"})


async def _fill_own(db: Store, words: dict[str, str]) -> None:
    await db.execute(
        f"CREATE TABLE [notes] ([id] {words['serial']}, [title] {words['text']} NOT NULL, [size] {words['number']})"
    )
    await db.execute("CREATE UNIQUE INDEX [notes_title] ON [notes] ([title])")
    for n in range(5):
        await db.execute("INSERT INTO [notes] ([title], [size]) VALUES (?, ?)", [f"note {n}", n / 3])
    await db.save_entity("notes", {"id": 2, "size": 9.5})
    await db.execute("DELETE FROM [notes] WHERE [id] = 5")
    await db.execute(
        f"CREATE TABLE [tags] ([note] INTEGER NOT NULL, [tag] {words['text']} NOT NULL, PRIMARY KEY ([note], [tag]))"
    )
    await db.execute("INSERT INTO [tags] ([note], [tag]) VALUES (1, 'red'), (1, 'blue'), (2, 'Red')")
    await db.execute(f"CREATE TABLE [events] ([what] {words['text']}, [n] INTEGER)")
    await db.execute("INSERT INTO [events] ([what], [n]) VALUES ('x', 1), ('x', 1), (NULL, 2)")


async def everything(url: str) -> dict[str, list[Any]]:
    """What an application sees of all that, deleted rows and histories included."""
    async with connect(url) as db:
        seen: dict[str, list[Any]] = {}
        for name in ("edges", "people", "notes"):
            seen[name] = await db.find_entities(name, include_deleted=True)
            for each in seen[name]:
                seen[f"{name} {each['id']}"] = list(await db.get_entity_history(name, each["id"]))
        seen["purged"] = list(await db.get_entity_history("people", "p04"))
        seen["forgotten"] = list(await db.get_entity_history("people", "p05"))
        for table, key in (("tags", "[note], [tag]"), ("events", "[n]"), ("kernel_outbox", "[seq]")):
            rows = await db.privileged.execute(f"SELECT * FROM [{table}] ORDER BY {key}")
            seen[table] = [dict(sorted(dict(row).items())) for row in rows]
        # Jobs become messages where a copy has no other place for them.
        seen["kernel_outbox"] = [row for row in seen["kernel_outbox"] if row["topic"] != JOB_TOPIC]
        seen["tags"].sort(key=lambda row: (row["note"], row["tag"].encode()))
        return seen


async def copy(source: str, target: str, **options: Any) -> Result:
    """Copies a whole database."""
    async with opened_copy(source, target, ENGINES, Options(**options), lambda step: None) as under_way:
        return await under_way.finish()


def told(result: Result) -> dict[str, tuple[int, str]]:
    """Rows and hash of each table that has rows."""
    return {each.name: (each.rows, each.hash) for each in result.tables if each.rows}


__all__ = ["EDGES", "ENGINES", "Copy", "copy", "empty_place", "everything", "fill", "told"]
