"""An attempt ends when its time is over, whatever its handler does meanwhile, and so does a worker's wait for it."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from app_kernel import JobContext, JobRegistry
from app_kernel.jobs import get_job_client
from tests.jobs.making import finished, ran
from tests.jobs.places import JobPlace
from tests.jobs.waiting import until

pytestmark = pytest.mark.acceptance("JB4")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for beyond the timeouts themselves."""
    monkeypatch.setattr("app_kernel.jobs.runner.CANCEL_SECONDS", 0.2)
    monkeypatch.setattr("app_kernel.jobs.threads.INTERRUPT_SECONDS", 0.1)
    monkeypatch.setattr("app_kernel.jobs.watchdog.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("app_kernel.jobs.watchdog.STILL_SECONDS", 0.1)


@pytest.fixture
async def released() -> AsyncIterator[threading.Event]:
    """What handlers wait for that do not end by themselves; set at the end of the case."""
    event = threading.Event()
    yield event
    event.set()


async def _sleep() -> None:
    await asyncio.sleep(60)


async def _sleep_on() -> None:
    """Takes no notice of one cancellation."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    await asyncio.sleep(60)


async def _return() -> str:
    """Ends as if nothing had been when it is cancelled."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    return "half of it"


async def _turn() -> None:
    """Keeps the event loop busy between its turns."""
    while True:  # noqa: ASYNC110 - it is the fault that is meant
        await asyncio.sleep(0)


async def _hold() -> None:
    """Never lets the event loop go on."""
    while True:
        sum(range(100))


async def _hold_and_catch() -> None:
    caught = 0
    while True:
        try:
            sum(range(100))
        except Exception:  # noqa: BLE001 - as handlers do; what is raised to end it is no Exception
            caught += 1


def _loop() -> None:
    while True:
        sum(range(100))


def _naps() -> None:
    while True:
        time.sleep(0.01)


HANDLERS: dict[str, Callable[..., Any]] = {
    "async": _sleep,
    "async that goes on once": _sleep_on,
    "async that returns": _return,
    "async that turns": _turn,
    "async that holds the loop": _hold,
    "async that holds the loop and catches": _hold_and_catch,
    "plain loop": _loop,
    "plain with naps": _naps,
}


@pytest.mark.parametrize("name", HANDLERS)
async def test_an_attempt_ends_with_its_time(place: JobPlace, name: str) -> None:
    registry = JobRegistry()
    attempts: list[int] = []
    handler = HANDLERS[name]
    if asyncio.iscoroutinefunction(handler):

        async def endless(ctx: JobContext) -> Any:
            attempts.append(ctx.attempt)
            return await handler()
    else:

        def endless(ctx: JobContext) -> Any:
            attempts.append(ctx.attempt)
            return handler()

    registry.register("endless", endless, timeout=0.1, max_attempts=2, retry_delay=0.0)

    @registry.task("work")
    async def work() -> str:
        return "done"

    async with place.working(registry, worker_concurrency=1) as jobs:
        view = await ran(jobs, "endless")
        assert (view.status, view.attempt, view.result) == ("dead", 2, None)
        assert view.error is not None
        assert "TimeoutError: the attempt took longer than its timeout of 0.1 seconds." in view.error
        # The only place there is works on.
        assert (await ran(jobs, "work")).result == "done"
    assert attempts == [1, 2]


async def test_a_handler_that_takes_no_notice_of_its_end_keeps_no_place(
    place: JobPlace, released: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    registry = JobRegistry()
    ended: list[str] = []

    @registry.task("stubborn", timeout=0.05, max_attempts=1)
    async def stubborn(ctx: JobContext) -> str:
        while not released.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
        ended.append(ctx.job_id)
        return "too late"

    @registry.task("work")
    async def work() -> str:
        return "done"

    async with place.working(registry, worker_concurrency=1) as jobs:
        view = await ran(jobs, "stubborn")
        assert view.status == "dead"
        assert ended == []
        assert (await ran(jobs, "work")).result == "done"
        released.set()

        async def has_ended() -> bool:
            return bool(ended)

        await until(has_ended)
        kept = await jobs.get(view.id)
        assert kept is not None
        assert (kept.status, kept.result) == ("dead", None)
    assert [record.message for record in caplog.records].count("job_handler_left") == 1


async def test_a_plain_handler_that_waits_in_c_keeps_no_place(
    place: JobPlace, released: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    registry = JobRegistry()

    @registry.task("stuck", timeout=0.05, max_attempts=1)
    def stuck() -> None:
        # A lock is waited for in C code, where no exception reaches it.
        released.wait(30)

    @registry.task("work")
    def work() -> str:
        return "done"

    async with place.working(registry, worker_concurrency=1) as jobs:
        views = [await ran(jobs, "stuck") for _ in range(3)]
        assert [view.status for view in views] == ["dead"] * 3
        assert (await ran(jobs, "work")).result == "done"
    assert [record.message for record in caplog.records].count("job_thread_left") == 3


async def test_a_handler_may_clean_up_when_its_time_is_over(place: JobPlace) -> None:
    registry = JobRegistry()
    cleaned: list[str] = []

    @registry.task("async", timeout=0.05, max_attempts=1)
    async def asynchronous() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            cleaned.append("async")

    @registry.task("plain", timeout=0.05, max_attempts=1)
    def plain() -> None:
        try:
            _naps()
        finally:
            cleaned.append("plain")

    async with place.working(registry) as jobs:
        views = [await ran(jobs, name) for name in ("async", "plain")]
    assert [view.status for view in views] == ["dead", "dead"]
    assert cleaned == ["async", "plain"]


async def test_a_handler_that_fails_while_its_time_is_over_says_why(place: JobPlace) -> None:
    registry = JobRegistry()

    @registry.task("fail", timeout=0.05, max_attempts=1)
    async def fail() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("while cleaning up")

    async with place.working(registry) as jobs:
        view = await ran(jobs, "fail")
    assert view.status == "dead"
    assert view.error is not None
    assert "ValueError: while cleaning up" in view.error


async def test_the_time_asked_for_with_a_job_counts_before_that_of_its_task(place: JobPlace) -> None:
    registry = JobRegistry()

    @registry.task("nap", timeout=0.05, max_attempts=1)
    async def nap() -> str:
        await asyncio.sleep(0.15)
        return "slept well"

    async with place.working(registry) as jobs:
        short, long = await asyncio.gather(ran(jobs, "nap"), ran(jobs, "nap", timeout=30))
    assert (short.status, long.status, long.result) == ("dead", "completed", "slept well")


async def test_a_timeout_that_the_handler_sets_itself_is_its_own(place: JobPlace) -> None:
    registry = JobRegistry()

    @registry.task("fetch", timeout=30, max_attempts=1)
    async def fetch() -> str:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await asyncio.sleep(60)
        return "went on"

    async with place.working(registry) as jobs:
        view = await ran(jobs, "fetch")
    assert (view.status, view.result) == ("completed", "went on")


async def test_a_loop_that_stands_still_ends_no_job_whose_time_is_not_over(place: JobPlace) -> None:
    registry = JobRegistry()
    began = asyncio.Event()

    @registry.task("hold", timeout=30)
    async def hold() -> str:
        await began.wait()
        time.sleep(0.5)  # noqa: ASYNC251 - it holds the loop on purpose
        return "held"

    @registry.task("wait", timeout=0.3, max_attempts=1)
    async def wait() -> str:
        began.set()
        await asyncio.sleep(0.05)
        return "waited"

    async with place.working(registry) as jobs:
        held = await jobs.enqueue("hold")
        await jobs.enqueue("wait", job_id="other")
        views = [await finished(jobs, held.job_id), await finished(jobs, "other")]
    # The other one was due before the loop went on; which of its two ends it saw first, nobody can say.
    assert (views[0].status, views[0].result) == ("completed", "held")
    assert views[1].status in ("completed", "dead")


async def test_requests_are_answered_while_a_plain_handler_never_ends(
    place: JobPlace, released: threading.Event
) -> None:
    registry = JobRegistry()

    @registry.task("loop", timeout=20)
    def loop() -> None:
        while not released.is_set():
            sum(range(100))

    async with place.service(registry, jobs="worker") as client:
        made = await get_job_client().enqueue("loop")
        assert (await client.get("/readyz")).status_code == 200
        released.set()
        assert (await finished(get_job_client(), made.job_id)).status == "completed"
