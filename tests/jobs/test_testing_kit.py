"""What the test kit offers an application for its background jobs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import APIRouter

from app_kernel import DoNotRetry, JobContext, JobRegistry, RetryLater, get_job_client
from app_kernel.core.errors import KernelError
from app_kernel.db import get_db_connection
from app_kernel.testing import KernelClient, kernel_client
from tests.jobs.places import JobPlace
from tests.jobs.waiting import until
from tests.small_service import small_app

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)

registry = JobRegistry()
router = APIRouter()


@registry.task("note")
async def note(payload: Any) -> Any:
    async with get_db_connection() as db:
        await db.save_entity("notes", {"text": str(payload)})
    return payload


@registry.task("twice")
async def twice(payload: Any, ctx: JobContext) -> int:
    if ctx.attempt == 1:
        raise ValueError("not yet")
    return ctx.attempt


@registry.task("patient")
async def patient(ctx: JobContext) -> int:
    if ctx.attempt < 3:
        raise RetryLater(60)
    return ctx.attempt


@registry.task("hopeless")
async def hopeless(payload: Any) -> None:
    raise DoNotRetry("never")


@registry.task("chain")
async def chain(payload: int) -> None:
    if payload:
        await get_job_client().enqueue("chain", payload - 1)


@registry.task("in_transaction")
async def in_transaction(payload: Any) -> None:
    async with get_db_connection() as db, db.transaction():
        await db.save_entity("notes", {"text": "with a job"})
        await get_job_client().enqueue("note", "from a transaction")


@registry.task("plain")
def plain(payload: Any) -> Any:
    return payload


@registry.task("nightly", cron="0 3 * * *", timezone="Europe/Zurich")
async def nightly(ctx: JobContext) -> Any:
    return ctx.metadata


@router.post("/notes/{text}")
async def post_note(text: str) -> str:
    return (await get_job_client().enqueue("note", {"text": text, "from": "a route"})).job_id


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[KernelClient]:
    async with kernel_client(small_app(router, tasks=registry), **options) as client:
        yield client


async def notes(client: KernelClient) -> list[str]:
    return [row["text"] for row in await client.db.find_entities("notes", order_by="[created_at], [text]")]


# Manual.


async def test_jobs_wait_until_they_are_drained(place: JobPlace) -> None:
    async with place.service(registry, router) as client:
        assert await client.jobs.drain() == []
        id = (await client.post("/notes/a")).json()
        assert await notes(client) == []
        (ran,) = await client.jobs.drain()
        assert (ran.id, ran.status, ran.attempt) == (id, "completed", 1)
        assert len(await notes(client)) == 1
        assert await client.jobs.drain() == []


async def test_what_follows_is_drained_too_in_the_order_in_which_it_runs(place: JobPlace) -> None:
    async with place.service(registry) as client:
        jobs = get_job_client()
        await jobs.enqueue("chain", 3)
        await jobs.enqueue("note", "elsewhere", queue="emails", on_success=("plain", 1))
        await jobs.enqueue("plain", 2, priority=5)
        await jobs.enqueue("in_transaction")
        ran = await client.jobs.drain()
        assert [view.payload for view in ran if view.task_name == "chain"] == [3, 2, 1, 0]
        assert [view.payload for view in ran if view.task_name == "plain"] == [2, 1]
        assert ran[0].payload == 2
        assert {view.payload for view in ran if view.task_name == "note"} == {"elsewhere", "from a transaction"}
        assert {view.status for view in ran} == {"completed"}
        assert sorted(await notes(client)) == ["elsewhere", "from a transaction", "with a job"]


async def test_a_failure_raises_nothing_and_is_seen_in_the_view(place: JobPlace) -> None:
    async with place.service(registry) as client:
        jobs = get_job_client()
        await jobs.enqueue("hopeless")
        await jobs.enqueue("twice", max_attempts=1)
        hopeless_view, twice_view = await client.jobs.drain()
        assert (hopeless_view.status, twice_view.status) == ("dead", "dead")
        assert (hopeless_view.error or "").endswith("DoNotRetry: never\n")
        assert (twice_view.error or "").endswith("ValueError: not yet\n")
        assert (await jobs.retry(twice_view.id)).status == "queued"
        assert [view.status for view in await client.jobs.drain()] == ["dead"]


async def test_a_drain_inside_a_transaction_leaves_that_alone(place: JobPlace) -> None:
    async with place.service(registry) as client:
        await get_job_client().enqueue("plain", 1)
        ran = await client.jobs.drain()
        async with client.db.transaction():
            await client.db.save_entity("orders", {"a": 1})
            await get_job_client().enqueue("plain", 2)
        assert [view.payload for view in ran] == [1]
        assert [view.payload for view in await client.jobs.drain()] == [2]
        assert await client.db.count_entities("orders") == 1


async def test_each_client_begins_without_jobs() -> None:
    app = small_app(router, tasks=registry)
    for _ in range(2):
        async with kernel_client(app) as client:
            assert await client.jobs.enqueued() == []
            await get_job_client().enqueue("note", 1)


# Looking.


async def test_enqueued_gives_all_whatever_became_of_them_the_earliest_first(place: JobPlace) -> None:
    async with place.service(registry, router) as client:
        jobs = get_job_client()
        for text in ("b", "a"):
            await client.post(f"/notes/{text}")
        await client.jobs.drain()
        await jobs.enqueue("plain", 1, delay_seconds=60)
        async with client.db.transaction():
            await jobs.enqueue("plain", 2)
        found = await client.jobs.enqueued()
        assert [view.task_name for view in found] == ["note", "note", "plain", "plain"]
        assert [view.payload["text"] for view in await client.jobs.enqueued("note")] == ["b", "a"]
        assert [view.status for view in found] == ["completed", "completed", "scheduled", "queued"]
        assert await client.jobs.enqueued("nope") == []


async def test_assert_enqueued_compares_what_is_named_and_gives_the_latest(place: JobPlace) -> None:
    async with place.service(registry, router) as client:
        await client.post("/notes/a")
        await client.post("/notes/b")
        jobs = client.jobs
        assert (await jobs.assert_enqueued("note")).payload["text"] == "b"
        assert (await jobs.assert_enqueued("note", {"text": "a"}, times=1)).payload["from"] == "a route"
        await jobs.assert_enqueued("note", {"from": "a route"}, times=2, status="queued", attempt=0)
        await jobs.assert_not_enqueued("plain")
        await jobs.assert_not_enqueued("note", {"text": "c"})


async def test_assert_enqueued_compares_a_payload_that_is_no_dict_as_a_whole() -> None:
    async with running() as client:
        await get_job_client().enqueue("plain", [1, 2])
        await get_job_client().enqueue("plain", None)
        await client.jobs.assert_enqueued("plain", [1, 2], times=1)
        await client.jobs.assert_not_enqueued("plain", [1])
        await client.jobs.assert_not_enqueued("plain", {"a": 1})
        await client.jobs.assert_enqueued("plain", times=2)


async def test_a_wrong_expectation_says_what_there_is() -> None:
    async with running() as client:
        await client.post("/notes/a")
        jobs = client.jobs
        words = r"0 jobs are note with \{'text': 'b'\}, at least 1 expected; of this task there are \[\{'text': 'a'"
        with pytest.raises(AssertionError, match=words):
            await jobs.assert_enqueued("note", {"text": "b"})
        with pytest.raises(AssertionError, match=r"1 jobs are note with None, 2 expected"):
            await jobs.assert_enqueued("note", times=2)
        with pytest.raises(AssertionError, match=r"0 jobs are note .* and \{'status': 'dead'\}, at least 1"):
            await jobs.assert_enqueued("note", status="dead")
        with pytest.raises(AssertionError, match=r"the tasks of all jobs are \['note'\]"):
            await jobs.assert_enqueued("nope")
        with pytest.raises(AssertionError, match=r"1 jobs of note were enqueued: \[\{'text': 'a'"):
            await jobs.assert_not_enqueued("note")
        with pytest.raises(AttributeError, match="colour"):
            await jobs.assert_enqueued("note", colour="red")


# Inline.


async def test_inline_a_job_has_run_when_enqueue_returns(place: JobPlace) -> None:
    async with place.service(registry, router, jobs="inline") as client:
        id = (await client.post("/notes/a")).json()
        assert len(await notes(client)) == 1
        view = await get_job_client().get(id)
        assert view is not None
        assert (view.status, view.result) == ("completed", {"text": "a", "from": "a route"})
        await get_job_client().enqueue("chain", 3)
        assert {each.status for each in await client.jobs.enqueued("chain")} == {"completed"}
        await get_job_client().enqueue("plain", "a thread")
        await client.jobs.assert_enqueued("plain", "a thread", result="a thread")
        made = await get_job_client().enqueue_many("plain", [1, 2, 3])
        assert [(await get_job_client().get(each.job_id)).result for each in made] == [1, 2, 3]  # type: ignore[union-attr]  # they are there


async def test_inline_a_job_of_a_transaction_waits_for_the_next_drain(place: JobPlace) -> None:
    async with place.service(registry, jobs="inline") as client:
        async with client.db.transaction():
            await get_job_client().enqueue("note", "inside")
            assert await notes(client) == []
        assert await notes(client) == []
        assert [view.payload for view in await client.jobs.drain()] == ["inside"]
        with pytest.raises(RuntimeError):
            async with client.db.transaction():
                await get_job_client().enqueue("note", "rolled back")
                raise RuntimeError
        assert await client.jobs.drain() == []
        assert await notes(client) == ["inside"]


async def test_inline_a_failure_does_not_reach_the_enqueuer(place: JobPlace) -> None:
    async with place.service(registry, jobs="inline") as client:
        await get_job_client().enqueue("hopeless")
        await client.jobs.assert_enqueued("hopeless", status="dead")
        await get_job_client().enqueue("note", "later", delay_seconds=60)
        await client.jobs.assert_enqueued("note", status="scheduled")


# A worker.


async def test_with_a_worker_jobs_run_by_themselves(place: JobPlace, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with place.service(registry, router, jobs="worker") as client:
        id = (await client.post("/notes/a")).json()

        async def completed() -> bool:
            view = await get_job_client().get(id)
            return view is not None and view.status == "completed"

        assert await until(completed)
    assert "jobs_wait_for_a_worker" not in caplog.messages
    async with place.service(registry, router, jobs="worker", embedded_worker=False) as client:
        assert caplog.messages.count("jobs_wait_for_a_worker") == 1
        await client.post("/notes/b")
        assert [view.status for view in await client.jobs.enqueued()][-1:] == ["queued"]


# A clock that stands still.


async def test_a_delay_ends_when_the_clock_says_so(place: JobPlace) -> None:
    async with place.service(registry, frozen_at=NOON) as client:
        jobs = get_job_client()
        await jobs.enqueue("plain", "minute", delay_seconds=60)
        await jobs.enqueue("plain", "hour", run_at="2026-06-01T13:00:00+00:00")
        await jobs.enqueue("plain", "now")
        assert [view.payload for view in await client.jobs.drain()] == ["now"]
        client.clock.advance(59.999)
        assert await client.jobs.drain() == []
        client.clock.advance(0.001)
        (minute,) = await client.jobs.drain()
        assert (minute.payload, minute.started_at) == ("minute", "2026-06-01T12:01:00.000000Z")
        client.clock.advance(2 * 3600)
        assert [view.payload for view in await client.jobs.drain()] == ["hour"]


async def test_a_retry_waits_for_the_clock(place: JobPlace) -> None:
    async with place.service(registry, frozen_at=NOON) as client:
        jobs = get_job_client()
        made = await jobs.enqueue("patient")
        for attempt in (1, 2):
            (view,) = await client.jobs.drain()
            due = f"2026-06-01T12:0{attempt}:00.000000Z"
            assert (view.status, view.attempt, view.run_at) == ("scheduled", attempt, due)
            assert "RetryLater" in (view.error or "")
            client.clock.advance(60)
        (view,) = await client.jobs.drain()
        assert (view.id, view.status, view.result, view.error) == (made.job_id, "completed", 3, None)
        await jobs.enqueue("twice")
        (failed,) = await client.jobs.drain()
        assert failed.status == "scheduled"
        client.clock.advance(1)
        assert [(view.status, view.result) for view in await client.jobs.drain()] == [("completed", 2)]


async def test_a_result_is_forgotten_when_the_clock_says_so(place: JobPlace) -> None:
    async with place.service(registry, frozen_at=NOON) as client:
        jobs = get_job_client()
        made = await jobs.enqueue("plain", 1)
        dead = await jobs.enqueue("hopeless")
        await client.jobs.drain()
        client.clock.advance(3601)
        await jobs.backend.prune()
        assert await jobs.get(made.job_id) is None
        assert await jobs.get(dead.job_id) is not None
        client.clock.advance(7 * 86400)
        await jobs.backend.prune()
        assert await jobs.get(dead.job_id) is None


async def test_a_task_with_a_schedule_runs_once_when_its_time_came(place: JobPlace) -> None:
    async with place.service(registry, frozen_at=NOON) as client:
        await get_job_client().enqueue("plain", 1)
        assert [view.task_name for view in await client.jobs.drain()] == ["plain"]
        assert await client.jobs.enqueued("nightly") == []
        client.clock.advance(13 * 3600 - 1)
        assert await client.jobs.drain() == []
        client.clock.advance(1)
        (view,) = await client.jobs.drain()
        # Three in the morning in Zurich, in summer.
        assert (view.task_name, view.result) == ("nightly", {"scheduled_for": "2026-06-02T01:00:00.000000Z"})
        assert await client.jobs.drain() == []
        client.clock.advance(3 * 86400)
        (view,) = await client.jobs.drain()
        assert view.result == {"scheduled_for": "2026-06-03T01:00:00.000000Z"}
        assert await client.jobs.drain() == []
        client.clock.advance(86400)
        assert [view.task_name for view in await client.jobs.drain()] == ["nightly"]


async def test_while_the_clock_runs_no_schedule_surprises_a_test() -> None:
    every_minute = JobRegistry()
    every_minute.register("often", plain, cron="* * * * *")
    app = small_app(tasks=every_minute)
    async with kernel_client(app, frozen_at=NOON):
        pass
    async with kernel_client(app) as client:
        assert client.app is app
        assert await client.jobs.drain() == []
        assert await client.jobs.enqueued() == []


async def test_jobs_of_a_service_without_the_feature_cannot_be_asked_for() -> None:
    async with kernel_client(small_app(features=[], auth_enabled=False)) as client:
        with pytest.raises((KernelError, TypeError)):
            await client.jobs.enqueued()
