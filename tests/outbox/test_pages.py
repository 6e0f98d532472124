"""What the relay reads at once, and which topics it takes at all."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app_kernel.core.outbox import Message
from app_kernel.db.outbox import rows as outbox_rows
from app_kernel.db.outbox.relay import Receivers
from app_kernel.db.outbox.rows import OutboxRows
from app_kernel.redis_wire import create_redis
from tests.outbox.carrying import (
    ADMIN,
    BACKENDS,
    WritingSink,
    numbered,
    opened,
    opened_on,
    relaying,
    send,
    until,
    until_arrived,
    until_empty,
)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    """An empty Redis."""
    client = create_redis(redis_url, "test")
    await client.flushall()
    yield client
    await client.aclose()


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_page_ends_with_the_row_that_fills_it(
    backend: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_rows, "PAGE_BYTES", 2500)
    async with opened_on(backend, request) as (app, _):
        rows = OutboxRows(app.driver)
        lengths = (1000, 1000, 1000, 9000, 1, 1)
        await send(app, *(Message(ADMIN, {"n": n, "text": "x" * length}) for n, length in enumerate(lengths)))
        pages, after = [], 0
        while page := await rows.unsent(ADMIN, after, 500):
            pages.append([row.message.body["n"] for row in page])
            after = page[-1].seq
        assert pages == [[0, 1, 2], [3], [4, 5]]
        assert [row.message.body["n"] for row in await rows.unsent(ADMIN, 0, 2)] == [0, 1]


@pytest.mark.parametrize("backend", BACKENDS)
async def test_pages_that_end_early_are_followed_by_the_rest_at_once(
    backend: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_rows, "PAGE_BYTES", 1)
    async with opened_on(backend, request) as (app, admin):
        await send(app, *numbered(range(30)))
        async with relaying(app, Receivers({ADMIN: WritingSink()}, admin=admin.connection)):
            assert await until_arrived(admin, 30, 5) == list(range(30))


async def test_an_admin_topic_that_nobody_here_knows_stays_in_the_outbox_also_with_redis(
    redis: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened() as (app, _):
        await send(app, *numbered([1], topic="admin:nobody"), *numbered([2]))
        async with relaying(app, Receivers({ADMIN: WritingSink()}, redis=redis)):
            await until("the known one in its stream", lambda: redis.xlen(ADMIN))
            warned = [r.topic for r in caplog.records if r.message == "outbox_topic_without_sink"]  # type: ignore[attr-defined]
            assert warned == ["admin:nobody"]
        assert await redis.xlen("admin:nobody") == 0
        assert [row.message.body["n"] for row in await OutboxRows(app.driver).unsent("admin:nobody", 0, 9)] == [1]
        async with relaying(app, Receivers({ADMIN: WritingSink(), "admin:nobody": WritingSink()}, redis=redis)):
            await until_empty(app)
        assert await redis.xlen("admin:nobody") == 1
