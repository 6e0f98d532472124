"""How far a job is can be seen while it runs, what came of it afterwards, and both for as long as its task says."""

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from app_kernel import JobContext, JobRegistry
from app_kernel.core.errors import InvalidJob
from app_kernel.core.jobs import DEAD_TTL
from app_kernel.jobs import get_job_client
from tests.jobs.making import NOON, finished, ran
from tests.jobs.places import JobPlace
from tests.jobs.waiting import until


async def test_progress_is_seen_while_the_job_runs(place: JobPlace) -> None:
    registry = JobRegistry()
    steps = [asyncio.Event() for _ in range(3)]
    reached = [asyncio.Event() for _ in range(3)]

    @registry.task("work")
    async def work(ctx: JobContext) -> str:
        for n, said in enumerate(("begun", None, "🦑 nearly")):
            await ctx.progress(n / 4, said)
            reached[n].set()
            await steps[n].wait()
        return "done"

    async with place.working(registry) as jobs:
        made = await jobs.enqueue("work")
        for n, said in enumerate(("begun", None, "🦑 nearly")):
            await reached[n].wait()
            view = await jobs.get(made.job_id)
            assert view is not None
            assert (view.status, view.progress, view.progress_text) == ("running", n / 4, said)
            steps[n].set()
        view = await finished(jobs, made.job_id)
    assert (view.progress, view.result) == (1.0, "done")


async def test_progress_of_a_plain_handler_is_written_down_with_the_beats(
    place: JobPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app_kernel.jobs.upkeep.BEAT_SECONDS", 0.02)
    registry = JobRegistry()
    over = threading.Event()

    @registry.task("work")
    def work(ctx: JobContext) -> None:
        ctx.report_progress(0.3, "so far")
        over.wait(20)

    async with place.working(registry) as jobs:
        made = await jobs.enqueue("work")

        async def seen() -> bool:
            view = await jobs.get(made.job_id)
            return view is not None and (view.progress, view.progress_text) == (0.3, "so far")

        await until(seen)
        over.set()
        assert (await finished(jobs, made.job_id)).progress == 1.0


@pytest.mark.parametrize("bad", [(-0.1, None), (1.1, None), (float("nan"), None), (True, None), ("1", None), (1, 5)])
async def test_what_is_no_progress_is_refused_in_the_handler(place: JobPlace, bad: Any) -> None:
    registry = JobRegistry()
    caught: list[str] = []

    @registry.task("work")
    async def work(ctx: JobContext) -> None:
        with pytest.raises(InvalidJob) as raised:
            await ctx.progress(*bad)
        caught.append(raised.value.message)
        await ctx.progress(1, "x" * 500)

    async with place.working(registry) as jobs:
        view = await ran(jobs, "work")
    assert (view.status, len(view.progress_text or "")) == ("completed", 500)
    assert caught


async def test_a_new_attempt_begins_at_no_progress(place: JobPlace) -> None:
    registry = JobRegistry()
    seen: list[Any] = []

    @registry.task("work", retry_delay=0.0)
    async def work(ctx: JobContext) -> None:
        view = await get_job_client().get(ctx.job_id)
        assert view is not None
        seen.append((view.attempt, view.progress, view.progress_text))
        await ctx.progress(0.5, "half")
        if ctx.attempt == 1:
            raise ValueError("again")

    async with place.working(registry) as jobs:
        await ran(jobs, "work")
    assert seen == [(1, 0.0, None), (2, 0.0, None)]


class Frozen(Mapping[str, int]):
    """A mapping that is no dict."""

    def __getitem__(self, key: str) -> int:
        return {"a": 1}[key]

    def __iter__(self) -> Any:
        return iter(("a",))

    def __len__(self) -> int:
        return 1


async def test_results_come_back_as_json(place: JobPlace) -> None:
    registry = JobRegistry()
    results: list[Any] = [None, 0, "", False, [], {}, {"a": [1, 2.5, None, "ü"]}, (1, 2), Frozen(), "x" * 500_000]

    @registry.task("give")
    async def give(payload: int) -> Any:
        return results[payload]

    @registry.task("plain")
    def plain(payload: int) -> Any:
        return results[payload]

    expected = [*results[:7], [1, 2], {"a": 1}, results[9]]
    async with place.service(registry) as client:
        for name in ("give", "plain"):
            await get_job_client().enqueue_many(name, list(range(len(results))))
        views = await client.jobs.drain()
    assert [view.result for view in views] == expected * 2
    assert {view.status for view in views} == {"completed"}


async def test_a_result_is_kept_for_as_long_as_its_task_says_and_a_dead_job_for_a_week(place: JobPlace) -> None:
    registry = JobRegistry()

    @registry.task("short", result_ttl=60)
    async def short() -> int:
        return 1

    @registry.task("usual")
    async def usual() -> int:
        return 2

    @registry.task("fail", max_attempts=1, result_ttl=60)
    async def fail() -> None:
        raise ValueError("it broke")

    async with place.service(registry, frozen_at=NOON) as client:
        jobs = get_job_client()
        for name in ("short", "usual", "fail"):
            await jobs.enqueue(name, job_id=name)
        await jobs.cancel((await jobs.enqueue("usual", job_id="cancelled")).job_id)
        await client.jobs.drain()

        async def kept_after(seconds: float) -> list[str]:
            client.clock.advance(seconds)
            await jobs.backend.prune()
            return sorted(view.id for view in await jobs.list_jobs())

        assert await kept_after(59.9) == ["cancelled", "fail", "short", "usual"]
        assert await kept_after(0.2) == ["cancelled", "fail", "usual"]
        assert await kept_after(3539) == ["cancelled", "fail", "usual"]
        assert await kept_after(1) == ["cancelled", "fail"]
        assert await kept_after(DEAD_TTL - 3700) == ["cancelled", "fail"]
        assert await kept_after(200) == []


async def test_a_worker_forgets_what_is_over(place: JobPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app_kernel.jobs.upkeep.PRUNE_SECONDS", 0.02)
    registry = JobRegistry()

    @registry.task("work", result_ttl=0)
    async def work() -> None: ...

    async with place.working(registry) as jobs:
        await jobs.enqueue_many("work", [None] * 20)

        async def gone() -> bool:
            return await jobs.list_jobs() == []

        assert await until(gone)
