"""Asking the audit log: filters, pages that stand still, exports, and what is forgotten."""

import csv
import io
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest

from app_kernel.audit import (
    TABLES,
    count_audit_logs,
    export_audit_logs,
    find_audit_logs,
    get_audit_logs,
)
from app_kernel.audit.sink import write_events
from app_kernel.audit.tables import TOPIC
from app_kernel.audit.tasks import PRUNE, prune
from app_kernel.core import clock
from app_kernel.core.errors import InvalidAuditEvent
from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore
from tests.outbox.carrying import BACKENDS, opened, opened_on
from tests.small_service import serving

APP = "books"
START = datetime(2026, 1, 1, tzinfo=UTC)


def at(minute: int) -> str:
    return clock.to_text(START + timedelta(minutes=minute))


def event(minute: int, **body: Any) -> Message:
    given = {"app": APP, "action": "update", "entity": "books", "entity_id": "a", "timestamp": at(minute), **body}
    return Message(TOPIC, given, id=body.pop("id", f"m{minute:04}"))


async def write(db: EntityStore, *messages: Message) -> None:
    async with db.transaction():
        await write_events(db, messages)


@pytest.fixture(params=BACKENDS)
async def admin_db(request: pytest.FixtureRequest) -> AsyncIterator[EntityStore]:
    async with opened_on(request.param, request) as (_, admin):
        await admin.ensure_tables(TABLES)
        yield admin.connection()


@pytest.fixture
async def small_db() -> AsyncIterator[EntityStore]:
    async with opened() as (_, admin):
        await admin.ensure_tables(TABLES)
        yield admin.connection()


async def minutes(db: EntityStore, **filters: Any) -> list[int]:
    """What is found, the oldest first."""
    found = await get_audit_logs(db, app=APP, order="asc", **filters)
    return [int((datetime.fromisoformat(entry["timestamp"]) - START).total_seconds() // 60) for entry in found]


async def test_every_filter_finds_its_entries_and_all_of_them_must_hold(admin_db: EntityStore) -> None:
    db = admin_db
    await write(
        db,
        event(0, user_id="u1", workspace_id="w1", api_key_id="k1"),
        event(1, action="auth.login", entity="users", job_id="j1", request_id="r1"),
        event(2, action="auth.login_failed", entity="users", entity_id="7", trace_id="t1"),
        event(3, action="authority.x", user_id="u1"),
        event(4, action="auth%login", entity="books_", entity_id="b"),
        event(5, app="films", user_id="u1"),
    )
    expected: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [0, 1, 2, 3, 4]),
        ({"entity": "users"}, [1, 2]),
        ({"entity": "users", "entity_id": 7}, [2]),
        ({"user_id": "u1"}, [0, 3]),
        ({"user_id": "u1", "action": "update"}, [0]),
        ({"workspace_id": "w1"}, [0]),
        ({"api_key_id": "k1"}, [0]),
        ({"job_id": "j1"}, [1]),
        ({"request_id": "r1"}, [1]),
        ({"trace_id": "t1"}, [2]),
        ({"action": "auth.*"}, [1, 2]),
        ({"action": ["auth.*", "update"]}, [0, 1, 2]),
        ({"action": ["auth%*", "authority.x"]}, [3, 4]),
        ({"action": "*"}, [0, 1, 2, 3, 4]),
        ({"action": []}, []),
        ({"entity": "books' OR 1=1 --"}, []),
        ({"entity": None, "action": None}, [0, 1, 2, 3, 4]),
    ]
    for filters, found in expected:
        assert await minutes(db, **filters) == found, filters
        assert await count_audit_logs(db, app=APP, **filters) == len(found)


async def test_times_are_dates_iso_texts_or_aware_datetimes(small_db: EntityStore) -> None:
    day = 24 * 60
    await write(small_db, event(0), event(day - 1), event(day), event(2 * day - 1), event(2 * day))
    two = [day, 2 * day - 1]
    for since, until in (
        ("2026-01-02", "2026-01-02"),
        ("20260102", "2026-W01-5"),
        (date(2026, 1, 2), date(2026, 1, 2)),
        ("2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"),
        ("2026-01-02T01:00:00+01:00", "2026-01-02T19:00:00-05:00"),
        ("2026-01-02T00:00:00", "2026-01-02T23:59:30"),
        (datetime(2026, 1, 2, 2, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 1, 3, tzinfo=UTC)),
    ):
        assert await minutes(small_db, since=since, until=until) == two, since
    assert await minutes(small_db, since="2026-01-03") == [2 * day]
    assert await minutes(small_db, until="2025-12-31") == []


