"""Jobs whose worker is gone are found by their beats and run again; nothing else makes a job look lost."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from app_kernel.core.clock import frozen
from app_kernel.core.errors import Unavailable
from app_kernel.core.events import JobFinished
from app_kernel.core.jobs import Task
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.queues.settling import Settler
from app_kernel.jobs.records import Body, Followup, JobRow
from app_kernel.jobs.upkeep import LOOKS, LOOKS_FOR_OTHERS, LOST, Upkeep
from tests.jobs.making import NOON, claim, claim_ids, end, enqueue, new, standing, started
from tests.jobs.places import JobPlace
from tests.jobs.waiting import until

AFTER = {"after": Task(handler=print, queue="other")}
TASKS = {"work": Task(handler=print, max_attempts=3), **AFTER}


class Looker:
    """The upkeep of a worker process in which only given jobs run, or none."""

    def __init__(self, backend: Backend, *held: JobRow, tasks: Mapping[str, Task] = TASKS) -> None:
        jobs = {row.id: SimpleNamespace(key=row.id, row=row, outcome="", cancelling=False) for row in held}
        self.jobs: Any = jobs
        worker: Any = SimpleNamespace(kernel_queue=SimpleNamespace(held=jobs))
        self.told: list[JobFinished] = []
        self.upkeep = Upkeep(backend, {"default": worker}, dict(tasks), self._emit, Settler(backend))

    async def _emit(self, event: JobFinished) -> None:
        self.told.append(event)

    async def look(self, times: int = LOOKS + 1) -> None:
        for _ in range(times):
            await self.upkeep._search()


@pytest.mark.acceptance("JB1")
async def test_a_job_whose_beats_stand_still_is_queued_again(
    place: JobPlace, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    row = await started(backend, "a")
    async with place.backend() as other:
        looker = Looker(other)
        await looker.look(LOOKS)
        assert await standing(backend, "a") == row
        with caplog.at_level(logging.WARNING, "app_kernel.jobs"):
            await looker.look(1)
    kept = await standing(backend, "a")
    assert (kept.status, kept.error, kept.attempts) == ("queued", LOST, 1)
    assert [record.message for record in caplog.records if record.message == "job_rescued"] == ["job_rescued"]
    (again,) = await claim(backend)
    assert again.attempts == 2
    assert looker.told == []


@pytest.mark.acceptance("JB1")
async def test_all_jobs_of_a_worker_that_is_gone_are_rescued_in_one_look(backend: Backend) -> None:
    await backend.enqueue([new() for _ in range(25)])
    assert len(await claim(backend)) == 25
    await Looker(backend).look()
    assert (await backend.figures()).counts == {("default", "queued"): 25}


async def test_one_beat_begins_the_count_anew(backend: Backend) -> None:
    row = await started(backend, "a")
    looker = Looker(backend)
    for _ in range(3):
        await looker.look(LOOKS)
        await backend.beat([("a", row.token or "")])
    assert await standing(backend, "a") == row
    await looker.look(LOOKS)
    assert await standing(backend, "a") == row
    await looker.look(1)
    assert (await standing(backend, "a")).status == "queued"


async def test_the_next_attempt_is_counted_for_itself(backend: Backend) -> None:
    row = await started(backend, "a")
    looker = Looker(backend)
    await looker.look(LOOKS)
    await backend.settle([end(row, "queued")])
    (again,) = await claim(backend)
    await looker.look(LOOKS)
    assert await standing(backend, "a") == again


async def test_jobs_that_run_here_are_never_rescued_here(backend: Backend) -> None:
    await backend.enqueue([new("own"), new("other")])
    rows = {row.id: row for row in await claim(backend)}
    looker = Looker(backend, rows["own"])
    await looker.look(3 * LOOKS)
    assert await standing(backend, "own") == rows["own"]
    assert (await standing(backend, "other")).status == "queued"


async def test_no_clock_has_a_say(backend: Backend) -> None:
    with frozen(NOON) as clock:
        row = await started(backend, "a")
        looker = Looker(backend)
        for _ in range(4):
            clock.advance(86400)
            await looker.look(1)
            await backend.beat([("a", row.token or "")])
        clock.advance(-86400 * 30)
        await looker.look(LOOKS)
        assert await standing(backend, "a") == row


@pytest.mark.acceptance("JB5")
async def test_a_poison_job_is_dead_after_its_attempts_and_its_on_failure_job_follows(backend: Backend) -> None:
    body = Body(payload={"n": 1}, on_failure=Followup("after"), request_id="r-1").text()
    await enqueue(backend, "a", body=body, user_id="ada")
    looker = Looker(backend)
    for attempt in (1, 2, 3):
        (row,) = await claim(backend)
        assert row.attempts == attempt
        await looker.look()
    kept = await standing(backend, "a")
    assert (kept.status, kept.error, kept.attempts) == ("dead", LOST, 3)
    assert [(event.outcome, event.attempt, event.task_name) for event in looker.told] == [("dead", 3, "work")]
    (after,) = await claim(backend, queue="other")
    assert (after.task, after.user_id) == ("after", "ada")
    told = Body.read(after.body)
    assert told is not None
    error = LOST.partition(":")[0]
    assert told.payload == {"job_id": "a", "task_name": "work", "status": "dead", "payload": {"n": 1}, "error": error}
    assert told.request_id == "r-1"


async def test_attempts_asked_for_with_the_job_count_also_for_a_rescue(backend: Backend) -> None:
    await started(backend, "a", body=Body(has_own_attempts=True).text(), max_attempts=1)
    await Looker(backend).look()
    assert (await standing(backend, "a")).status == "dead"


async def test_a_job_that_was_asked_to_end_is_cancelled_when_its_worker_is_gone(backend: Backend) -> None:
    await started(backend, "a", unique_key="k")
    await backend.cancel("a")
    looker = Looker(backend)
    await looker.look()
    assert (await standing(backend, "a")).status == "cancelled"
    assert [event.outcome for event in looker.told] == ["cancelled"]
    assert (await enqueue(backend, "b", unique_key="k")).is_new


async def test_a_job_of_a_task_unknown_here_is_left_longer_to_those_who_know_it(backend: Backend) -> None:
    row = await started(backend, "a", task="stranger")
    looker = Looker(backend)
    await looker.look(LOOKS_FOR_OTHERS)
    assert await standing(backend, "a") == row
    await looker.look(1)
    assert (await standing(backend, "a")).status == "queued"


async def test_two_who_look_rescue_a_job_once(place: JobPlace, backend: Backend) -> None:
    await started(backend, "a", body=Body(has_own_attempts=True, on_failure=Followup("after")).text(), max_attempts=1)
    async with place.backend() as other:
        lookers = Looker(backend), Looker(other)
        for _ in range(LOOKS + 1):
            await asyncio.gather(*(looker.look(1) for looker in lookers))
    assert (await standing(backend, "a")).status == "dead"
    assert len(await claim_ids(backend, queue="other")) == 1


class Failing:
    """A backend whose verbs fail in some of their calls."""

    def __init__(self, backend: Backend, error: Exception, first: int, last: int) -> None:
        self._backend = backend
        self._error = error
        self._first, self._last = first, last
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._backend, name)
        if not asyncio.iscoroutinefunction(verb):
            return verb

        async def called(*given: Any) -> Any:
            self.calls.append(name)
            if self._first <= self.calls.count(name) <= self._last:
                raise self._error
            return await verb(*given)

        return called


@asynccontextmanager
async def looping(loop: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(loop)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("error", [Unavailable("away"), ValueError("a bug")], ids=["away", "bug"])
async def test_an_outage_begins_the_count_anew_and_is_said_once(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr("app_kernel.jobs.upkeep.LOOK_SECONDS", 0.005)
    await started(backend, "a")
    failing: Any = Failing(backend, error, LOOKS, LOOKS + 2)

    async def rescued() -> bool:
        return (await standing(backend, "a")).status == "queued"

    with caplog.at_level(logging.WARNING, "app_kernel.jobs"):
        async with looping(Looker(failing).upkeep._search_always()):
            await until(rescued)
    looks = failing.calls[: failing.calls.index("settle")].count("running")
    assert looks == LOOKS + 2 + LOOKS + 1
    assert [record.message for record in caplog.records].count("job_upkeep_waits") == 1


async def test_beats_go_on_after_an_outage(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app_kernel.jobs.upkeep.BEAT_SECONDS", 0.005)
    row = await started(backend, "a")
    failing: Any = Failing(backend, Unavailable("away"), 3, 6)
    looker = Looker(failing, row)
    looker.jobs["a"].ctx = None

    async def beaten() -> bool:
        return (await backend.running())[0][2] >= 5

    async with looping(looker.upkeep._beat_always()):
        await until(beaten)
    assert failing.calls.count("beat") >= 9
    assert await standing(backend, "a") == row


async def test_what_is_over_is_forgotten_by_the_upkeep(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app_kernel.jobs.upkeep.PRUNE_SECONDS", 0.01)
    row = await started(backend, "a")
    await backend.settle([end(row, ttl=0.0)])

    async def gone() -> bool:
        return await backend.get("a") is None

    async with AsyncExitStack() as stack:
        for loop in Looker(backend).upkeep.loops():
            await stack.enter_async_context(looping(loop))
        assert await until(gone)
