"""No job holds up others that have a place: not one that waits, nor a long one, nor one that fails again and again."""

import asyncio
import time
from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from app_kernel import JobContext, JobRegistry
from app_kernel.core.jobs import JobView
from app_kernel.jobs import JobClient, get_job_client, jobs_of
from app_kernel.jobs.queues.backend import Backend
from tests.jobs.making import claim_ids, end, enqueue, finished, ran
from tests.jobs.places import JobPlace
from tests.jobs.waiting import until


async def all_finished(jobs: JobClient, ids: list[str]) -> list[JobView]:
    return [await finished(jobs, id) for id in ids]


def waited(view: JobView) -> float:
    assert view.started_at is not None
    return (datetime.fromisoformat(view.started_at) - datetime.fromisoformat(view.enqueued_at)).total_seconds()


@pytest.mark.acceptance("JB5")
async def test_others_keep_flowing_past_a_waiting_a_long_and_a_poisonous_job(place: JobPlace) -> None:
    registry = JobRegistry()
    over = asyncio.Event()

    @registry.task("back_off", max_attempts=5, retry_delay=3600.0, max_retry_delay=3600.0)
    async def back_off() -> None:
        raise ValueError("later")

    @registry.task("long", timeout=3600)
    async def long() -> None:
        await over.wait()

    @registry.task("poison", max_attempts=3, retry_delay=0.0)
    def poison() -> None:
        raise SystemExit(1)

    @registry.task("quick")
    async def quick() -> None:
        await asyncio.sleep(0.001)

    async with place.working(registry, worker_concurrency=4) as jobs:
        held = {name: (await jobs.enqueue(name)).job_id for name in ("back_off", "long", "poison")}
        views = []
        for _ in range(10):
            made = await jobs.enqueue_many("quick", [None] * 10)
            views += await all_finished(jobs, [each.job_id for each in made])
        assert (await finished(jobs, held["poison"])).status == "dead"
        standing = {name: await jobs.get(id) for name, id in held.items()}
        over.set()
        assert (await finished(jobs, held["long"])).status == "completed"
    assert {name: view.status for name, view in standing.items() if view is not None} == {
        "back_off": "scheduled", "long": "running", "poison": "dead",
    }  # fmt: skip
    assert {view.status for view in views} == {"completed"}
    starts = sorted(map(waited, views))
    assert starts[int(0.95 * len(starts))] < 1


async def test_no_more_jobs_of_a_queue_run_at_a_time_than_it_has_places(place: JobPlace) -> None:
    registry = JobRegistry()
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def work(ctx: JobContext) -> None:
        running[ctx.queue_name] += 1
        most[ctx.queue_name] = max(most[ctx.queue_name], running[ctx.queue_name])
        await asyncio.sleep(0.01)
        running[ctx.queue_name] -= 1

    for queue in ("one", "two", "rest"):
        registry.register(f"work_{queue}", work, queue=queue)
    settings: dict[str, Any] = {"worker_queues": ["one:1", "two:2", "rest"], "worker_concurrency": 4}
    async with place.working(registry, **settings) as jobs:
        made = [
            each for queue in ("one", "two", "rest") for each in await jobs.enqueue_many(f"work_{queue}", [None] * 9)
        ]
        views = await all_finished(jobs, [each.job_id for each in made])
    assert {view.status for view in views} == {"completed"}
    assert most == {"one": 1, "two": 2, "rest": 4}


async def test_a_full_queue_holds_up_no_other(place: JobPlace) -> None:
    registry = JobRegistry()
    over = asyncio.Event()

    @registry.task("long", queue="slow")
    async def long() -> None:
        await over.wait()

    @registry.task("quick", queue="fast")
    async def quick() -> str:
        return "done"

    async with place.working(registry, worker_queues=["slow:2", "fast:1"]) as jobs:
        made = await jobs.enqueue_many("long", [None] * 5)
        assert (await ran(jobs, "quick")).result == "done"
        assert (await jobs.figures()).counts == {("slow", "running"): 2, ("slow", "queued"): 3}
        over.set()
        assert {view.status for view in await all_finished(jobs, [each.job_id for each in made])} == {"completed"}


async def test_a_worker_serves_only_the_queues_that_it_is_to_serve(place: JobPlace) -> None:
    registry = JobRegistry()

    @registry.task("here", queue="here")
    async def here() -> None: ...

    @registry.task("there", queue="there")
    async def there() -> None: ...

    async with place.working(registry, worker_queues=["here"]) as jobs:
        left = await jobs.enqueue("there")
        await ran(jobs, "here")
        moved = await ran(jobs, "there", queue="here")
        view = await jobs.get(left.job_id)
    assert view is not None
    assert (view.status, moved.status, moved.queue_name) == ("queued", "completed", "here")


async def test_a_worker_without_a_list_serves_the_queues_of_its_tasks(place: JobPlace) -> None:
    registry = JobRegistry()

    @registry.task("work", queue="of_the_task")
    async def work() -> None: ...

    async with place.service(registry, jobs="worker") as client:
        runner = jobs_of(client.kernel).runner
        assert runner is not None
        assert sorted(runner.workers) == ["default", "of_the_task", "webhooks"]
        assert (await ran(get_job_client(), "work")).status == "completed"
        assert (await ran(get_job_client(), "work", queue="default")).status == "completed"