@pytest.mark.parametrize(
    "filters",
    [
        {"since": "yesterday"}, {"since": "2026-13-01"}, {"until": "9999-12-31"}, {"since": 5},
        {"since": datetime.fromisoformat("2026-01-01T00:00:00")}, {"entity": 5}, {"entity": "x" * 501},
        {"user_id": "\ud800"}, {"action": ["x"] * 51}, {"action": [None]}, {"limit": 0}, {"limit": 1001},
        {"limit": True}, {"order": "up"}, {"cursor": "x"}, {"cursor": "W10"}, {"cursor": "é"}, {"cursor": 5},
        {"cursor": "WyIyMDI2IiwgIngiXQ"}, {"workspace_id": "a\0"}, {"until": "0001-01-01T00:00:00+14:00"},
    ],
)  # fmt: skip
async def test_what_cannot_be_asked_is_refused(filters: dict[str, Any], small_db: EntityStore) -> None:
    with pytest.raises(InvalidAuditEvent) as caught:
        await get_audit_logs(small_db, app=APP, **filters)
    assert caught.value.status == 422
    with pytest.raises(TypeError, match="cannot be asked"):
        await get_audit_logs(small_db, app=APP, adress="x")  # type: ignore[call-arg]


async def test_pages_are_stable_while_entries_arrive(admin_db: EntityStore) -> None:
    db = admin_db
    # Many of one instant: the id tells them apart.
    await write(db, *[event(number // 7, id=f"e{number:03}", user_id=f"{number}") for number in range(50)])
    for order in ("desc", "asc"):
        expected = [f"{number}" for number in range(50)]
        seen, cursor, late = [], None, 0
        while True:
            page = await find_audit_logs(db, app=APP, limit=7, cursor=cursor, order=order)  # type: ignore[arg-type]
            seen += [entry["user_id"] for entry in page.entries if entry["user_id"] != "new"]
            cursor = page.next_cursor
            if cursor is None:
                break
            late += 1
            newest = event(1000 + late if order == "desc" else -late, id=f"late{order}{late}", user_id="new")
            await write(db, newest)
        assert seen == (expected[::-1] if order == "desc" else expected)
    page = await find_audit_logs(db, app=APP, user_id="3", limit=1)
    assert (len(page.entries), page.next_cursor) == (1, None)


async def text(parts: AsyncIterator[str]) -> str:
    return "".join([part async for part in parts])


async def test_an_export_holds_what_matches_and_no_formula(small_db: EntityStore) -> None:
    nasty = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", 'a "quoted", line\nbreak', "plain"]
    await write(small_db, *[event(number, reason=value, user_id="u1") for number, value in enumerate(nasty)])
    await write(small_db, event(20, changes={"n": [None, "=1"]}), event(21, app="films"))
    exported = await text(export_audit_logs(small_db, app=APP))
    rows = list(csv.DictReader(io.StringIO(exported, newline="")))
    assert [row["reason"] for row in rows] == [*(f"'{value}" for value in nasty[:7]), *nasty[7:], ""]
    assert list(rows[0])[:3] == ["timestamp", "id", "app"]
    assert rows[-1]["changes"] == '{"n":[null,"=1"]}'
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row.values())
    lines = await text(export_audit_logs(small_db, app=APP, file_format="json", user_id="u1"))
    assert [orjson.loads(line)["reason"] for line in lines.splitlines()] == nasty
    assert await text(export_audit_logs(small_db, app="nothing", file_format="json")) == ""
    with pytest.raises(InvalidAuditEvent, match="csv or json"):
        await text(export_audit_logs(small_db, app=APP, file_format="xml"))  # type: ignore[arg-type]


async def test_an_export_ends_with_what_was_there_when_it_began_and_keeps_little_in_memory(
    small_db: EntityStore,
) -> None:
    await write(small_db, *[event(number, reason="x" * 5000) for number in range(1200)])
    count, size, largest = 0, 0, 0
    tracemalloc.start()
    try:
        async for part in export_audit_logs(small_db, app=APP, file_format="json"):
            count, size = count + part.count("\n"), size + len(part)
            largest = max(largest, tracemalloc.get_traced_memory()[0])
            later = clock.to_text(clock.now() + timedelta(hours=1))
            await write(small_db, event(0, id=f"later{count}", timestamp=later))
    finally:
        tracemalloc.stop()
    assert count == 1200
    assert size > 6_000_000
    assert largest < 4_000_000


async def test_old_entries_of_this_app_are_forgotten_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app_kernel.audit.store.PRUNED_AT_ONCE", 10)
    async with serving(audit_retention_days=30) as client:
        old, new = (clock.to_text(clock.now() - timedelta(days=days)) for days in (31, 29))
        for app in ("small", "films"):
            many = [event(0, id=f"{app}{n}", app=app, timestamp=old) for n in range(25)]
            await write(client.admin_db, *many, event(0, id=f"{app}new", app=app, timestamp=new))
        job = await client.jobs.run(PRUNE) if hasattr(client.jobs, "run") else await prune()
        assert job == {"removed": 25}
        assert await count_audit_logs(client.admin_db, app="small") == 1
        assert await count_audit_logs(client.admin_db, app="films") == 26
        [feature] = [each for each in client.kernel.features if each.name == "audit"]
        assert getattr(feature.tasks[PRUNE], "cron", None) == "17 3 * * *"
    async with serving() as client:
        [feature] = [each for each in client.kernel.features if each.name == "audit"]
        assert PRUNE not in feature.tasks
        assert await prune() == {"removed": 0}
