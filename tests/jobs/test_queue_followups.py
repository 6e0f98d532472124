"""What follows from the end of a job is enqueued with that end; what handlers enqueue themselves obeys transactions."""

import asyncio
from typing import Any

import pytest

from app_kernel import DoNotRetry, JobContext, JobRegistry, get_job_client
from app_kernel.core.jobs import JobView
from app_kernel.db import get_db_connection
from app_kernel.jobs import JobClient
from tests.jobs.making import finished, ran
from tests.jobs.places import JobPlace
from tests.jobs.waiting import until


class Tasks:
    """Tasks whose jobs follow from others, and what those got."""

    def __init__(self) -> None:
        self.registry = JobRegistry()
        self.got: list[tuple[str, Any]] = []
        self.contexts: list[JobContext] = []

        @self.registry.task("after", queue="later", priority=7)
        async def after(payload: Any, ctx: JobContext) -> None:
            self.got.append((ctx.task_name, payload))
            self.contexts.append(ctx)

        self.registry.register("mourn", after)

        @self.registry.task("work")
        async def work(payload: Any) -> Any:
            return {"twice": payload * 2}

        @self.registry.task("fail", max_attempts=2, retry_delay=0.0)
        async def fail() -> None:
            raise ValueError("it broke")

        @self.registry.task("never")
        async def never() -> None:
            raise DoNotRetry("no use")


@pytest.fixture
def tasks() -> Tasks:
    return Tasks()


async def test_a_job_follows_from_success_with_the_payload_that_was_given(place: JobPlace, tasks: Tasks) -> None:
    async with place.service(tasks.registry) as client:
        payload = {"to": ["ada", 1.5, None]}
        await get_job_client().enqueue("work", 2, on_success=("after", payload), on_failure=("mourn", 1))
        views = await client.jobs.drain()
    assert [view.task_name for view in views] == ["work", "after"]
    assert tasks.got == [("after", payload)]
    assert (views[1].queue_name, views[1].priority, views[1].max_attempts) == ("later", 7, 3)


async def test_a_job_that_follows_is_told_what_became_of_the_first_where_no_payload_was_given(
    place: JobPlace, tasks: Tasks
) -> None:
    async with place.service(tasks.registry) as client:
        jobs = get_job_client()
        work = await jobs.enqueue("work", 21, on_success="after")
        fail = await jobs.enqueue("fail", {"n": 1}, on_failure="mourn")
        await client.jobs.drain()
    (_, succeeded), (_, failed) = sorted(tasks.got)
    assert succeeded == {
        "job_id": work.job_id, "task_name": "work", "status": "completed", "payload": 21, "result": {"twice": 42},
    }  # fmt: skip
    # The type alone, as a payload is shown to the user.
    assert failed == {
        "job_id": fail.job_id, "task_name": "fail", "status": "dead", "payload": {"n": 1}, "error": "ValueError",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["fail", "never"])
async def test_a_job_follows_from_failure_once_and_only_after_the_last_attempt(
    place: JobPlace, tasks: Tasks, name: str
) -> None:
    async with place.service(tasks.registry) as client:
        await get_job_client().enqueue(name, on_success=("after", 1), on_failure=("mourn", 2))
        views = await client.jobs.drain()
    assert [view.status for view in views] == [*["queued"] * (name == "fail"), "dead", "completed"]
    assert tasks.got == [("mourn", 2)]


async def test_a_job_that_follows_again_from_a_retried_one_is_another_job(place: JobPlace, tasks: Tasks) -> None:
    async with place.service(tasks.registry) as client:
        jobs = get_job_client()
        made = await jobs.enqueue("fail", on_failure=("mourn", 1))
        await client.jobs.drain()
        await jobs.retry(made.job_id)
        await client.jobs.drain()
    assert tasks.got == [("mourn", 1)] * 2


async def test_nothing_follows_from_a_job_that_is_cancelled(place: JobPlace, tasks: Tasks) -> None:
    async with place.service(tasks.registry) as client:
        jobs = get_job_client()
        made = await jobs.enqueue("work", 1, on_success="after", on_failure="mourn")
        await jobs.cancel(made.job_id)
        assert await client.jobs.drain() == []
    assert tasks.got == []