async def test_the_highest_priority_runs_first(place: JobPlace) -> None:
    registry = JobRegistry()
    order: list[str] = []
    over = asyncio.Event()

    @registry.task("first")
    async def first() -> None:
        await over.wait()

    @registry.task("usual")
    async def usual(payload: str) -> None:
        order.append(payload)

    registry.register("urgent", usual, priority=50)
    async with place.working(registry, worker_concurrency=1) as jobs:
        held = await jobs.enqueue("first", priority=100)

        async def runs() -> bool:
            view = await jobs.get(held.job_id)
            return view is not None and view.status == "running"

        await until(runs)
        wishes: list[tuple[str, int | None]] = [("usual", None), ("usual", -7), ("urgent", None), ("usual", 60)]
        wishes += [("urgent", 0), ("usual", None), ("usual", -100), ("usual", 100)]
        made = [await jobs.enqueue(name, f"{name} {wish} {n}", priority=wish) for n, (name, wish) in enumerate(wishes)]
        over.set()
        await all_finished(jobs, [each.job_id for each in made])
    assert order == [
        "usual 100 7", "usual 60 3", "urgent None 2", "usual None 0", "urgent 0 4", "usual None 5", "usual -7 1",
        "usual -100 6",
    ]  # fmt: skip


async def test_jobs_that_others_enqueue_begin_at_once(place: JobPlace, backend: Backend) -> None:
    registry = JobRegistry()
    began: dict[str, float] = {}

    @registry.task("work")
    async def work(ctx: JobContext) -> None:
        began[ctx.job_id] = time.monotonic()

    async with place.working(registry) as jobs:
        await ran(jobs, "work")
        waits = []
        for n in range(10):
            await asyncio.sleep(0.02)
            put = time.monotonic()
            await enqueue(backend, f"j{n}", task="work")
            await finished(jobs, f"j{n}")
            waits.append(began[f"j{n}"] - put)
    # Far less than the second after which a worker looks without being called.
    assert sorted(waits)[5] < 0.25


async def test_a_paused_queue_starts_nothing_until_it_is_resumed(place: JobPlace) -> None:
    registry = JobRegistry()
    began = asyncio.Event()
    over = asyncio.Event()

    @registry.task("long")
    async def long() -> str:
        began.set()
        await over.wait()
        return "went on"

    @registry.task("work")
    async def work() -> None: ...

    async with place.working(registry) as jobs:
        held = await jobs.enqueue("long")
        await began.wait()
        await jobs.pause()
        made = await jobs.enqueue("work")
        assert (await jobs.figures()).paused == ("default",)
        over.set()
        assert (await finished(jobs, held.job_id)).result == "went on"
        await asyncio.sleep(0.1)
        view = await jobs.get(made.job_id)
        assert view is not None
        assert view.status == "queued"
        await jobs.resume()
        async with asyncio.timeout(5):
            assert (await finished(jobs, made.job_id)).status == "completed"


async def test_two_workers_share_the_jobs_and_run_none_twice(place: JobPlace, backend: Backend) -> None:
    registry = JobRegistry()
    runs: Counter[str] = Counter()

    @registry.task("work")
    async def work(ctx: JobContext) -> None:
        runs[ctx.job_id] += 1
        await asyncio.sleep(0.001)

    async with place.service(registry, jobs="worker"), place.service(registry, jobs="worker"):
        made = [await enqueue(backend, f"j{n}", task="work") for n in range(150)]

        async def done() -> bool:
            return not (await backend.figures()).counts

        await until(done)
    assert sorted(runs) == sorted(each.id for each in made)
    assert set(runs.values()) == {1}


async def test_a_service_that_stops_lets_its_jobs_end_and_begins_no_more(place: JobPlace, backend: Backend) -> None:
    registry = JobRegistry()
    ended: list[str] = []
    began = asyncio.Event()

    @registry.task("work")
    async def work(ctx: JobContext) -> str:
        began.set()
        await asyncio.sleep(0.2)
        ended.append(ctx.job_id)
        return "done"

    async with place.working(registry, worker_concurrency=2) as jobs:
        made = await jobs.enqueue_many("work", [None] * 5)
        await began.wait()
        await asyncio.sleep(0.05)
    assert len(ended) == 2
    statuses = await backend.statuses([each.job_id for each in made])
    assert sorted(statuses.values()) == ["completed"] * 2 + ["queued"] * 3


async def test_a_service_that_stops_gives_back_what_does_not_end_in_time(place: JobPlace, backend: Backend) -> None:
    registry = JobRegistry()
    began = asyncio.Event()

    @registry.task("long", max_attempts=1)
    async def long() -> None:
        began.set()
        await asyncio.sleep(3600)

    async with place.working(registry, worker_grace_seconds=0.1) as jobs:
        made = await jobs.enqueue("long")
        await began.wait()
    row = await backend.get(made.job_id)
    assert row is not None
    assert (row.status, row.attempts, row.error) == ("queued", 0, None)
    assert await claim_ids(backend) == [made.job_id]
    assert await backend.settle([end(row)]) == set()
