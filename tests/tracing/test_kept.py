"""The table `traces` keeps what was slow or failed, of this service, the latest of it, and admins can look at it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from opentelemetry.trace import StatusCode
from starlette.requests import ClientDisconnect

from app_kernel import JobContext, get_job_client
from app_kernel.core.context import current_context
from app_kernel.core.errors import ConnectionLost, ResponseAborted, UnsupportedValue
from app_kernel.core.jobs import RetryLater
from app_kernel.core.outbox import Message
from app_kernel.db import connect
from app_kernel.tracing import noting
from app_kernel.tracing import sink as sink_module
from app_kernel.tracing.sink import TOPIC, TraceSink
from app_kernel.tracing.store import find_trace, list_traces
from app_kernel.tracing.tables import TABLES
from tests.tracing.serving import SAMPLED, TRACE_ID, Service, notes_of, serving


async def test_a_request_that_fails_is_kept_with_who_sent_it_and_what_it_failed_of(service: Service) -> None:
    ada = await service.client.log_in_as("ada@example.com")
    answer = await ada.get("/boom/7", headers={"X-Request-ID": "request-7"})
    (row,) = await service.traces()
    assert answer.status_code == 500
    told = {name: row[name] for name in ("app", "kind", "name", "path", "status", "failed", "error", "user_id")}
    assert told == {
        "app": "traced", "kind": "request", "name": "GET /boom/{id}", "path": "/boom/7", "status": 500, "failed": True,
        "error": "Boom", "user_id": ada.user.id,
    }  # fmt: skip
    assert (row["request_id"], row["address"], row["spans"]) == ("request-7", "127.0.0.1", None)
    assert "canary" not in str(row)


@pytest.mark.parametrize(("raised", "kept"), [(KeyError, [(200, True, "KeyError")]), (ClientDisconnect, [])])
async def test_an_answer_that_breaks_off_has_failed_unless_the_client_left(
    monkeypatch: pytest.MonkeyPatch, raised: type[Exception], kept: list[Any]
) -> None:
    router = APIRouter()

    @router.get("/breaks")
    async def get_breaks() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"first"
            raise raised

        return StreamingResponse(parts())

    async with serving(monkeypatch, routers=[router]) as service:
        with pytest.raises(ResponseAborted):
            await service.call("GET", "/breaks", headers={"traceparent": SAMPLED})
        status = service.named("GET /breaks").status.status_code
        rows = await service.traces()
    assert [(row["status"], row["failed"], row["error"]) for row in rows] == kept
    assert status is (StatusCode.ERROR if kept else StatusCode.UNSET)


async def test_a_method_that_a_client_invents_names_no_span(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch, trace_slow_seconds=0.000001) as service:
        await service.call("INVENTED", "/widgets/w1", headers={"traceparent": SAMPLED})
        (span,), (row,) = service.spans(), await service.traces()
    assert row["name"] == span.name
    assert span.name.startswith("HTTP")
    assert dict(span.attributes or {})["http.request.method"] == "_OTHER"


async def test_a_slow_request_is_kept_with_its_spans_where_it_was_traced(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(monkeypatch, database, trace_slow_seconds=0.000001) as service:
        await service.call("GET", "/widgets/w1", headers={"traceparent": SAMPLED})
        row = next(each for each in await service.traces() if each["name"] == "GET /widgets/{id}")
    assert (row["trace_id"], row["failed"], row["error"], row["spans_left_out"]) == (TRACE_ID, False, None, 0)
    (span,) = row["spans"]
    assert (span["name"], span["attributes"]["db.collection.name"]) == ("get_entity widgets", "widgets")
    assert 0 <= span["offset_ms"] <= span["offset_ms"] + span["duration_ms"] <= row["duration_ms"] + 1


async def test_a_fast_request_that_did_not_fail_is_not_kept(small_service: Service) -> None:
    for path in ("/widgets/w1", "/nowhere", "/auth/me"):
        await small_service.call("GET", path)
    assert await small_service.traces() == []


async def test_attempts_of_jobs_that_failed_are_kept_and_what_asks_to_run_again_is_none(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def poll(ctx: JobContext) -> None:
        if ctx.attempt == 1:
            raise RetryLater(0)

    async def explode() -> None:
        raise KeyError("canary")

    async with serving(monkeypatch, database, tasks={"poll": poll, "explode": explode}) as service:
        service.tracing._ratio = 1.0
        for task, attempts in (("poll", 2), ("explode", 1)):
            await get_job_client().enqueue(task, max_attempts=attempts, user_id="u1")
        await service.client.jobs.drain()
        rows = await service.traces()
    told = [(row["name"], row["outcome"], row["attempt"], row["error"]) for row in rows]
    assert told == [("explode", "dead", 1, "KeyError")]
    assert {(row["kind"], row["user_id"], row["failed"]) for row in rows} == {("job", "u1", True)}
    assert all(len(row["trace_id"]) == 32 and row["job_id"] and row["spans"] == [] for row in rows)
    assert "canary" not in str(rows)


async def test_what_a_client_chose_can_be_stored_whatever_it_is(service: Service) -> None:
    await service.call("GET", "/boom/%00%ff%F0%9F%92%A5")
    await service.call("GET", f"/boom/{'x' * 3000}")
    rows = await service.traces()
    assert len(rows) == 2
    assert len(rows[1]["path"]) == 500


async def test_secrets_of_an_applications_own_spans_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """EV4: what an application puts into its spans is its own, but the table redacts what looks like a secret."""
    router = APIRouter()

    @router.get("/leaks")
    async def get_leaks() -> None:
        trace = current_context().span
        with trace.tracer.start_as_current_span("x", attributes={"api_key": "canary-1", "note": "Bearer canary-22222"}):
            raise KeyError

    async with serving(monkeypatch, routers=[router]) as service:
        await service.call("GET", "/leaks", headers={"traceparent": SAMPLED})
        (row,) = await service.traces()
    assert [span["name"] for span in row["spans"]] == ["x"]
    assert "canary" not in str(row)


async def test_of_a_request_with_many_spans_the_first_are_kept_and_the_rest_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    router = APIRouter()

    @router.get("/many")
    async def get_many() -> None:
        trace = current_context().span
        for number in range(130):
            trace.tracer.start_span(f"s{number}").end()
        raise KeyError

    async with serving(monkeypatch, routers=[router]) as service:
        await service.call("GET", "/many", headers={"traceparent": SAMPLED})
        (row,) = await service.traces()
    assert (len(row["spans"]), row["spans_left_out"]) == (100, 30)


async def test_of_spans_with_long_attributes_so_much_is_kept_as_a_row_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    router = APIRouter()

    @router.get("/long")
    async def get_long() -> None:
        trace = current_context().span
        for number in range(100):
            attributes = {f"a{each}": "x" * 5000 for each in range(20)} | {"listed": ["y" * 5000] * 100}
            trace.tracer.start_span(f"s{number}", attributes=attributes).end()
        raise KeyError

    async with serving(monkeypatch, routers=[router]) as service:
        await service.call("GET", "/long", headers={"traceparent": SAMPLED})
        (row,) = await service.traces()
    assert len(row["spans"]) == 100
    assert len(row["spans"][0]["attributes"]["a0"]) == 500
    assert noting.MOST_CHARACTERS / 2 < len(str(row)) < noting.MOST_CHARACTERS + 100 * 200


async def test_what_fails_while_the_database_is_away_is_written_once_it_is_back(
    small_service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Then of all times requests fail."""
    store = type(small_service.db)

    async def refuse(*_: Any) -> None:
        raise ConnectionLost

    await small_service.call("GET", "/boom/1")
    with monkeypatch.context() as away:
        away.setattr(store, "send_messages", refuse)
        for _ in range(2):
            await notes_of(small_service.client).flush()
        await small_service.call("GET", "/boom/2")
    await small_service.carried()
    async with asyncio.timeout(10):
        while len(rows := await small_service.traces()) < 2:
            await small_service.carried()
    assert [row["path"] for row in rows] == ["/boom/1", "/boom/2"]
    assert [record.message for record in caplog.records if "traces" in record.message] == ["traces_not_written"]


