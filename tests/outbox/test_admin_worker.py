"""The admin worker's command: whose Redis it reads, whose relay it is, and what it never prints."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app_kernel.admin_worker import AdminWorker
from app_kernel.core.errors import ConfigurationError
from app_kernel.core.feature import Feature
from app_kernel.db.database import create_database
from app_kernel.db.outbox.claims import claim_key, claim_stream
from app_kernel.redis_wire import create_redis
from tests.outbox.carrying import ADMIN, WritingSink, arrived, opened, until
from tests.outbox.test_service import _worker
from tests.outbox.test_stream_reader import full, put


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    """An empty Redis."""
    client = create_redis(redis_url, "test")
    await client.flushall()
    yield client
    await client.aclose()


def worker_on(folder: Path, name: str, redis: Any) -> AdminWorker:
    feature = Feature(name="things", sinks={ADMIN: WritingSink()})
    return AdminWorker(redis, create_database(f"sqlite:///{folder / name}"), [feature])


async def test_a_worker_for_another_admin_database_refuses_to_start(redis: Any, tmp_path: Path) -> None:
    async def is_written() -> bool:
        return not await redis.xlen(ADMIN)

    for _ in range(2):
        first = worker_on(tmp_path, "one.db", redis)
        running = asyncio.create_task(first.run())
        await put(redis, 1)
        await until("an empty stream", is_written)
        first.end()
        await running
    await put(redis, 2)
    with pytest.raises(ConfigurationError) as refused:
        await worker_on(tmp_path, "two.db", redis).run()
    assert "another admin database" in refused.value.problems[0]
    assert claim_key(ADMIN) in refused.value.problems[0]
    async with opened(f"sqlite:///{tmp_path / 'two.db'}") as (second,):
        assert await arrived(second) == []
    assert await redis.xlen(ADMIN) == 1


async def test_a_full_redis_is_claimed_by_nobody_and_read_all_the_same(redis: Any) -> None:
    async with full(redis):
        assert await claim_stream(redis, ADMIN, "a")
    assert await claim_stream(redis, ADMIN, "b")
    assert not await claim_stream(redis, ADMIN, "a")


async def test_the_worker_leaves_the_lease_of_a_service_on_its_database_alone(redis: Any, tmp_path: Path) -> None:
    worker = worker_on(tmp_path, "app.db", redis)
    running = asyncio.create_task(worker.run())

    async def is_claimed() -> Any:
        return await redis.get(claim_key(ADMIN))

    await until("a running worker", is_claimed)
    await asyncio.sleep(0.5)
    async with opened(f"sqlite:///{tmp_path / 'app.db'}") as (app,):
        lease = await app.driver.acquire_lease("relay")
        assert lease is not None
        await lease.release()
        assert await app.driver.acquire_lease("admin-relay") is None
    worker.end()
    await running


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hush#hush@localhost:6379",
        "redis://:hush/hush@localhost:6379",
        "redis://:hush@localhost:hush",
        "http://:hush@localhost",
        "redis://:hush@localhost:6379/0?foo=1",
    ],
)
async def test_a_redis_url_that_is_wrong_ends_the_worker_and_is_not_printed(url: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from app_kernel.core.feature import Feature\n"
        "async def keep(db, messages): ...\n"
        "things = Feature(name='things', sinks={'admin:things': keep})\n"
    )
    process = _worker(tmp_path, "--redis", url, "--db", "sqlite:///admin.db", "--features", "mine:things")
    try:
        output = (await asyncio.to_thread(process.communicate, timeout=20))[0]
    finally:
        process.kill()
    assert process.returncode == 2, output
    assert "admin_worker: --redis: " in output
    assert "hush" not in output
