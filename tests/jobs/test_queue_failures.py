"""Whatever a handler raises counts as a failed attempt of its job, and neither ends nor hinders the worker."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from app_kernel import JobContext, JobRegistry
from app_kernel.core.clock import frozen
from app_kernel.jobs import get_job_client
from tests.jobs.making import NOON, enqueue, finished, ran
from tests.jobs.places import JobPlace

pytestmark = pytest.mark.acceptance("JB4")


class Odd(BaseException):
    """No Exception."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("nobody may print it")


def _exit() -> None:
    sys.exit(3)


def _recurse() -> None:
    _recurse()


def _raise(error: BaseException) -> Callable[[], None]:
    def raising() -> None:
        raise error

    return raising


RAISING: dict[str, tuple[Callable[[], None], str]] = {
    "exception": (_raise(ValueError("it broke")), "ValueError: it broke"),
    "sys.exit": (_exit, "SystemExit: 3"),
    "memory": (_raise(MemoryError()), "MemoryError"),
    "recursion": (_recurse, "RecursionError"),
    "cancelled": (_raise(asyncio.CancelledError()), "CancelledError"),
    "interrupt": (_raise(KeyboardInterrupt()), "KeyboardInterrupt"),
    "base": (_raise(Odd("odd")), "Odd: odd"),
    "generator": (_raise(GeneratorExit()), "GeneratorExit"),
    "iteration": (_raise(StopIteration(1)), "StopIteration"),
    "async iteration": (_raise(StopAsyncIteration()), "StopAsyncIteration"),
    "timeout": (_raise(TimeoutError("of its own")), "TimeoutError: of its own"),
    "group": (_raise(ExceptionGroup("two", [ValueError("one"), KeyError("other")])), "ExceptionGroup: two"),
    "unprintable": (_raise(Unprintable()), "Unprintable"),
}


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_worker_survives_whatever_its_handlers_raise(place: JobPlace, kind: str) -> None:
    """One after another in one worker, so that what the first ones leave behind would hinder the last ones."""
    registry = JobRegistry()
    attempts: list[str] = []

    def plain(payload: str) -> None:
        attempts.append(payload)
        RAISING[payload][0]()

    async def asynchronous(payload: str) -> None:
        await asyncio.sleep(0)
        plain(payload)

    registry.register("fail", plain if kind == "plain" else asynchronous, max_attempts=2, retry_delay=0.0)

    @registry.task("work")
    async def work() -> str:
        return "done"

    async with place.working(registry, worker_concurrency=2) as jobs:
        for name, (_, words) in RAISING.items():
            view = await ran(jobs, "fail", name)
            assert (name, view.status, view.attempt) == (name, "dead", 2)
            assert view.error is not None
            assert words in view.error, name
            assert attempts.count(name) == 2
        # Both places still work.
        both = await asyncio.gather(*(ran(jobs, "work") for _ in range(4)))
    assert [view.result for view in both] == ["done"] * 4


async def test_the_loop_of_the_service_goes_on_while_handlers_exit(place: JobPlace) -> None:
    registry = JobRegistry()

    @registry.task("leave", max_attempts=1)
    async def leave() -> None:
        sys.exit()

    async with place.service(registry, jobs="worker") as client:
        jobs = get_job_client()
        views = await asyncio.gather(*(ran(jobs, "leave") for _ in range(5)))
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).json()["status"] == "ready"
    assert [view.status for view in views] == ["dead"] * 5


async def test_a_task_that_a_handler_awaits_and_somebody_cancels_is_a_failure(place: JobPlace) -> None:
    registry = JobRegistry()

    @registry.task("wait", max_attempts=1)
    async def wait() -> None:
        inner = asyncio.create_task(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner

    async with place.working(registry) as jobs:
        view = await ran(jobs, "wait")
    assert view.status == "dead"
    assert view.error is not None
    assert "CancelledError" in view.error


async def test_a_handler_may_cancel_itself_without_end_and_is_dead_all_the_same(place: JobPlace) -> None:
    registry = JobRegistry()
    attempts: list[int] = []

    @registry.task("cancel_me", max_attempts=3, retry_delay=0.0)
    async def cancel_me(ctx: JobContext) -> None:
        attempts.append(ctx.attempt)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(60)

    async with place.working(registry) as jobs:
        view = await ran(jobs, "cancel_me")
    assert attempts == [1, 2, 3]
    assert view.status == "dead"
    assert view.error is not None
    assert "CancelledError: the handler cancelled itself" in view.error


async def test_what_a_handler_leaves_running_does_not_keep_its_job(place: JobPlace) -> None:
    registry = JobRegistry()
    left: list[asyncio.Task[None]] = []

    @registry.task("leave")
    async def leave() -> str:
        left.append(asyncio.create_task(asyncio.sleep(60)))
        return "done"

    async with place.working(registry) as jobs:
        view = await ran(jobs, "leave")
    left[0].cancel()
    assert (view.status, view.result) == ("completed", "done")


async def test_a_handler_of_an_unknown_task_leaves_the_job_to_others_for_a_while_and_is_dead_then(
    place: JobPlace,
) -> None:
    registry = JobRegistry()

    @registry.task("known")
    async def known() -> None: ...

    async with place.service(registry) as client, place.backend() as other:
        with frozen(NOON) as clock:
            await enqueue(other, "a", task="unknown")
            for attempt in (1, 2):
                (view,) = await client.jobs.drain()
                assert (view.status, view.attempt) == ("scheduled", attempt)
                clock.advance(60)
            (view,) = await client.jobs.drain()
    assert view.status == "dead"
    assert view.error is not None
    assert "No task is named 'unknown'" in view.error


async def test_an_object_that_is_no_json_fails_no_job_that_did_its_work(
    place: JobPlace, caplog: pytest.LogCaptureFixture
) -> None:
    registry = JobRegistry()
    results: dict[str, Any] = {
        "object": object(), "set": {1}, "bytes": b"x", "number": 2**64, "nan": float("nan"), "surrogate": "\ud800",
        "nul": "\0", "key": {1: 2}, "large": "x" * 1_100_000, "function": print, "exception": ValueError("x"),
    }  # fmt: skip
    results["endless"] = endless = []
    endless.append(endless)

    @registry.task("give")
    async def give(payload: str) -> Any:
        return results[payload]

    async with place.working(registry) as jobs:
        made = [await jobs.enqueue("give", name) for name in results]
        for each in made:
            view = await finished(jobs, each.job_id)
            assert (view.status, view.result, view.error, view.attempt) == ("completed", None, None, 1)
    dropped = [record for record in caplog.records if record.message == "job_result_dropped"]
    assert len(dropped) == len(results)
