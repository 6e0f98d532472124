"""A hard limit is never passed, whoever asks at the same time, and what is rolled back is given back."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends

from app_kernel.core.errors import InvalidUsage, MeteringError, OutsideWorkspace, QuotaExceeded, Unavailable
from app_kernel.db import connect, db_connection
from app_kernel.metering import (
    check_quota,
    get_quota_remaining,
    get_usage,
    quotas,
    require_quota,
    reserve,
    store,
    track_usage,
)
from app_kernel.metering.counters import Subject
from app_kernel.metering.periods import period_of, today
from app_kernel.metering.quotas import OtherUsage
from app_kernel.metering.tasks import PRUNE, enqueue_pruning
from app_kernel.testing import KernelClient, kernel_client
from tests.api_keys.serving import fresh_database
from tests.conformance.backends import SERVICE_BACKENDS
from tests.metering.serving import settle
from tests.redis_beside import admin_readers, own_redis_beside
from tests.small_service import serving, small_app
from tests.zygote import start

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def on(database: str, **options: Any) -> AsyncIterator[KernelClient]:
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(own_redis_beside(database))
        made = kernel_client(small_app(**redis), database=database, **redis, **options)
        client = await stack.enter_async_context(made)
        await stack.enter_async_context(admin_readers(client))
        yield client


@pytest.fixture(params=SERVICE_BACKENDS)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with fresh_database(request, tmp_path) as url:
        yield url


async def reserved(client: KernelClient, metric: str, period: str = "month", **of: Any) -> int:
    subject = Subject("small", **of)
    return await store.get_reserved(client.db, subject.counter(period_of(today(), period), metric))


@pytest.mark.acceptance("EV8")
async def test_of_200_at_a_limit_less_10_exactly_10_pass(database: str) -> None:
    """EV8: with `reserve`; each in a transaction of its own with what it is reserved for."""
    async with on(database) as client:
        db, wanted = client.db, {"metric": "tokens", "limit": 1000, "workspace_id": "w"}
        assert await reserve(db, amount=990, **wanted)

        async def use(number: int) -> bool:
            async with db.transaction(seconds=30):
                if not await reserve(db, **wanted):
                    return False
                await db.save_entity("answers", {"number": number})
                return True

        passed = await asyncio.gather(*map(use, range(200)))
        assert passed.count(True) == 10
        assert await db.count_entities("answers") == 10
        assert await reserved(client, "tokens", workspace_id="w") == 1000
        await settle(client.kernel)
        assert await get_usage(client.admin_db, app="small", workspace_id="w") == {"tokens": 1000}
        client.kernel.port(OtherUsage)._known.clear()
        assert not await reserve(db, **wanted)
        assert await reserve(db, **{**wanted, "limit": 1001})


@pytest.mark.acceptance("EV8")
async def test_several_processes_pass_a_limit_together_no_more_than_one(database: str) -> None:
    """EV8, with two processes."""
    async with on(database):
        pass  # the tables
    processes = []
    for _ in range(2):
        read, write = os.pipe()
        process = start(
            "tests.metering.reserving_process", [database, "100", "80"], cwd=ROOT, env=dict(os.environ), stdout=write
        )
        os.close(write)
        processes.append((process, read))
    passed = []
    for process, read in processes:
        with open(read) as output:  # noqa: PTH123, ASYNC230 - a pipe
            passed.append(json.loads((await asyncio.to_thread(output.readlines))[-1]))
        assert await asyncio.to_thread(process.wait, 60) == 0
    assert sum(passed) == 100
    async with connect(database) as db:
        rows = await db.privileged.execute("SELECT [amount] FROM [kernel_usage_reserved]")
        assert [row[0] for row in rows] == [100]


async def test_a_transaction_that_is_rolled_back_gives_back_what_it_reserved(database: str) -> None:
    async with on(database) as client:
        db, wanted = client.db, {"metric": "tokens", "limit": 10, "user_id": "u"}
        for _ in range(3):
            with pytest.raises(KeyError):
                async with db.transaction():
                    assert await reserve(db, amount=10, **wanted)
                    assert not await reserve(db, **wanted)
                    raise KeyError
        assert await reserve(db, amount=10, **wanted)
        await settle(client.kernel)
        assert await get_usage(client.admin_db, app="small", user_id="u") == {"tokens": 10}


async def test_what_cannot_be_counted_is_not_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as client:

        async def away(*given: Any) -> None:
            raise Unavailable

        monkeypatch.setattr(type(client.db), "send_messages", away)
        with pytest.raises(Unavailable):
            await reserve(client.db, metric="tokens", limit=10)
        assert await reserved(client, "tokens") == 0
        monkeypatch.undo()
        assert await reserve(client.db, metric="tokens", limit=10, amount=10)


async def test_what_was_counted_otherwise_is_subtracted_from_the_limit(database: str) -> None:
    async with on(database, frozen_at=datetime(2025, 1, 31, 12, tzinfo=UTC)) as client:
        db, wanted = client.db, {"metric": "tokens", "limit": 100, "workspace_id": "w"}
        await track_usage(None, app="small", workspace_id="w", tokens=60)
        await settle(client.kernel)
        assert await reserve(db, amount=30, **wanted)
        await settle(client.kernel)
        # What was reserved has arrived as usage too, and counts once.
        client.clock.advance(2)
        assert not await reserve(db, amount=11, **wanted)
        assert await reserve(db, amount=10, **wanted)
        await settle(client.kernel)
        assert await get_quota_remaining(client.admin_db, app="small", **wanted) == 0
        # A limit of another period, of another subject and of another metric is another one.
        assert await reserve(db, period="day", amount=1, **{**wanted, "limit": 101})
        assert not await reserve(db, period="year", amount=1, **wanted)
        assert await reserve(db, metric="tokens", limit=1, user_id="u")
        assert await reserve(db, metric="deployments", limit=1, workspace_id="w")
        client.clock.advance(86400)
        assert await reserve(db, amount=100, **wanted)


async def test_limits_of_one_use_are_kept_apart_by_whose_they_are() -> None:
    async with serving() as client:
        both = {"workspace_id": "w", "user_id": "u"}
        assert await reserve(client.db, metric="tokens", limit=10, amount=10, **both)
        await settle(client.kernel)
        client.kernel.port(OtherUsage)._known.clear()
        # To the limit of the workspace, and of the user, that is usage like any other.
        assert not await reserve(client.db, metric="tokens", limit=10, workspace_id="w")
        assert not await reserve(client.db, metric="tokens", limit=10, user_id="u")
        assert not await reserve(client.db, metric="tokens", limit=10, **both)
        assert await reserve(client.db, metric="tokens", limit=11, workspace_id="w")


async def test_the_soft_limit_lets_those_pass_who_ask_at_once() -> None:
    async with serving() as client:
        limit = {"app": "small", "metric": "tokens", "limit": 10}

        async def use() -> bool:
            if not await check_quota(client.admin_db, **limit):
                return False
            await track_usage(None, app="small", tokens=1)
            return True

        assert (await asyncio.gather(*(use() for _ in range(30)))).count(True) > 10
        await settle(client.kernel)
        assert not await use()


async def test_without_the_admin_database_the_last_known_usage_counts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = small_app()
    async with kernel_client(app, frozen_at=datetime(2025, 1, 31, 12, tzinfo=UTC)) as client:
        db, wanted = client.db, {"metric": "tokens", "limit": 100}
        await track_usage(None, app="small", tokens=60)
        await settle(client.kernel)
        assert await reserve(db, amount=1, **wanted)
        asked = []

        async def away(*given: Any) -> Any:
            asked.append(given)
            raise Unavailable

        monkeypatch.setattr(store, "get_counter", away)
        for _ in range(3):
            client.clock.advance(1.5)
            assert not await reserve(db, amount=40, **wanted)
            assert await reserve(db, amount=1, **wanted)
        assert len(asked) == 3
        assert [record.message for record in caplog.records].count("quota_without_admin_database") == 1


async def test_a_silent_admin_database_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as client:
        monkeypatch.setattr(quotas, "ANSWER_SECONDS", 0.01)
        silent = asyncio.Event()

        async def hang(*given: Any) -> Any:
            await silent.wait()

        monkeypatch.setattr(store, "get_counter", hang)
        found = await asyncio.wait_for(
            asyncio.gather(*(reserve(client.db, metric="tokens", limit=5) for _ in range(20))), 5
        )
        assert found.count(True) == 5


async def test_the_admin_database_is_asked_once_a_second_for_all_that_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as client:
        asked = []
        plain = store.get_counter

        async def counted(*given: Any) -> Any:
            asked.append(given)
            return await plain(*given)

        monkeypatch.setattr(store, "get_counter", counted)
        # The second does not end while they ask, however slow the machine is.
        with monkeypatch.context() as slow:
            slow.setattr(quotas, "FRESH_SECONDS", 600)
            await asyncio.gather(*(reserve(client.db, metric="tokens", limit=50) for _ in range(100)))
        assert len(asked) == 1
        monkeypatch.setattr(quotas, "CAPACITY", 5)
        for number in range(20):
            await reserve(client.db, metric="tokens", limit=1, user_id=f"u{number}")
        other = client.kernel.port(OtherUsage)
        assert len(other._known) == 5
        assert not other._reading


async def test_a_route_answers_402_when_the_quota_is_used_up() -> None:
    router = APIRouter()

    @router.post("/answers")
    async def answer(db: Any = Depends(db_connection)) -> dict[str, Any]:
        async with db.transaction():
            await require_quota(db, metric="answers", limit=2, period="day")
            return await db.save_entity("answers", {"text": "yes"})

    async with serving(router) as client:
        assert [(await client.post("/answers")).status_code for _ in range(4)] == [200, 200, 402, 402]
        assert await client.db.count_entities("answers") == 2
        problem = (await client.post("/answers")).json()
        assert problem["detail"] == "The quota of answers for this day is used up."


async def test_what_can_be_no_limit_is_refused() -> None:
    async with serving() as client:
        good: dict[str, Any] = {"metric": "tokens", "limit": 10}
        for bad in (
            {"amount": 0},
            {"amount": -1},
            {"amount": 1.5},
            {"amount": True},
            {"limit": -1},
            {"limit": 2**63},
            {"period": "week"},
            {"period": ["day"]},
            {"metric": "A"},
            {"user_id": ""},
        ):
            with pytest.raises(InvalidUsage):
                await reserve(client.db, **{**good, **bad})
        with pytest.raises(OutsideWorkspace):
            await reserve(client.db.in_workspace("w1"), workspace_id="w2", **good)
        assert await reserve(client.db.in_workspace("w1"), workspace_id="w1", **good)
        with pytest.raises(MeteringError, match="own database"):
            await reserve(client.admin_db, **good)
        # Nothing was ever used there: each soft limit would hold for ever.
        with pytest.raises(MeteringError, match="admin database"):
            await check_quota(client.db, app="quotas", metric="tokens", limit=1)
        with pytest.raises(MeteringError, match="admin database"):
            await get_usage(client.db, app="quotas")
        with pytest.raises(QuotaExceeded):
            await require_quota(client.db, metric="tokens", limit=0)
    async with connect("sqlite://:memory:") as db:
        with pytest.raises(MeteringError, match="service"):
            await reserve(db, **good)


async def test_what_was_kept_long_enough_goes_and_totals_stay() -> None:
    app = small_app(metering_detail_days=40)
    async with kernel_client(app, frozen_at=datetime(2025, 1, 31, 12, tzinfo=UTC)) as client:
        both = {"workspace_id": "w", "user_id": "u"}
        for name in ("small", "other"):
            await track_usage(None, app=name, endpoint="GET /x", tokens=1, **both)
        assert await reserve(client.db, metric="tokens", limit=5, period="day")
        assert await reserve(client.db, metric="tokens", limit=5, period="year")
        assert not await enqueue_pruning(client.kernel)
        client.clock.advance(39 * 86400)
        await settle(client.kernel)
        before = await _left(client, "small")
        assert await enqueue_pruning(client.kernel)
        await client.jobs.drain()
        # What is pruned of reservations is of the day alone; the year still runs.
        assert await reserved(client, "tokens", "year") == 1
        assert len(await client.db.privileged.execute("SELECT [id] FROM [kernel_usage_reserved]")) == 1
        assert await _left(client, "small") == before
        client.clock.advance(2 * 86400)
        other = await _left(client, "other")
        assert await enqueue_pruning(client.kernel)
        assert await enqueue_pruning(client.kernel)
        await client.jobs.drain()
        assert len(await client.jobs.enqueued(PRUNE)) == 2  # one for each of the days
        assert not await enqueue_pruning(client.kernel)
        left = await _left(client, "small")
        # The year of the user in the workspace runs on, and the month and the day are over.
        assert {scope for scope, _ in left} == {"app", "workspace", "user", "member"}
        assert [period for scope, period in left if scope == "member"] == ["2025"]
        assert [each for each in left if each[0] in {"app", "workspace", "user"}] == [
            each for each in before if each[0] in {"app", "workspace", "user"}
        ]
        assert await _left(client, "other") == other


async def _left(client: KernelClient, app: str) -> list[tuple[str, str]]:
    rows = await client.admin_db.find_entities("usage_summary", "[app] = ?", (app,))
    return sorted((row["scope"], row["period"]) for row in rows if row["metric"] == "tokens")
