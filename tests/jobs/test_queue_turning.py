"""A busy worker ends attempts and begins the next ones by one step; no place ever holds two, and nothing is left."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from app_kernel.core.errors import Unavailable
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.queues.fetching import Fetcher
from app_kernel.jobs.queues.settling import Settler
from app_kernel.jobs.records import Claims, JobRow, NewJob, Outcome
from tests.jobs.places import JobPlace
from tests.jobs.waiting import until


def row(id: str) -> JobRow:
    return JobRow(id, "default", "work", "running", 0, 0.0, "{}", None, None, None, 1, 3, 0.0, token="t")


def ended(id: str, token: str | None = "t", **given: Any) -> Outcome:
    return Outcome(id=id, token=token or "", **{"queue": "default", "status": "completed", **given})


def job(id: str, **given: Any) -> NewJob:
    return NewJob(id=id, task="work", body="{}", **{"queue": "default", "max_attempts": 3, **given})


class Kept:
    """What fetchers and settlers ask of a backend; it says who holds what."""

    def __init__(self, *waiting: str) -> None:
        self.jobs = list(waiting)
        self.held: set[str] = set()
        self.most_held = 0
        self.steps: list[str] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def claim(self, queue: str, limit: int, worker: str) -> Claims:
        self.steps.append(f"claim {limit}")
        await asyncio.sleep(0)
        return self._claim(limit)

    async def settle(self, outcomes: Sequence[Outcome]) -> set[str]:
        self.steps.append(f"settle {len(outcomes)}")
        await asyncio.sleep(0)
        return self._settle(outcomes)

    async def turn(self, outcomes: Sequence[Outcome], queue: str, limit: int, worker: str) -> tuple[set[str], Claims]:
        self.steps.append(f"turn {len(outcomes)}")
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self._settle(outcomes), self._claim(limit)

    def on_wake(self, queue: str, callback: Callable[[], object]) -> Callable[[], None]:
        return lambda: None

    def _claim(self, limit: int) -> Claims:
        taken, self.jobs = self.jobs[:limit], self.jobs[limit:]
        self.held.update(taken)
        self.most_held = max(self.most_held, len(self.held))
        return Claims([row(id) for id in taken])

    def _settle(self, outcomes: Sequence[Outcome]) -> set[str]:
        ids = {each.id for each in outcomes}
        self.held -= ids
        return ids


class Worker:
    """Places over a Kept, as a worker process has them."""

    def __init__(self, backend: Any) -> None:
        self.ran: list[str] = []
        self.given_back: list[str] = []
        self.settler = Settler(backend)
        self.fetcher: Fetcher[str] = Fetcher(backend, "default", lambda row: row.id, self.give_back)

    async def give_back(self, id: str) -> None:
        self.given_back.append(id)
        await self.settler.settle(ended(id, status="queued"))

    async def place(self) -> None:
        """One job after another until stopped."""
        while (id := await self.fetcher.next()) is not None:
            self.ran.append(id)
            assert await self.settler.settle(ended(id), self.fetcher)

    async def stop(self) -> None:
        await self.fetcher.stop()
        await self.settler.stop(5)


async def test_a_backlog_is_worked_off_in_steps_that_end_and_begin() -> None:
    ids = [str(number) for number in range(25)]
    backend = Kept(*ids)
    worker = Worker(backend)
    places = [asyncio.create_task(worker.place()) for _ in range(5)]
    await until(lambda: asyncio.sleep(0, len(worker.ran) == 25 and not backend.held))
    await worker.stop()
    await asyncio.gather(*places)
    assert sorted(worker.ran) == sorted(ids)
    assert backend.most_held == 5, "no more than there are places"
    assert backend.steps[:6] == ["claim 5", *["turn 5"] * 5]
    assert worker.given_back == []


async def test_where_nothing_more_waits_an_end_is_only_an_end() -> None:
    backend = Kept("a")
    worker = Worker(backend)
    places = [asyncio.create_task(worker.place()) for _ in range(2)]
    await until(lambda: asyncio.sleep(0, worker.ran == ["a"] and not backend.held))
    assert backend.steps[:2] == ["claim 2", "settle 1"]
    await worker.stop()
    await asyncio.gather(*places)


async def test_a_turn_that_fails_is_an_end_that_waits() -> None:
    backend = Kept("a", "b")
    worker = Worker(backend)
    backend.error = Unavailable("away")
    place = asyncio.create_task(worker.place())
    await until(lambda: asyncio.sleep(0, worker.ran == ["a", "b"] and not backend.held))
    assert backend.steps[:3] == ["claim 1", "turn 1", "settle 1"]
    await worker.stop()
    await place


async def test_what_a_turn_brings_after_the_stop_is_given_back() -> None:
    backend = Kept("a", "b")
    worker = Worker(backend)
    backend.gate = asyncio.Event()
    place = asyncio.create_task(worker.place())
    await until(lambda: asyncio.sleep(0, "turn 1" in backend.steps))
    stopping = asyncio.create_task(worker.fetcher.stop())
    await asyncio.sleep(0.01)
    assert not stopping.done(), "it waits for the step that is under way"
    backend.gate.set()
    await stopping
    await place
    await worker.settler.stop(5)
    assert worker.ran == ["a"]
    assert worker.given_back == ["b"]
    assert backend.held == set()


async def test_what_is_given_back_brings_nothing_new() -> None:
    backend = Kept("a", "b")
    worker = Worker(backend)
    assert await worker.fetcher.next() == "a"
    await worker.give_back("a")
    assert backend.steps == ["claim 1", "settle 1"]
    await worker.stop()


async def test_a_turn_ends_attempts_and_begins_others_in_their_order(backend: Backend) -> None:
    await backend.enqueue([job(f"j{number}") for number in range(6)])
    first = await backend.claim("default", 3, "w")
    outcomes = [
        ended("j0", first.jobs[0].token, result="1"),
        ended("j1", first.jobs[1].token, status="dead", error="it broke"),
        ended("j2", "of somebody else"),
    ]
    accepted, claims = await backend.turn(outcomes, "default", 2, "w")
    assert accepted == {"j0", "j1"}
    assert [each.id for each in claims.jobs] == ["j3", "j4"]
    assert {each.token for each in claims.jobs}.isdisjoint({each.token for each in first.jobs})
    held = {id for id, _, _ in await backend.running()}
    assert held == {"j2", "j3", "j4"}
    done = await backend.get("j0")
    assert done is not None
    assert (done.status, done.result) == ("completed", "1")


async def test_a_turn_may_begin_the_next_attempt_of_what_it_ended(backend: Backend) -> None:
    # Once Redis knows the script; the first time, the ends come after the beginnings.
    await backend.settle([])
    await backend.enqueue([job("a")])
    (first,) = (await backend.claim("default", 1, "w")).jobs
    accepted, claims = await backend.turn([ended("a", first.token, status="queued", error="again")], "default", 1, "w")
    assert accepted == {"a"}
    (again,) = claims.jobs
    assert (again.id, again.attempts) == ("a", 2)
    assert again.token != first.token
    assert await backend.settle([ended("a", first.token)]) == set()
    assert await backend.settle([ended("a", again.token)]) == {"a"}


async def test_a_turn_adds_what_follows_from_the_ends(backend: Backend) -> None:
    # Once Redis knows the script; the first time, the ends come after the beginnings.
    await backend.settle([])
    await backend.enqueue([job("a")])
    (first,) = (await backend.claim("default", 1, "w")).jobs
    outcome = ended("a", first.token, followups=(job("then"),))
    accepted, claims = await backend.turn([outcome], "default", 1, "w")
    assert accepted == {"a"}
    assert [each.id for each in claims.jobs] == ["then"]


async def test_a_turn_that_is_repeated_ends_nothing_twice(backend: Backend) -> None:
    await backend.enqueue([job("a"), job("b"), job("c")])
    (first,) = (await backend.claim("default", 1, "w")).jobs
    outcome = ended("a", first.token)
    assert (await backend.turn([outcome], "default", 1, "w"))[0] == {"a"}
    accepted, claims = await backend.turn([outcome], "default", 1, "w")
    assert accepted == {"a"}
    assert [each.id for each in claims.jobs] == ["c"]


async def test_a_turn_of_a_paused_queue_begins_nothing(backend: Backend) -> None:
    await backend.enqueue([job("a"), job("b")])
    (first,) = (await backend.claim("default", 1, "w")).jobs
    await backend.pause("default", True)
    assert await backend.turn([ended("a", first.token)], "default", 1, "w") == ({"a"}, Claims([], None))


async def test_a_turn_begins_what_has_become_due(backend: Backend) -> None:
    await backend.enqueue([job("a"), job("soon", delay=0.05)])
    (first,) = (await backend.claim("default", 1, "w")).jobs

    async def begun() -> Sequence[JobRow]:
        return (await backend.turn([ended("a", first.token)], "default", 1, "w"))[1].jobs

    assert [each.id for each in await until(begun)] == ["soon"]


@pytest.mark.parametrize("fails", ["_settled_before", "write"])
async def test_what_a_turn_claimed_unheard_is_claimed_again(
    place: JobPlace, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    async with place.backend() as backend:
        await backend.enqueue([job("a"), job("b")])
        (first,) = (await backend.claim("default", 1, "w")).jobs
        real = type(backend).turn
        _lose_the_answer(backend, monkeypatch, fails)
        with pytest.raises(Unavailable):
            await real(backend, [ended("a", first.token)], "default", 1, "w")
        monkeypatch.undo()
        assert await backend.settle([ended("a", first.token)]) == {"a"}
        (again,) = (await backend.claim("default", 1, "w")).jobs
        assert (again.id, again.attempts) == ("b", 1)


def _lose_the_answer(backend: Any, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    """Carries out the next step, and says that nobody knows whether it was."""
    name = "_run_all" if hasattr(backend, "_run_all") else fails
    owner = backend._db if name == "write" else backend
    carry_out = getattr(owner, name)

    async def lose(*given: Any, **named: Any) -> Any:
        await carry_out(*given, **named)
        raise Unavailable("the answer was lost")

    monkeypatch.setattr(owner, name, lose)
