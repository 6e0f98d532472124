"""Whoever asks a running job to end has it ended soon, and it ends as cancelled whatever its handler does."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from app_kernel import JobContext, JobRegistry
from app_kernel.core.errors import JobConflict, JobNotFound
from app_kernel.jobs import JobClient, get_job_client
from app_kernel.jobs.queues.backend import Backend
from tests.jobs.making import enqueue, finished, ran
from tests.jobs.places import JobPlace
from tests.jobs.waiting import until

pytestmark = pytest.mark.acceptance("JB10")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app_kernel.jobs.runner.CANCEL_SECONDS", 0.2)
    monkeypatch.setattr("app_kernel.jobs.threads.INTERRUPT_SECONDS", 0.1)


class Handlers:
    """Handlers that run for long, and what they saw of their end."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended: list[str] = []
        self.over = threading.Event()

    async def sleeps(self, ctx: JobContext) -> None:
        self.began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.ended.append(f"cancelled {ctx.cancelled}")
            raise

    async def returns(self) -> str:
        self.began.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        self.ended.append("returned")
        return "half of it"

    async def raises(self) -> None:
        self.began.set()
        try:
            await asyncio.sleep(60)
        finally:
            self.ended.append("raised")
            raise ValueError("while it ended")

    async def goes_on(self) -> None:
        self.began.set()
        while not self.over.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    def naps(self) -> None:
        self.began.set()
        try:
            while True:
                time.sleep(0.005)
        finally:
            self.ended.append("interrupted")

    def stuck(self) -> None:
        self.began.set()
        self.over.wait(20)


@pytest.mark.parametrize("name", ["sleeps", "returns", "raises", "goes_on", "naps", "stuck"])
async def test_a_running_job_is_cancelled(place: JobPlace, name: str) -> None:
    handlers = Handlers()
    handler: Callable[..., Any] = getattr(handlers, name)
    registry = JobRegistry()
    registry.register("long", handler, max_attempts=5)

    @registry.task("work")
    async def work() -> str:
        return "done"

    async with place.working(registry, worker_concurrency=1) as jobs:
        await jobs.enqueue("long", job_id="a", on_success="work", on_failure="work")
        await began(handlers)
        view = await jobs.cancel("a")
        assert view.status in ("running", "cancelled")
        assert view.cancelling == (view.status == "running")
        # The channel for it may just be opened; then the next beat tells, after two seconds.
        view = await finished(jobs, "a", 8)
        assert (view.status, view.attempt, view.result, view.cancelling) == ("cancelled", 1, None, False)
        assert (await ran(jobs, "work")).result == "done"
        assert len(await jobs.list_jobs(task="work")) == 1
        handlers.over.set()
    expected = {"sleeps": ["cancelled True"], "returns": ["returned"], "raises": ["raised"], "naps": ["interrupted"]}
    assert handlers.ended == expected.get(name, [])
    assert ("while it ended" in (view.error or "")) == (name == "raises")


async def test_a_cancellation_by_another_process_arrives_at_once(place: JobPlace, backend: Backend) -> None:
    handlers = Handlers()
    registry = JobRegistry()
    registry.register("long", handlers.sleeps)
    async with place.working(registry) as jobs:
        await jobs.enqueue("long", job_id="warm")
        await began(handlers)
        await asyncio.sleep(0.1)
        before = time.monotonic()
        assert await backend.cancel("warm") == "running"
        await finished(jobs, "warm")
        assert time.monotonic() - before < 1
    assert handlers.ended == ["cancelled True"]


async def test_a_cancelled_job_can_be_retried_and_runs_then(place: JobPlace) -> None:
    handlers = Handlers()
    registry = JobRegistry()

    @registry.task("long")
    async def long() -> str:
        if not handlers.began.is_set():
            await handlers.returns()
        return "all of it"

    async with place.working(registry) as jobs:
        await jobs.enqueue("long", job_id="a")
        await began(handlers)
        await jobs.cancel("a")
        assert (await finished(jobs, "a")).status == "cancelled"
        await jobs.retry("a")
        view = await finished(jobs, "a")
    assert (view.status, view.result, view.error) == ("completed", "all of it", None)


