"""Figures of requests by route: counted in memory, sent through the outbox, added up in the admin database."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter

from app_kernel.core import clock
from app_kernel.core.errors import InvalidQuery, Unavailable
from app_kernel.core.events import RequestFinished
from app_kernel.core.outbox import Message
from app_kernel.db.database import Database, create_database
from app_kernel.db.outbox.inbox import write_batch
from app_kernel.stats import get_request_stats, list_apps
from app_kernel.stats.figures import MAX_HOURS, MAX_ROUTES, OTHERS, UNMATCHED, Collected
from app_kernel.stats.recording import IN_ONE_MESSAGE, Recording
from app_kernel.stats.sink import TOPIC, receive
from app_kernel.testing import KernelClient, kernel_client
from tests.small_service import serving, small_app

NOON = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"

router = APIRouter(prefix="/items")


@router.get("/broken")
async def broken() -> None:
    raise RuntimeError("broken")


@router.get("/{id}")
async def item(id: str) -> str:
    return id


def finished(route: str = "/a", status: int = 200, seconds: float = 0.1, method: str = "GET", id: str = "r1") -> Any:
    return RequestFinished(method, route, "/x", status, seconds, None, id, traceparent=TRACE)


def message(collected: Collected, app: str = "one", days: int = 30, id: str | None = None) -> Message:
    """What a process of `app` sends of what it collected."""
    figures = [[*place, *each.to_values()] for place, each in collected.take().items()]
    body = {"app": app, "days": days, "figures": figures}
    return Message(TOPIC, body) if id is None else Message(TOPIC, body, id=id)


def collected(events: Sequence[RequestFinished]) -> Collected:
    made = Collected()
    for event in events:
        made.count(event)
    return made


async def deliver(admin: Database, *messages: Message) -> None:
    """As the relay and the admin worker do."""
    outcome = await write_batch(admin.connection(), receive, messages)
    assert outcome.failed == []


async def stats(admin: Database, **filters: Any) -> list[dict[str, Any]]:
    return await get_request_stats(admin.connection(), **{"app": "one", **filters})


async def written(client: KernelClient) -> None:
    """Writes what the service counted, and waits until its relay has carried it."""
    await client.kernel.port(Recording).flush()
    outbox = client.kernel.db.connection().privileged
    deadline = time.monotonic() + 10
    while await outbox.execute("SELECT [seq] FROM [kernel_outbox] WHERE [topic] = ?", (TOPIC,)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_requests_of_a_service_are_shown_to_its_admins_by_route_template() -> None:
    async with serving(router, api_prefix="/api") as client:
        for number in range(3):
            await client.get(f"/api/items/{number}", headers={"traceparent": TRACE})
        await client.get("/api/items/broken")
        await client.get("/nowhere/at/all")
        await written(client)
        admin, user = await client.log_in_as("root@example.com", "admin"), await client.log_in_as("ada@example.com")
        assert (await client.get("/api/admin/stats")).status_code == 401
        assert (await user.get("/api/admin/stats")).status_code == 403
        answer = await admin.get("/api/admin/stats", params={"sort": "count"})
        rows = {(row["method"], row["route"]): row for row in answer.json()}
    found = rows["GET", "/api/items/{id}"]
    assert (found["count"], found["errors"], found["client_errors"], found["error_rate"]) == (3, 0, 0, 0.0)
    assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"] <= found["slowest_ms"]
    assert found["slowest_trace_id"] == "a" * 32
    assert found["slowest_request_id"]
    assert rows["GET", "/api/items/broken"]["error_rate"] == 1.0
    assert rows["GET", UNMATCHED]["client_errors"] == 1


async def test_the_route_takes_filters_and_refuses_wrong_ones() -> None:
    async with serving(router) as client:
        await client.get("/items/1")
        await written(client)
        admin = await client.log_in_as("root@example.com", "admin")
        one = await admin.get("/admin/stats", params={"route": "/items/{id}", "method": "get", "limit": 1})
        none = await admin.get("/admin/stats", params={"until": "2020-01-01T00:00:00"})
        wrong = await admin.get("/admin/stats", params={"sort": "name"})
    assert [row["route"] for row in one.json()] == ["/items/{id}"]
    assert none.json() == []
    assert wrong.status_code == 422


async def test_without_days_nothing_is_counted_and_there_is_no_route() -> None:
    async with serving(router, stats_days=0) as client:
        admin = await client.log_in_as("root@example.com", "admin")
        assert client.kernel.find_port(Recording) is None
        assert (await admin.get("/admin/stats")).status_code == 404


async def test_figures_of_many_messages_add_up(databases: list[Database]) -> None:
    admin = databases[1]
    one = collected([finished(seconds=0.1), finished(seconds=0.2, status=500, id="r2")])
    other = collected([finished(seconds=0.4, status=404, id="r3"), finished("/b")])
    await deliver(admin, message(one), message(other))
    await deliver(admin, message(collected([finished(seconds=0.3)])))
    rows = {row["route"]: row for row in await stats(admin)}
    found = rows["/a"]
    assert (found["count"], found["errors"], found["client_errors"], found["error_rate"]) == (4, 1, 1, 0.25)
    assert found["mean_ms"] == pytest.approx(250)
    assert (found["slowest_ms"], found["slowest_request_id"]) == (400, "r3")
    assert found["p50_ms"] == pytest.approx(200, rel=0.05)
    assert found["p99_ms"] == pytest.approx(400, rel=0.05)
    assert rows["/b"]["count"] == 1


async def test_a_message_that_comes_twice_counts_once(databases: list[Database]) -> None:
    admin = databases[1]
    sent = message(collected([finished()]), id="the same")
    await deliver(admin, sent)
    await deliver(admin, sent)
    assert [row["count"] for row in await stats(admin)] == [1]


async def test_two_who_write_at_once_lose_nothing(databases: list[Database]) -> None:
    """EV7, for request figures: a relay and an admin worker, or two workers, add to the same rows."""
    admin = databases[1]
    routes = [f"/r{number}" for number in range(8)]

    async def write(number: int) -> None:
        # In another order each time.
        order = routes[number % 8 :] + routes[: number % 8]
        await deliver(admin, message(collected([finished(route, seconds=0.01 * (number + 1)) for route in order])))

    await asyncio.gather(*(write(number) for number in range(24)))
    rows = await stats(admin)
    assert [row["count"] for row in rows] == [24] * 8
    assert {row["slowest_ms"] for row in rows} == {240.0}
    assert all(row["p50_ms"] == pytest.approx(120, rel=0.05) for row in rows)


async def test_apps_that_share_an_admin_database_see_their_own(databases: list[Database]) -> None:
    admin = databases[1]
    await deliver(admin, message(collected([finished()])), message(collected([finished(), finished()]), app="two"))
    assert [row["count"] for row in await stats(admin)] == [1]
    assert [row["count"] for row in await stats(admin, app="two")] == [2]
    assert await list_apps(admin.connection()) == ["one", "two"]


async def test_a_time_is_asked_for_by_the_hour(databases: list[Database]) -> None:
    admin = databases[1]
    made = Collected()
    with clock.frozen(NOON) as frozen:
        for _ in range(3):
            made.count(finished())
            frozen.advance(3600)
        await deliver(admin, message(made))
        hours = [NOON + timedelta(hours=number) for number in range(3)]
        counts = [sum(row["count"] for row in await stats(admin, since=since)) for since in hours]
        assert counts == [3, 2, 1]
        assert [row["count"] for row in await stats(admin, since="2026-05-04T13:59:00Z", until=hours[1])] == [1]
        frozen.advance(86400)
        assert await stats(admin) == []


async def test_what_is_too_old_goes_of_that_app_alone(databases: list[Database]) -> None:
    admin = databases[1]
    with clock.frozen(NOON) as frozen:
        for app in ("one", "two"):
            await deliver(admin, message(collected([finished()]), app=app))
        frozen.advance(86400 * 8)
        await deliver(admin, message(collected([finished("/new")]), days=7))
        since = NOON - timedelta(days=1)
        assert [row["route"] for row in await stats(admin, since=since)] == ["/new"]
        assert [row["route"] for row in await stats(admin, app="two", since=since)] == ["/a"]


async def test_the_largest_come_first(databases: list[Database]) -> None:
    admin = databases[1]
    often = [finished("/often", seconds=0.001)] * 5
    failing = [finished("/failing", 500, 0.002), finished("/failing", 500, 0.002)]
    await deliver(admin, message(collected([*often, *failing, finished("/slow", seconds=3)])))
    first = {sort: (await stats(admin, sort=sort))[0]["route"] for sort in ("p95", "count", "errors", "slowest")}
    assert first == {"p95": "/slow", "count": "/often", "errors": "/failing", "slowest": "/slow"}
    assert len(await stats(admin, limit=2)) == 2


@pytest.mark.parametrize(
    "filters",
    [
        {"sort": "name"},
        {"limit": 0},
        {"limit": 1.5},
        {"since": "yesterday"},
        {"until": 3},
        {"since": NOON.replace(tzinfo=None)},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"until": "9999-12-31T23:59:59-14:00"},
    ],
)
async def test_what_cannot_be_asked_is_refused(databases: list[Database], filters: dict[str, Any]) -> None:
    with pytest.raises(InvalidQuery):
        await stats(databases[1], **filters)


async def test_without_a_table_there_are_no_figures(databases: list[Database]) -> None:
    assert await stats(databases[0]) == []
    assert await list_apps(databases[0].connection()) == []


async def test_more_rows_than_a_page_are_all_counted(databases: list[Database]) -> None:
    admin = databases[1]
    made = Collected()
    with clock.frozen(NOON):
        for number in range(600):
            made.count(finished(f"/r{number}"))
    with clock.frozen(NOON + timedelta(hours=1)) as frozen:
        for number in range(600):
            made.count(finished(f"/r{number}"))
        whole = message(made)
        for start in range(0, 1200, IN_ONE_MESSAGE):
            part = {**whole.body, "figures": whole.body["figures"][start : start + IN_ONE_MESSAGE]}
            await deliver(admin, Message(TOPIC, part))
        rows = await stats(admin, limit=1000)
        frozen.advance(1)
    assert sum(row["count"] for row in rows) == 1200
    assert {row["count"] for row in rows} == {2}


def test_a_process_tells_only_so_many_routes_and_hours_apart() -> None:
    """EV10: a figure's place is a route template, and what invents others finds a bound."""
    made = Collected()
    with clock.frozen(NOON) as frozen:
        for number in range(MAX_ROUTES + 50):
            made.count(finished(f"/{number}"))
        taken = made.take()
        assert len(taken) == MAX_ROUTES + 1
        assert taken["2026-05-04T12", "OTHER", OTHERS].requests == 50
        for number in range(20):
            made.count(finished(method=f"X{number}"))
        assert [place[1:] for place in made.take()] == [("OTHER", "/a")]
        for _ in range(MAX_HOURS + 3):
            made.count(finished())
            frozen.advance(3600)
        assert len(made.take()) == MAX_HOURS
        assert made.lost == 3


