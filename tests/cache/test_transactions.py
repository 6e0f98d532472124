"""The cache and open transactions: nothing before the commit, nothing without one, and nothing of it for others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest

from app_kernel.cache import cache, cached
from app_kernel.core.errors import TransactionInOtherTask
from app_kernel.db import connect, get_db_connection
from app_kernel.testing import KernelClient
from tests.api_keys.serving import fresh_schema
from tests.cache.serving import serving, swept, until


@asynccontextmanager
async def database_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'app.db'}"
    else:
        async with fresh_schema(request.getfixturevalue("postgres_url")) as url:
            yield url


@pytest.fixture(params=["sqlite and memory", "sqlite and redis", "postgres and redis"])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KernelClient]:
    kind, place = request.param.split(" and ")
    redis_url = request.getfixturevalue("redis_url") if place == "redis" else None
    async with database_of(kind, request, tmp_path) as database, serving(redis_url, database=database) as running:
        await running.db.save_entity("projects", {"id": "p1", "workspace_id": "w1", "name": "old"})
        yield running


@cached(ttl=60, key="projects:{workspace_id}", tags=["ws:{workspace_id}"])
async def get_names(workspace_id: str) -> list[str]:
    async with get_db_connection() as db:
        found = await db.find_entities("projects", "[workspace_id] = ?", (workspace_id,), order_by="[id]")
    return [each["name"] for each in found]


async def elsewhere(call: Any) -> Any:
    """What somebody else gets who asks meanwhile, in no transaction."""
    return await asyncio.create_task(call, context=Context())


WAYS = {
    "delete": lambda: cache.delete("projects:w1"),
    "delete_pattern": lambda: cache.delete_pattern("projects:*"),
    "delete_tags": lambda: cache.delete_tags("ws:w1"),
    "clear": cache.clear,
    "invalidate": lambda: get_names.invalidate("w1"),
    "refresh": lambda: get_names.refresh("w1"),
}


async def test_a_commit_takes_effect_and_a_rollback_none(client: KernelClient) -> None:
    for number, (way, take_away) in enumerate(WAYS.items()):
        await swept(client)
        before = await get_names("w1")
        with pytest.raises(ZeroDivisionError):
            async with client.db.transaction():
                await client.db.save_entity("projects", {"id": "p1", "name": "never"})
                await take_away()
                assert await get_names("w1") == ["never"], way
                assert await cache.get("projects:w1") is None, way
                assert await elsewhere(get_names("w1")) == before, way
                raise ZeroDivisionError
        assert await cache.get("projects:w1") == before, way
        async with client.db.transaction():
            await client.db.save_entity("projects", {"id": "p1", "name": f"new {number}"})
            # What others do here must not wait for the writer of SQLite.
            assert await elsewhere(cache.get("projects:w1")) == before, way
            await take_away()
            assert await elsewhere(get_names("w1")) == before, way
        assert await cache.get("projects:w1") is None, way
        assert await get_names("w1") == [f"new {number}"], way


async def test_a_set_waits_for_the_commit_and_does_not_survive_a_rollback(client: KernelClient) -> None:
    value = ["then"]
    async with client.db.transaction():
        await cache.set("a", value, ttl=60)
        value.append("later")
        assert await cache.get("a") is None
        assert await elsewhere(cache.get("a")) is None
    assert await cache.get("a") == ["then"]
    with pytest.raises(ZeroDivisionError):
        async with client.db.transaction():
            await cache.set("a", "never", ttl=60)
            raise ZeroDivisionError
    assert await cache.get("a") == ["then"]
    async with client.db.transaction():
        await cache.set("a", "set", ttl=60)
        await cache.delete("a")
    assert await cache.get("a") is None
    async with client.db.transaction():
        await cache.delete("a")
        await cache.set("a", "set", ttl=60)
    assert await cache.get("a") == "set"


async def test_a_part_that_is_taken_back_takes_its_invalidations_with_it(client: KernelClient) -> None:
    await cache.set_many({"a": 1, "b": 1}, ttl=60)
    async with client.db.transaction():
        with pytest.raises(ZeroDivisionError):
            async with client.db.transaction():
                await cache.delete("a")
                raise ZeroDivisionError
        await cache.delete("b")
    assert await cache.get_many("ab") == {"a": 1}


async def test_what_is_computed_in_a_transaction_is_for_it_alone(client: KernelClient) -> None:
    async with client.db.transaction():
        await client.db.save_entity("projects", {"id": "p1", "name": "uncommitted"})
        assert await get_names("w1") == ["uncommitted"]
        assert await elsewhere(get_names("w1")) == ["old"]
        # A clean transaction reads what is kept.
        assert await get_names("w1") == ["old"]
        await get_names.invalidate("w1")
        assert await get_names("w1") == ["uncommitted"]
        assert await cache.get_or_set("projects:w1", lambda: 1, ttl=60) == 1
    assert await get_names("w1") == ["uncommitted"]


async def test_a_transaction_does_not_wait_for_what_others_compute(client: KernelClient) -> None:
    gate, calls = asyncio.Event(), []

    async def slow() -> int:
        calls.append(1)
        if len(calls) == 1:
            await gate.wait()
        return len(calls)

    waiting = asyncio.create_task(cache.get_or_set("slow", slow, ttl=60))
    await until(lambda: calls)
    async with asyncio.timeout(4), client.db.transaction():
        assert await cache.get_or_set("slow", slow, ttl=60) == 2
    gate.set()
    assert await waiting == 2


async def test_a_task_inside_a_transaction_cannot_take_away_in_its_name(client: KernelClient) -> None:
    await cache.set("a", 1, ttl=60)
    async with client.db.transaction():
        for call in (cache.delete("a"), cache.set("a", 2, ttl=60), cache.clear()):
            with pytest.raises(TransactionInOtherTask):
                await asyncio.create_task(call)
        assert await asyncio.gather(cache.get("a")) == [1]
    assert await cache.get("a") == 1


async def test_transactions_of_several_databases_each_take_away_when_they_commit(client: KernelClient) -> None:
    async with connect("sqlite://:memory:") as other:
        await cache.set("a", 1, ttl=60)
        with pytest.raises(ZeroDivisionError):
            async with client.db.transaction():
                async with other.transaction():
                    await cache.delete("a")
                    await cache.set("b", 2, ttl=60)
                assert await elsewhere(cache.get("a")) is None
                raise ZeroDivisionError
        assert await cache.get("b") is None
        await cache.set("a", 1, ttl=60)
        with pytest.raises(ZeroDivisionError):
            async with other.transaction():
                await cache.delete("a")
                raise ZeroDivisionError
        assert await cache.get("a") == 1