async def test_a_cancelled_job_leaves_its_unique_key_when_it_has_ended(place: JobPlace) -> None:
    handlers = Handlers()
    registry = JobRegistry()
    registry.register("long", handlers.sleeps)
    async with place.working(registry) as jobs:
        await jobs.enqueue("long", job_id="a", unique_key="k")
        await began(handlers)
        assert (await jobs.enqueue("long", job_id="b", unique_key="k")).job_id == "a"
        await jobs.cancel("a")
        await finished(jobs, "a")
        assert not (await jobs.enqueue("long", job_id="b", unique_key="k")).deduplicated
        await jobs.cancel("b")


async def test_a_plain_handler_may_look_whether_it_is_to_end(place: JobPlace) -> None:
    registry = JobRegistry()
    seen: list[bool] = []
    began = threading.Event()

    @registry.task("long")
    def long(ctx: JobContext) -> None:
        began.set()
        try:
            while not ctx.cancelled:
                time.sleep(0.005)
        finally:
            seen.append(ctx.cancelled)

    async with place.working(registry) as jobs:
        made = await jobs.enqueue("long")
        await asyncio.to_thread(began.wait, 10)
        await jobs.cancel(made.job_id)
        assert (await finished(jobs, made.job_id, 8)).status == "cancelled"
    assert seen == [True]


@pytest.mark.parametrize(("looks", "status"), [(True, "cancelled"), (False, "completed")])
async def test_a_plain_handler_that_returns_before_it_is_interrupted_is_done_unless_it_saw_that_it_was_to_end(
    place: JobPlace, monkeypatch: pytest.MonkeyPatch, looks: bool, status: str
) -> None:
    registry = JobRegistry()
    began, go = threading.Event(), threading.Event()
    cancel = JobContext.cancel

    def slowly(self: JobContext) -> None:
        cancel(self)
        go.set()
        # The handler returns before the loop goes on to interrupt it.
        time.sleep(0.1)

    monkeypatch.setattr(JobContext, "cancel", slowly)

    @registry.task("work")
    def work(ctx: JobContext) -> str:
        began.set()
        go.wait(10)
        return "left" if looks and ctx.cancelled else "done"

    async with place.working(registry) as jobs:
        made = await jobs.enqueue("work")
        await asyncio.to_thread(began.wait, 10)
        await jobs.cancel(made.job_id)
        view = await finished(jobs, made.job_id, 8)
    assert (view.status, view.result) == (status, None if looks else "done")


async def test_what_cannot_be_cancelled_or_retried_says_so(place: JobPlace) -> None:
    registry = JobRegistry()

    @registry.task("work")
    async def work() -> None: ...

    async with place.service(registry) as client:
        jobs: JobClient = get_job_client()
        for verb in (jobs.cancel, jobs.retry):
            with pytest.raises(JobNotFound):
                await verb("nobody")
        made = await jobs.enqueue("work")
        with pytest.raises(JobConflict, match="queued"):
            await jobs.retry(made.job_id)
        await client.jobs.drain()
        with pytest.raises(JobConflict, match="completed"):
            await jobs.cancel(made.job_id)
        with pytest.raises(JobConflict, match="completed"):
            await jobs.retry(made.job_id)
        other = await jobs.enqueue("work", unique_key="k")
        assert (await jobs.cancel(other.job_id)).status == "cancelled"
        # Asked again, it is what was asked for.
        assert (await jobs.cancel(other.job_id)).status == "cancelled"
        await jobs.enqueue("work", unique_key="k")
        with pytest.raises(JobConflict, match="unique key"):
            await jobs.retry(other.job_id)


async def test_many_running_jobs_are_cancelled_together(place: JobPlace, backend: Backend) -> None:
    registry = JobRegistry()

    @registry.task("long")
    async def long() -> None:
        await asyncio.sleep(60)

    async with place.working(registry, worker_concurrency=30) as jobs:
        ids = [(await enqueue(backend, task="long")).id for _ in range(30)]

        async def all_run() -> bool:
            return (await jobs.figures()).counts == {("default", "running"): 30}

        await until(all_run)
        await asyncio.gather(*(jobs.cancel(id) for id in ids))
        views = [await finished(jobs, id, 8) for id in ids]
    assert {view.status for view in views} == {"cancelled"}


async def began(handlers: Handlers) -> None:
    await asyncio.to_thread(handlers.began.wait, 10)
    assert handlers.began.is_set()
