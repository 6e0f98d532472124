"""What was counted comes out exactly, once, in its own period, and nowhere else."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from app_kernel.core import clock
from app_kernel.core.errors import InvalidUsage, MeteringError, OutsideWorkspace
from app_kernel.core.outbox import Message
from app_kernel.db.database import Database
from app_kernel.db.outbox.inbox import write_batch
from app_kernel.metering import (
    check_quota,
    get_quota_remaining,
    get_usage,
    get_usage_by_day,
    get_usage_by_endpoint,
    track_usage,
)
from app_kernel.metering.counting import MOST_AT_ONCE, make_count, make_message
from app_kernel.metering.sink import write_usage
from app_kernel.metering.tables import ADMIN_TABLES
from tests.metering.serving import carrying, rows_of
from tests.outbox.carrying import opened
from tests.small_service import serving

Databases = tuple[Database, Database]
APP = "my_app"


@asynccontextmanager
async def _opened() -> AsyncIterator[Database]:
    async with opened("sqlite://:memory:") as (database,):
        yield database


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def test_usage_of_a_user_in_a_workspace_adds_up_everywhere(databases: Databases) -> None:
    app, admin = (each.connection() for each in databases)
    async with carrying(*databases):
        for user_id, workspace_id, day in (("u1", "w1", "01-31"), ("u2", "w1", "01-31"), ("u1", "w2", "02-01")):
            await track_usage(
                None,
                app=APP,
                db=app,
                user_id=user_id,
                workspace_id=workspace_id,
                endpoint=f"GET /{workspace_id}",
                at=at(f"2025-{day}"),
                tokens=1500,
                deployments=1,
            )
    january = {"app": APP, "period": "2025-01"}
    assert await get_usage(admin, **january) == {"deployments": 2, "tokens": 3000}
    assert await get_usage(admin, app=APP, period="2025") == {"deployments": 3, "tokens": 4500}
    assert await get_usage(admin, app=APP, period="2025-02-01") == {"deployments": 1, "tokens": 1500}
    assert await get_usage(admin, workspace_id="w1", **january) == {"deployments": 2, "tokens": 3000}
    assert await get_usage(admin, workspace_id="w2", **january) == {}
    assert await get_usage(admin, user_id="u1", **january) == {"deployments": 1, "tokens": 1500}
    assert await get_usage(admin, app=APP, user_id="u1", period="2025") == {"deployments": 2, "tokens": 3000}
    both = {"app": APP, "workspace_id": "w2", "user_id": "u1"}
    assert await get_usage(admin, period="2025", **both) == {"deployments": 1, "tokens": 1500}
    for period, expected in (
        ("2025", [("GET /w1", 3000), ("GET /w2", 1500)]),
        ("2025-01", [("GET /w1", 3000)]),
        ("2025-02-01", [("GET /w2", 1500)]),
    ):
        found = await get_usage_by_endpoint(admin, app=APP, period=period, metric="tokens")
        assert [(each["endpoint"], each["amount"]) for each in found] == expected
    ways = await get_usage_by_endpoint(admin, app=APP, user_id="u1", period="2025", metric="tokens", limit=1)
    assert ways == [{"endpoint": "GET /w1", "amount": 1500}]
    there = await get_usage_by_endpoint(admin, period="2025", metric="tokens", **both)
    assert there == [{"endpoint": "GET /w2", "amount": 1500}]
    days = await get_usage_by_day(admin, app=APP, user_id="u1", period="2025", metric="tokens")
    assert days == [{"day": "2025-01-31", "amount": 1500}, {"day": "2025-02-01", "amount": 1500}]
    assert await get_usage_by_day(admin, metric="tokens", **january) == [{"day": "2025-01-31", "amount": 3000}]


@pytest.mark.acceptance("EV7")
async def test_sums_are_exact_when_messages_come_again_and_writers_meet(databases: Databases) -> None:
    """EV7 in one process: random usage in random batches, each message twice, and six writers who meet."""
    admin = databases[1]
    picks = random.Random(7)
    wanted: Counter[tuple[str | None, str | None, str, str]] = Counter()
    messages: list[Message] = []
    for _ in range(1000):
        user_id, workspace_id = picks.choice([None, "u1", "u2"]), picks.choice([None, "w1", "w2"])
        day, metric = picks.choice(["2024-12-31", "2025-01-01", "2025-02-28"]), picks.choice(["requests", "tokens"])
        amount = picks.randrange(10_000)
        wanted[user_id, workspace_id, day, metric] += amount
        given: Any = {"day": day, "user_id": user_id, "workspace_id": workspace_id, "endpoint": "GET /x"}
        messages.append(make_message(APP, [make_count({metric: amount}, **given)]))

    async def carry(order: int) -> None:
        mine = messages[:]
        random.Random(order).shuffle(mine)
        for start in range(0, len(mine), 125):
            outcome = await write_batch(admin.connection(), write_usage, mine[start : start + 125])
            assert not outcome.failed

    await carry(1)
    await carry(2)
    await asyncio.gather(*(_write(admin, number) for number in range(6)))
    for period in ("2024", "2025", "2025-01", "2025-02-28"):
        for user_id in (None, "u1", "u2"):
            for workspace_id in (None, "w1", "w2"):
                expected: Counter[str] = Counter()
                for (user, workspace, day, metric), amount in wanted.items():
                    if day.startswith(period) and user_id in {None, user} and workspace_id in {None, workspace}:
                        expected[metric] += amount
                found = await get_usage(
                    admin.connection(), app=APP, user_id=user_id, workspace_id=workspace_id, period=period
                )
                assert found == dict(expected), (period, user_id, workspace_id)
    # Rows of nobody and of no workspace are one row each, too.
    counters = [tuple(row[name] for name in _COUNTER) for row in await rows_of(admin.connection())]
    assert len(set(counters)) == len(counters)
    assert await get_usage(admin.connection(), app="other", period="2025") == {"tokens": 6 * 200 * 30}


_COUNTER = ("app", "scope", "workspace_id", "user_id", "period", "metric", "endpoint")


async def _write(admin: Database, number: int) -> None:
    """One of several writers of the same counters, of which each second one meets them in another order."""
    counts = [make_count({"tokens": 30}, day="2025-01-01", user_id=f"u{user}") for user in range(200)]
    messages = [make_message(app, counts) for app in ("other", "more")]
    outcome = await write_batch(admin.connection(), write_usage, messages if number % 2 else messages[::-1])
    assert not outcome.failed


async def test_usage_counts_exactly_if_the_transaction_commits(databases: Databases) -> None:
    app, admin = (each.connection() for each in databases)
    async with carrying(*databases):
        with pytest.raises(KeyError):
            async with app.transaction():
                await track_usage(None, app=APP, db=app, tokens=1000)
                raise KeyError
        async with app.transaction():
            await track_usage(None, app=APP, db=app, tokens=1)
            await app.save_entity("answers", {"text": "yes"})
            with pytest.raises(KeyError):
                async with app.transaction():
                    await track_usage(None, app=APP, db=app, tokens=200)
                    raise KeyError
    assert await get_usage(admin, app=APP) == {"tokens": 1}


async def test_apps_that_share_an_admin_database_never_mix(databases: Databases) -> None:
    app, admin = (each.connection() for each in databases)
    subject = {"user_id": "u", "workspace_id": "w"}
    async with carrying(*databases):
        for name, amount in (("one", 1), ("two", 20)):
            await track_usage(None, app=name, db=app, endpoint="GET /x", requests=amount, **subject)
    for name, amount in (("one", 1), ("two", 20), ("On", 0), ("one%", 0)):
        for of in ({}, {"user_id": "u"}, {"workspace_id": "w"}, subject):
            assert await get_usage(admin, app=name, **of) == ({"requests": amount} if amount else {})
            parts = await get_usage_by_endpoint(admin, app=name, **of)
            assert [part["amount"] for part in parts] == ([amount] if amount else [])
            assert sum(day["amount"] for day in await get_usage_by_day(admin, app=name, **of)) == amount
            assert await get_quota_remaining(admin, app=name, metric="requests", limit=50, **of) == 50 - amount


@pytest.mark.acceptance("EV9")
async def test_usage_counts_in_the_period_of_when_it_happened(databases: Databases) -> None:
    """EV9: the year turns, the clock jumps back, a time zone is ahead, and all of it is delivered much later."""
    app, admin = (each.connection() for each in databases)
    with clock.frozen(datetime(2024, 12, 31, 23, 59, 59, 999_999, UTC)) as now:
        await track_usage(None, app=APP, db=app, tokens=1)
        now.advance(0.000_001)
        await track_usage(None, app=APP, db=app, tokens=20)
        now.advance(-3600)
        await track_usage(None, app=APP, db=app, tokens=300)
        tokyo = datetime(2025, 1, 1, 8, 30, tzinfo=timezone(timedelta(hours=9)))
        await track_usage(None, app=APP, db=app, at=tokyo, tokens=4000)
        assert await get_usage(admin, app=APP) == {}
        now.advance(90 * 86400)
        async with carrying(*databases):
            pass
        assert await get_usage(admin, app=APP) == {}
    for period, amount in (("2024", 4301), ("2024-12-31", 4301), ("2025", 20), ("2025-01", 20), ("2025-01-01", 20)):
        assert await get_usage(admin, app=APP, period=period) == {"tokens": amount}


@pytest.mark.acceptance("EV10")
@pytest.mark.parametrize("amount", [-1, 1.5, 1.0, True, float("nan"), 10**12 + 1, 2**64, "1", None])
async def test_what_is_no_number_of_things_is_refused(amount: Any) -> None:
    with pytest.raises(InvalidUsage, match="milliseconds") as caught:
        await track_usage(None, app=APP, tokens=amount)
    assert caught.value.status == 422


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"Tokens": 1},
        {"a-b": 1},
        {"1a": 1},
        {"a" * 64: 1},
        {"tokens\n": 1},
        {f"m{number}": 1 for number in range(51)},
        {"tokens": 1, "user_id": ""},
        {"tokens": 1, "user_id": "u" * 192},
        {"tokens": 1, "user_id": 7},
        {"tokens": 1, "workspace_id": "w\0"},
        {"tokens": 1, "endpoint": "\ud800"},
        {"tokens": 1, "app": ""},
        {"tokens": 1, "at": "2025-01-01"},
        {"tokens": 1, "at": datetime(2025, 1, 1)},  # noqa: DTZ001 - that is what is refused
        {"tokens": 1, "at": datetime(9999, 1, 1, tzinfo=UTC)},
        {"tokens": 1, "at": datetime(1969, 12, 31, tzinfo=UTC)},
    ],
    ids=str,
)
async def test_what_cannot_be_counted_is_refused(given: dict[str, Any]) -> None:
    async with _opened() as database:
        with pytest.raises(InvalidUsage):
            await track_usage(None, **{"app": APP, "db": database.connection(), **given})
        assert not await database.connection().privileged.execute("SELECT [id] FROM [kernel_outbox]")


async def test_counters_stop_below_what_a_database_can_hold(databases: Databases) -> None:
    admin = databases[1].connection()
    counts = [make_count({"bytes": MOST_AT_ONCE}, day="2025-01-01", user_id="u")] * 2
    assert not (await write_batch(admin, write_usage, [make_message(APP, counts)])).failed
    await admin.privileged.execute("UPDATE [usage_summary] SET [amount] = ?", (2**63 - 1 - MOST_AT_ONCE,))
    for _ in range(2):
        assert not (await write_batch(admin, write_usage, [make_message(APP, counts)])).failed
    assert await get_usage(admin, app=APP, user_id="u", period="2025") == {"bytes": 2**63 - 1}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"app": APP},
        {"app": 7, "counts": []},
        {"app": APP, "counts": [7]},
        {"app": APP, "counts": [{"day": "2025-1-1", "metrics": {"a": 1}}]},
        {"app": APP, "counts": [{"day": "2025-01-01", "metrics": {"a": -1}}]},
        {"app": APP, "counts": [{"day": "2025-01-01", "metrics": {"a": 1}, "user_id": 7}]},
    ],
    ids=str,
)
async def test_a_message_that_is_none_of_metering_is_refused_whole(body: dict[str, Any]) -> None:
    async with _opened() as database:
        db = database.connection()
        await db.privileged.ensure_tables(ADMIN_TABLES)
        good = make_message(APP, [make_count({"tokens": 1}, day="2025-01-01")])
        outcome = await write_batch(db, write_usage, [Message(good.topic, body), good])
        assert len(outcome.failed) == 1
        assert outcome.written == [good]
        assert await get_usage(db, app=APP, period="2025") == {"tokens": 1}


@pytest.mark.parametrize(
    "period", ["", "25", "2025-13", "2025-1", "2025-02-30", "0000", "2025-01-15T", "\u0662025", 2025]
)
async def test_what_is_no_period_is_refused(period: Any) -> None:
    async with _opened() as database:
        for ask in (get_usage, get_usage_by_endpoint, get_usage_by_day):
            with pytest.raises(InvalidUsage, match="2025-01-15"):
                await ask(database.connection(), app=APP, period=period)


async def test_a_quota_is_what_is_left_of_the_limit(databases: Databases) -> None:
    app, admin = (each.connection() for each in databases)
    subject = {"app": APP, "workspace_id": "w", "metric": "tokens"}
    assert await get_quota_remaining(admin, limit=100, **subject) == 100
    async with carrying(*databases):
        await track_usage(None, app=APP, db=app, workspace_id="w", tokens=99)
    assert await check_quota(admin, limit=100, **subject)
    assert not await check_quota(admin, limit=99, **subject)
    assert await get_quota_remaining(admin, limit=100, **subject) == 1
    assert await get_quota_remaining(admin, limit=50, **subject) == 0
    assert await check_quota(admin, limit=1, period="2020", **subject)
    for limit in (-1, 1.5, True, None):
        with pytest.raises(InvalidUsage):
            await check_quota(admin, limit=limit, **subject)  # type: ignore[arg-type]


async def test_an_admin_database_without_tables_knows_of_no_usage() -> None:
    async with _opened() as database:
        db = database.connection()
        assert await get_usage(db, app=APP) == {}
        assert await get_usage_by_endpoint(db, app=APP, period="2025") == []
        assert await check_quota(db, app=APP, metric="tokens", limit=1)


async def test_outside_of_a_service_it_says_what_to_pass() -> None:
    async with _opened() as database:
        with pytest.raises(MeteringError, match="pass db="):
            await track_usage(None, app=APP, tokens=1)
        with pytest.raises(MeteringError, match="app="):
            await track_usage(None, db=database.connection(), tokens=1)
        await track_usage(None, app=APP, db=database.connection(), tokens=1)


async def test_the_admin_database_is_no_place_to_count_in() -> None:
    async with serving() as client:
        with pytest.raises(MeteringError, match="app database"):
            await track_usage(None, db=client.admin_db, tokens=1)
        await track_usage(None, db=client.db, tokens=1)


async def test_the_handle_of_a_workspace_counts_for_no_other() -> None:
    async with _opened() as database:
        bound = database.connection().in_workspace("w1")
        await track_usage(None, app=APP, db=bound, workspace_id="w1", tokens=1)
        for other in ("w2", None):
            with pytest.raises(OutsideWorkspace):
                await track_usage(None, app=APP, db=bound, workspace_id=other, tokens=1)