async def test_what_could_not_be_written_is_written_later_and_once() -> None:
    async with serving(router) as client:
        recording = client.kernel.port(Recording)
        sent: list[list[Message]] = []

        class Failing:
            """An outbox that fails after it has taken the messages, and then works."""

            async def send_messages(self, messages: Sequence[Message]) -> None:
                sent.append(list(messages))
                if len(sent) == 1:
                    raise Unavailable("no answer to COMMIT")

        await client.get("/items/1")
        db = client.kernel.db.connection()
        real, twin = db.privileged, Failing()
        db._twin = twin  # type: ignore[attr-defined]
        try:
            await recording.flush()
            await client.get("/items/2")
            await recording.flush()
            await recording.flush()
        finally:
            db._twin = real  # type: ignore[attr-defined]
    ids = [[each.id for each in messages] for messages in sent]
    assert ids[0] == ids[1]
    assert len({*ids[0], *ids[2]}) == 2
    counts = [sum(row[3] for each in messages for row in each.body["figures"]) for messages in sent]
    assert counts == [1, 1, 1]


async def test_what_was_counted_after_a_failure_is_written_at_the_end_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = small_app(router, database_name=f"sqlite:///{tmp_path}/app.db")
    async with kernel_client(app, database=None) as client:

        async def away(*given: Any) -> None:
            raise Unavailable

        monkeypatch.setattr(type(client.db), "send_messages", away)
        await client.get("/items/1")
        await client.kernel.port(Recording).flush()
        await client.get("/items/2")
        admin = create_database(client.kernel.config.resolved_admin_db_url)
        monkeypatch.undo()
    await admin.open()
    try:
        assert [row["count"] for row in await stats(admin, app="small")] == [2]
    finally:
        await admin.close()


async def test_what_was_counted_is_written_at_the_end(tmp_path: Path) -> None:
    app = small_app(router, database_name=f"sqlite:///{tmp_path}/app.db")
    async with kernel_client(app, database=None) as client:
        await client.get("/items/1")
        admin = create_database(client.kernel.config.resolved_admin_db_url)
        assert await get_request_stats(client.admin_db, app="small") == []
        with pytest.raises(InvalidQuery, match="admin database"):
            await get_request_stats(client.db, app="small")
    await admin.open()
    try:
        assert [row["count"] for row in await stats(admin, app="small")] == [1]
    finally:
        await admin.close()