async def test_what_can_never_be_written_is_dropped_and_counted_and_the_next_is_written(
    small_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> None:
        raise UnsupportedValue("too much")

    await small_service.call("GET", "/boom/1")
    with monkeypatch.context() as wrong:
        wrong.setattr(type(small_service.db), "send_messages", refuse)
        await notes_of(small_service.client).flush()
    assert small_service.kernel.dropped[TOPIC] == 1
    await small_service.call("GET", "/boom/2")
    assert [row["path"] for row in await small_service.traces()] == ["/boom/2"]


async def test_a_storm_of_failures_is_kept_in_part_and_what_is_left_out_is_logged(
    small_service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    # As the process's last second may have begun with an earlier test.
    for _ in range(60):
        await small_service.call("GET", "/boom/1")
    with caplog.at_level(logging.WARNING, "app_kernel.tracing"):
        rows = await small_service.traces()
    assert noting.NOTED_PER_SECOND <= len(rows) < 60
    (record,) = [each for each in caplog.records if each.message == "traces_left_out"]
    assert vars(record)["count"] == 60 - len(rows)


async def test_nothing_is_kept_with_traces_kept_0(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch, traces_kept=0) as service:
        await service.call("GET", "/boom/1")
        assert await service.traces() == []


@pytest.fixture
async def admin_db(database: str) -> AsyncIterator[Any]:
    async with connect(database) as db:
        await db.privileged.ensure_tables(TABLES)
        yield db


def message(app: str, numbers: range, kept: int = 100) -> Message:
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    rows = [
        {
            "id": f"{app}-{number:05}", "kind": "request", "trace_id": f"{number:032x}", "request_id": f"r{number}",
            "name": "GET /x", "failed": number % 2 == 0, "duration_ms": float(number), "status": 500,
            "started_at": (begin + timedelta(seconds=number)).isoformat(),
        }
        for number in numbers
    ]  # fmt: skip
    return Message(TOPIC, {"app": app, "kept": kept, "traces": rows})


async def test_the_table_keeps_the_latest_of_each_service_and_no_more(admin_db: Any) -> None:
    sink = TraceSink()
    await sink.receive(admin_db, [message("other", range(30))])
    for start in range(0, 400, 20):
        async with admin_db.transaction():
            await sink.receive(admin_db, [message("mine", range(start, start + 20))])
        assert await admin_db.count_entities("traces", "[app] = ?", ("mine",)) <= 100 + 20
    mine = await list_traces(admin_db, "mine", since=None, min_ms=None, failed=None, name=None, before=None, limit=200)
    assert [row["id"] for row in mine[:100]] == [f"mine-{number:05}" for number in range(399, 299, -1)]
    assert await admin_db.count_entities("traces", "[app] = ?", ("other",)) == 30


async def test_a_long_table_is_kept_as_long_as_it_may_be_and_no_longer(
    admin_db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a twentieth of it is more than is removed at once."""
    monkeypatch.setattr(sink_module, "PRUNED_AT_ONCE", 4)
    sink = TraceSink()
    for start in range(0, 600, 6):
        await sink.receive(admin_db, [message("mine", range(start, start + 6), kept=200)])
    assert 200 <= await admin_db.count_entities("traces") <= 200 + 2 * 6


async def test_the_first_message_of_a_process_removes_what_the_one_before_left_of_each_service(admin_db: Any) -> None:
    await TraceSink().receive(
        admin_db, [message("mine", range(150), kept=1000), message("other", range(150), kept=1000)]
    )
    await TraceSink().receive(admin_db, [message("mine", range(150, 151)), message("other", range(150, 151))])
    assert [await admin_db.count_entities("traces", "[app] = ?", (app,)) for app in ("mine", "other")] == [100, 100]


async def test_a_message_that_comes_twice_counts_once(admin_db: Any) -> None:
    sink, twice = TraceSink(), message("mine", range(3))
    for _ in range(2):
        await sink.receive(admin_db, [twice])
    assert await admin_db.count_entities("traces") == 3


async def test_rows_are_found_by_what_was_asked_for_and_never_those_of_another_service(admin_db: Any) -> None:
    await TraceSink().receive(admin_db, [message("mine", range(10)), message("other", range(10))])
    usual: dict[str, Any] = {
        "since": None, "min_ms": None, "failed": None, "name": None, "before": None, "limit": 50
    }  # fmt: skip

    async def found(**asked: Any) -> list[str]:
        return [row["id"][-1] for row in await list_traces(admin_db, "mine", **{**usual, **asked})]

    assert await found() == list("9876543210")
    assert await found(min_ms=7.0) == list("987")
    assert await found(failed=True, min_ms=5.0) == list("86")
    assert await found(since=datetime(2026, 3, 1, 0, 0, 8, tzinfo=UTC)) == list("98")
    assert await found(name="GET /y") == []
    assert await found(limit=2, before="mine-00008") == list("76")
    for id in (f"{3:032x}", "r3"):
        assert [row["id"] for row in await find_trace(admin_db, "mine", id, 10)] == ["mine-00003"]


async def test_admins_list_what_was_slow_or_failed_and_look_at_one_trace(service: Service) -> None:
    admin = await service.client.log_in_as("root@example.com", role="admin")
    for number in range(3):
        await service.call("GET", f"/boom/{number}", headers={"X-Request-ID": f"r{number}", "traceparent": SAMPLED})
    await service.carried()
    first = (await admin.get("/admin/traces", params={"limit": 2, "failed": True})).json()
    rest = (await admin.get("/admin/traces", params={"before": first[-1]["id"], "name": "GET /boom/{id}"})).json()
    assert [row["request_id"] for row in (*first, *rest)] == ["r2", "r1", "r0"]
    assert "spans" not in first[0]
    whole = (await admin.get(f"/admin/traces/{TRACE_ID}")).json()
    assert [part["request_id"] for part in whole["parts"]] == ["r0", "r1", "r2"]
    one = (await admin.get("/admin/traces/r1")).json()
    assert [(part["request_id"], part["spans"]) for part in one["parts"]] == [("r1", [])]
    missing = await admin.get("/admin/traces/unknown")
    assert (missing.status_code, missing.headers["Cache-Control"]) == (404, "no-store")
    assert (await admin.get("/admin/traces", params={"since": "2026-01-01"})).status_code == 422


async def test_only_admins_may_look(small_service: Service) -> None:
    ada = await small_service.client.log_in_as("ada@example.com")
    for path in ("/admin/traces", f"/admin/traces/{TRACE_ID}"):
        assert (await small_service.call("GET", path)).status_code == 401
        assert (await ada.get(path)).status_code == 403
