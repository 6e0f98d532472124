"""examples/growing as its README says: begun on one SQLite file, moved to PostgreSQL and Redis, gone on there."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from secrets import token_hex
from urllib.parse import urlsplit

import asyncpg
import pytest

from app_kernel.db import connect
from tests.page_reader import reading
from tests.redis_server import own_redis

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "growing"
POSTGRES = "postgres://letters:secret@127.0.0.1:5432/letters"
REDIS = "redis://127.0.0.1:6379/0"


@pytest.fixture
async def servers(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, str]]:
    """What the README's addresses stand for: an empty database, and a Redis that nobody else uses."""
    name = f"growing_{token_hex(6)}"
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(f"CREATE DATABASE {name}")
    async with own_redis(tmp_path_factory.mktemp("redis")) as redis:
        await redis.start()
        yield {POSTGRES: urlsplit(postgres_url)._replace(path=f"/{name}").geturl(), REDIS: redis.url}
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


async def letters(url: str) -> dict[str, tuple[str, str, int]]:
    """Id, status and version of each letter, by its recipient."""
    async with connect(url) as db:
        rows = await db.find_entities("letters")
        return {row["recipient"]: (row["id"], row["status"], row["_version"]) for row in rows}


async def audited(url: str) -> list[tuple[str, str]]:
    """Which letter was changed how, in order, once all that is expected has arrived."""
    async with connect(f"{url}?schema=kernel_admin") as admin_db, asyncio.timeout(60):
        while await admin_db.count_entities("audit_logs", "[entity] = ?", ("letters",)) < 5:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
        rows = await admin_db.find_entities("audit_logs", "[entity] = ?", ("letters",), order_by="[timestamp]")
        return [(row["entity_id"], row["action"]) for row in rows]


@pytest.mark.slow
@pytest.mark.acceptance("DB18")
async def test_a_service_grows_from_one_file_to_servers_as_its_readme_says(
    servers: dict[str, str], tmp_path: Path
) -> None:
    for name in ("main.py", "tasks.py"):
        (tmp_path / name).write_text((EXAMPLE / name).read_text())
    file = f"sqlite:///{tmp_path}/data/letters.db"
    with reading(EXAMPLE / "README.md", tmp_path, servers) as reader:
        assert reader.read() == []
        assert reader.read() == ["My dear Charles"]
        assert reader.read()[-1] == "written"
        reader.stop()
        left = await letters(file)
        assert {name: rest for name, (_, *rest) in left.items()} == {"Charles": ["posted", 3], "Mary": ["written", 1]}

        copied = reader.read()
        assert [line for line in copied if line.startswith("equal: ")]
        for _ in range(4):
            assert reader.read() == []
        charles, mary, *told = reader.read()
        assert reader.is_done()
        assert (charles, mary) == ("Charles: My dear Charles", "Mary: Come to tea")
        assert told[:3] == ["1 create", "2 update", "3 update"]
        assert set(told[3:]) == {"create", "update"}

        moved = await letters(servers[POSTGRES])
        assert moved == left | {"Mary": (left["Mary"][0], "posted", 2)}
        first, second = left["Charles"][0], left["Mary"][0]
        entries = await audited(servers[POSTGRES])
        assert [action for id, action in entries if id == first] == ["create", "update", "update"]
        assert [action for id, action in entries if id == second] == ["create", "update"]
    assert await letters(file) == left
    said = (tmp_path / "workers.log").read_text().splitlines()
    started = json.loads(next(line for line in said if '"worker_started"' in line))
    assert started["kept_in"].startswith("redis ")