async def test_what_follows_is_on_behalf_of_the_same_user_and_request(place: JobPlace, tasks: Tasks) -> None:
    async with place.working(tasks.registry) as jobs:
        made = await jobs.enqueue("work", 1, user_id="ada", on_success=("after", None))
        await finished(jobs, made.job_id)

        async def followed() -> bool:
            return bool(tasks.contexts)

        await until(followed)
    assert (tasks.contexts[0].user_id, tasks.contexts[0].attempt) == ("ada", 1)


async def test_a_handler_enqueues_outside_of_a_transaction_at_once(place: JobPlace) -> None:
    registry = JobRegistry()

    @registry.task("parent", max_attempts=1)
    async def parent() -> None:
        await get_job_client().enqueue("child", job_id="child")
        raise ValueError("too late to take it back")

    @registry.task("child")
    async def child() -> str:
        return "born"

    async with place.working(registry) as jobs:
        assert (await ran(jobs, "parent")).status == "dead"
        assert (await finished(jobs, "child")).result == "born"


@pytest.mark.acceptance("JB3")
async def test_what_a_handler_does_in_a_transaction_happens_exactly_if_that_commits(place: JobPlace) -> None:
    registry = JobRegistry()

    @registry.task("parent", max_attempts=2, retry_delay=0.0)
    async def parent(payload: dict[str, Any], ctx: JobContext) -> None:
        async with get_db_connection() as db, db.transaction():
            await db.save_entity("notes", {"text": f"{payload['name']} {ctx.attempt}"})
            await get_job_client().enqueue("child", job_id=f"{payload['name']}-{ctx.attempt}")
            if ctx.attempt == 1 or payload["name"] == "bad":
                raise ValueError("taken back")

    @registry.task("child")
    async def child() -> str:
        return "born"

    async with place.service(registry, jobs="worker") as client:
        jobs = get_job_client()
        good, bad = await asyncio.gather(*(ran(jobs, "parent", {"name": name}) for name in ("good", "bad")))
        assert (good.status, bad.status) == ("completed", "dead")
        assert (await finished_child(jobs, "good-2")).result == "born"
        others = [await jobs.get(id) for id in ("good-1", "bad-1", "bad-2")]
        notes = [note["text"] for note in await client.db.find_entities("notes")]
    assert others == [None] * 3
    assert notes == ["good 2"]


async def test_a_handler_runs_in_no_transaction_of_who_enqueued_or_drained(place: JobPlace) -> None:
    registry = JobRegistry()

    @registry.task("note")
    async def note() -> None:
        async with get_db_connection() as db:
            await db.save_entity("notes", {"text": "kept"})

    async with place.service(registry) as client:
        await get_job_client().enqueue("note")
        if place.name == "postgres":
            # In SQLite the job would wait for the one writer's place.
            with pytest.raises(RuntimeError):
                async with client.db.transaction():
                    await client.jobs.drain()
                    raise RuntimeError
        else:
            await client.jobs.drain()
        assert len(await client.db.find_entities("notes")) == 1


async def test_a_handler_may_look_at_its_own_job_and_enqueue_it_again(place: JobPlace) -> None:
    registry = JobRegistry()
    seen: list[JobView | None] = []

    @registry.task("poll")
    async def poll(payload: int, ctx: JobContext) -> int:
        jobs = get_job_client()
        seen.append(await jobs.get(ctx.job_id))
        again = await jobs.enqueue("poll", payload + 1, unique_key=None if payload else "poll")
        if payload == 2:
            await jobs.cancel(again.job_id)
        return payload

    async with place.service(registry) as client:
        await get_job_client().enqueue("poll", 0)
        views = await client.jobs.drain()
    assert [view.result for view in views] == [0, 1, 2]
    assert [(view.status, view.attempt) for view in seen if view is not None] == [("running", 1)] * 3


async def finished_child(jobs: JobClient, id: str) -> JobView:
    """One that left a transaction for Redis is there a little later."""

    async def there() -> bool:
        return await jobs.get(id) is not None

    await until(there)
    return await finished(jobs, id)
