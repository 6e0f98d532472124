"""A failed attempt is repeated after a random wait that grows, up to the task's attempts; then the job is dead."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from app_kernel import DoNotRetry, JobContext, JobRegistry, RetryLater
from app_kernel.core.jobs import Task
from app_kernel.jobs import get_job_client
from app_kernel.jobs.queues.base import backoff
from tests.jobs.making import NOON, ran
from tests.jobs.places import JobPlace

pytestmark = pytest.mark.acceptance("JB4")


def test_the_wait_is_anything_below_a_limit_that_doubles_and_ends_somewhere() -> None:
    task = Task(handler=print, retry_delay=2.0, max_retry_delay=30.0)
    for attempt, limit in ((1, 2), (2, 4), (3, 8), (4, 16), (5, 30), (6, 30), (1000, 30)):
        waits = [backoff(task, attempt) for _ in range(400)]
        assert 0 <= min(waits) < 0.1 * limit
        assert 0.9 * limit < max(waits) <= limit
        assert 0.4 * limit < sum(waits) / len(waits) < 0.6 * limit


def test_no_wait_may_be_asked_for() -> None:
    assert backoff(Task(handler=print, retry_delay=0.0), 5) == 0
    assert backoff(Task(handler=print, retry_delay=5.0, max_retry_delay=0.0), 5) == 0


async def test_every_attempt_is_counted_and_the_last_one_leaves_a_dead_job(place: JobPlace) -> None:
    registry = JobRegistry()
    attempts: list[tuple[int, int]] = []

    @registry.task("fail", max_attempts=4, retry_delay=0.01)
    async def fail(ctx: JobContext) -> None:
        attempts.append((ctx.attempt, ctx.max_attempts))
        raise ValueError(f"broke in attempt {ctx.attempt}")

    async with place.working(registry) as jobs:
        view = await ran(jobs, "fail")
    assert attempts == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (view.status, view.attempt, view.max_attempts) == ("dead", 4, 4)
    assert view.error is not None
    assert view.error.startswith("Traceback (most recent call last):")
    assert view.error.rstrip().endswith("ValueError: broke in attempt 4")
    assert "in fail" in view.error
    assert "execution.py" not in view.error


async def test_a_job_that_succeeds_in_a_later_attempt_is_completed_without_an_error(place: JobPlace) -> None:
    registry = JobRegistry()

    @registry.task("third_time", max_attempts=5, retry_delay=0.0)
    def third_time(ctx: JobContext) -> int:
        if ctx.attempt < 3:
            raise ValueError("not yet")
        return ctx.attempt

    async with place.working(registry) as jobs:
        view = await ran(jobs, "third_time")
    assert (view.status, view.result, view.attempt, view.error) == ("completed", 3, 3, None)


async def test_waits_are_kept_within_their_limits(place: JobPlace) -> None:
    registry = JobRegistry()

    @registry.task("fail", max_attempts=6, retry_delay=100.0, max_retry_delay=500.0)
    async def fail() -> None:
        raise ValueError("it broke")

    async with place.service(registry, frozen_at=NOON) as client:
        jobs = get_job_client()
        made = await jobs.enqueue("fail")
        for limit in (100, 200, 400, 500, 500):
            (view,) = await client.jobs.drain()
            assert view.status == "scheduled"
            wait = datetime.fromisoformat(view.run_at) - client.clock.now()
            assert timedelta(0) < wait <= timedelta(seconds=limit, milliseconds=1)
            assert view.error is not None
            assert "it broke" in view.error
            client.clock.advance(wait.total_seconds() - 0.002)
            assert await client.jobs.drain() == []
            client.clock.advance(0.003)
        (view,) = await client.jobs.drain()
        assert (view.id, view.status, view.attempt) == (made.job_id, "dead", 6)


async def test_attempts_and_timeout_asked_for_with_the_job_count_before_those_of_the_task(place: JobPlace) -> None:
    registry = JobRegistry()

    @registry.task("fail", max_attempts=5, retry_delay=0.0)
    async def fail(ctx: JobContext) -> None:
        raise ValueError(str(ctx.max_attempts))

    async with place.working(registry) as jobs:
        once = await ran(jobs, "fail", max_attempts=1)
        seven = await ran(jobs, "fail", max_attempts=7)
        usual = await ran(jobs, "fail")
    assert [(view.status, view.attempt) for view in (once, seven, usual)] == [("dead", 1), ("dead", 7), ("dead", 5)]


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_handler_may_say_when_it_wants_to_run_again(place: JobPlace, kind: str) -> None:
    registry = JobRegistry()

    def later(ctx: JobContext) -> str:
        if ctx.attempt == 1:
            raise RetryLater(90, "the other side is busy")
        return "done"

    async def async_later(ctx: JobContext) -> str:
        return later(ctx)

    registry.register("later", later if kind == "plain" else async_later, retry_delay=5000.0)
    async with place.service(registry, frozen_at=NOON) as client:
        await get_job_client().enqueue("later")
        (view,) = await client.jobs.drain()
        assert (view.status, datetime.fromisoformat(view.run_at)) == ("scheduled", NOON + timedelta(seconds=90))
        assert view.error is not None
        assert "the other side is busy" in view.error
        client.clock.advance(89.9)
        assert await client.jobs.drain() == []
        client.clock.advance(0.1)
        (view,) = await client.jobs.drain()
        assert (view.status, view.result, view.attempt) == ("completed", "done", 2)


async def test_who_wants_to_run_again_at_once_does_so_and_is_dead_after_its_attempts(place: JobPlace) -> None:
    registry = JobRegistry()
    attempts: list[int] = []

    @registry.task("again", max_attempts=3, retry_delay=5000.0)
    async def again(ctx: JobContext) -> None:
        attempts.append(ctx.attempt)
        raise RetryLater(0)

    async with place.working(registry) as jobs:
        view = await ran(jobs, "again")
    assert attempts == [1, 2, 3]
    assert (view.status, view.attempt) == ("dead", 3)
    assert view.error is not None
    assert "RetryLater: asked to run again in 0 seconds" in view.error


@pytest.mark.parametrize("seconds", [-1, 367 * 86400, float("nan")])
def test_no_wait_is_negative_or_endless(seconds: float) -> None:
    with pytest.raises(ValueError, match="one year"):
        RetryLater(seconds)


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_handler_may_say_that_no_attempt_will_help(place: JobPlace, kind: str) -> None:
    registry = JobRegistry()
    attempts: list[int] = []

    def never(ctx: JobContext) -> None:
        attempts.append(ctx.attempt)
        raise DoNotRetry("the address does not exist")

    async def async_never(ctx: JobContext) -> None:
        never(ctx)

    registry.register("never", never if kind == "plain" else async_never, max_attempts=10)
    async with place.working(registry) as jobs:
        view = await ran(jobs, "never")
    assert attempts == [1]
    assert (view.status, view.attempt, view.max_attempts) == ("dead", 1, 10)
    assert view.error is not None
    assert "DoNotRetry: the address does not exist" in view.error


async def test_a_dead_job_that_is_retried_has_all_its_attempts_again(place: JobPlace) -> None:
    registry = JobRegistry()
    attempts: list[int] = []
    broken: list[Any] = [True]

    @registry.task("fail", max_attempts=2, retry_delay=0.0)
    async def fail(ctx: JobContext) -> str:
        attempts.append(ctx.attempt)
        if broken:
            raise ValueError("it broke")
        return "mended"

    async with place.service(registry) as client:
        jobs = get_job_client()
        made = await jobs.enqueue("fail")
        await client.jobs.drain()
        for _ in range(2):
            assert (await jobs.retry(made.job_id)).attempt == 0
            await client.jobs.drain()
        assert attempts == [1, 2] * 3
        broken.clear()
        await jobs.retry(made.job_id)
        (view,) = await client.jobs.drain()
    assert (view.status, view.result, view.attempt) == ("completed", "mended", 1)


async def test_an_endless_traceback_is_kept_in_part(place: JobPlace) -> None:
    registry = JobRegistry()

    @registry.task("fail", max_attempts=1)
    async def fail() -> None:
        raise ValueError("begin " + "x\ud800\0" * 100_000 + " end")

    async with place.working(registry) as jobs:
        view = await ran(jobs, "fail")
    assert view.status == "dead"
    assert view.error is not None
    assert len(view.error) < 100_000
    assert "ValueError: begin" in view.error
    assert view.error.rstrip().endswith(" end")
