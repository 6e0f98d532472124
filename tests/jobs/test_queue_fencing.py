"""A worker that lost its job to another one changes nothing any more; what the new owner does stands."""

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest

from app_kernel import JobContext, JobRegistry
from app_kernel.core.events import JobFinished
from app_kernel.jobs import JobClient, get_job_client, jobs_of
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.records import JobRow
from tests.jobs.making import end, finished, standing
from tests.jobs.places import JobPlace
from tests.jobs.waiting import until

pytestmark = pytest.mark.acceptance("JB7")


async def taken_over(backend: Backend, id: str = "a") -> JobRow:
    """The job's second attempt, as a rescuer on another machine would begin it."""
    row = await standing(backend, id)
    assert (row.status, row.attempts) == ("running", 1)
    # In one step, or the worker that lost it might be the first to claim it.
    await backend.settle([])
    accepted, claims = await backend.turn([end(row, "queued", error="its worker is gone")], row.queue, 1, "another")
    assert accepted == {id}
    (again,) = claims.jobs
    assert (again.id, again.attempts) == (id, 2)
    return again


class Slow:
    """A handler that goes on until it is let go, whatever else happens."""

    def __init__(self, kind: str) -> None:
        self.began = asyncio.Event()
        self.go = threading.Event()
        self.ended = 0
        self.registry = JobRegistry()
        loop = asyncio.get_running_loop()

        async def asynchronous(ctx: JobContext) -> str:
            self.began.set()
            while not self.go.is_set():
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.01)
            await ctx.progress(0.9, "of the first")
            self.ended += 1
            return "of the first"

        def plain(ctx: JobContext) -> str:
            loop.call_soon_threadsafe(self.began.set)
            self.go.wait(20)
            self.ended += 1
            return "of the first"

        async def fails() -> None:
            self.began.set()
            while not self.go.is_set():
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.01)
            self.ended += 1
            raise ValueError("of the first")

        handlers: dict[str, Any] = {"async": asynchronous, "plain": plain, "failing": fails}
        self.registry.register("work", handlers[kind], max_attempts=3, retry_delay=0.0)
        self.registry.register("after", print)


@pytest.mark.parametrize("kind", ["async", "plain", "failing"])
async def test_the_end_of_an_attempt_that_was_taken_over_does_not_count(
    place: JobPlace, backend: Backend, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Slow(kind)
    # The only place is taken by the first attempt, so that the worker does not take the second one itself.
    async with place.working(slow.registry, worker_concurrency=1) as jobs:
        await jobs.enqueue("work", job_id="a", on_success="after", on_failure="after")
        await slow.began.wait()
        again = await taken_over(backend)
        slow.go.set()

        async def lost() -> bool:
            return any(record.message == "job_lost" for record in caplog.records)

        await until(lost)
        assert slow.ended == 1
        assert await standing(backend, "a") == again
        assert await jobs.list_jobs(task="after") == []
        assert await backend.settle([end(again, result='"of the second"')]) == {"a"}
        view = await jobs.get("a")
    assert view is not None
    assert (view.status, view.result, view.attempt, view.error) == ("completed", "of the second", 2, None)


async def test_the_end_of_the_first_attempt_does_not_count_after_that_of_the_second_either(
    place: JobPlace, backend: Backend
) -> None:
    slow = Slow("async")
    async with place.working(slow.registry, worker_concurrency=1) as jobs:
        await jobs.enqueue("work", job_id="a")
        await slow.began.wait()
        again = await taken_over(backend)
        await backend.settle([end(again, result='"of the second"')])
        before = await standing(backend, "a")
        slow.go.set()

        async def free() -> bool:
            return (await finished(jobs, (await jobs.enqueue("after")).job_id)).status == "completed"

        assert await until(free)
        assert await standing(backend, "a") == before


async def test_a_worker_that_hears_that_its_job_was_taken_over_ends_its_handler(
    place: JobPlace, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app_kernel.jobs.upkeep.BEAT_SECONDS", 0.02)
    registry = JobRegistry()
    began, ended = asyncio.Event(), asyncio.Event()

    @registry.task("work")
    async def work() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with place.working(registry, worker_concurrency=1) as jobs:
        await jobs.enqueue("work", job_id="a")
        await began.wait()
        again = await taken_over(backend)
        async with asyncio.timeout(5):
            await ended.wait()
        await asyncio.sleep(0.05)
        assert await standing(backend, "a") == again


async def test_both_attempts_in_one_worker_do_not_get_in_each_others_way(place: JobPlace, backend: Backend) -> None:
    """A machine that stood still wakes up, and its worker claims the job anew while the first attempt goes on."""
    registry = JobRegistry()
    began, go = [asyncio.Event(), asyncio.Event()], asyncio.Event()
    ended: list[int] = []

    @registry.task("work")
    async def work(ctx: JobContext) -> str:
        began[ctx.attempt - 1].set()
        with suppress(asyncio.CancelledError):
            await go.wait()
        ended.append(ctx.attempt)
        return f"of attempt {ctx.attempt}"

    async with place.service(registry, jobs="worker", worker_concurrency=2) as client:
        jobs: JobClient = get_job_client()
        await jobs.enqueue("work", job_id="a")
        await began[0].wait()
        row = await standing(backend, "a")
        await backend.settle([end(row, "queued", error="its worker is gone")])
        await began[1].wait()
        # Begun anew here, the first attempt is known to be lost.
        await until(lambda: _truth(ended == [1]))
        runner = jobs_of(client.kernel).runner
        assert runner is not None
        await until(lambda: _truth(runner.held == 1))
        view = await jobs.get("a")
        assert view is not None
        assert (view.status, view.attempt, view.result) == ("running", 2, None)
        go.set()
        view = await finished(jobs, "a")
    assert (view.status, view.result) == ("completed", "of attempt 2")


async def test_a_lost_attempt_is_told_as_lost(place: JobPlace, backend: Backend) -> None:
    slow = Slow("async")
    told: list[JobFinished] = []

    async def listen(kernel: Any, event: JobFinished) -> None:
        told.append(event)

    async with place.service(slow.registry, jobs="worker", worker_concurrency=1) as client:
        client.kernel._listeners[JobFinished] = (("this case", listen),)
        await get_job_client().enqueue("work", job_id="a")
        await slow.began.wait()
        again = await taken_over(backend)
        slow.go.set()
        await until(lambda: _truth(bool(told)))
        await backend.settle([end(again)])
    assert [(event.job_id, event.outcome, event.attempt) for event in told] == [("a", "lost", 1)]


async def _truth(answer: bool) -> bool:
    return answer
