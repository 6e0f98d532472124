"""Ends of attempts wait while their queue is away; one that cannot be written takes no other with it."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from app_kernel.core.errors import Unavailable
from app_kernel.jobs.queues.settling import MOST_AT_ONCE, Settler
from app_kernel.jobs.records import Outcome
from tests.jobs.waiting import until


def outcome(id: str) -> Outcome:
    return Outcome(id=id, token="t", queue="default", status="completed")


class Settled:
    """What a settler asks of a backend, and nothing more."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.kept: list[str] = []
        self.lost: set[str] = set()
        self.unwritable: set[str] = set()
        self.away = 0
        self.gate: asyncio.Event | None = None

    async def settle(self, outcomes: Sequence[Outcome]) -> set[str]:
        ids = [each.id for each in outcomes]
        self.batches.append(ids)
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            self.away -= 1
            raise Unavailable("away")
        if found := self.unwritable.intersection(ids):
            raise ValueError(f"{found} cannot be written")
        self.kept += ids
        return set(ids) - self.lost


@pytest.fixture
def backend() -> Settled:
    return Settled()


@pytest.fixture
async def settler(backend: Any) -> Any:
    made = Settler(backend)
    yield made
    await made.stop(5)


async def test_an_end_is_settled_and_it_is_told_whether_it_counted(backend: Settled, settler: Settler) -> None:
    backend.lost = {"b"}
    assert await settler.settle(outcome("a"))
    assert not await settler.settle(outcome("b"))
    assert backend.batches == [["a"], ["b"]]


async def test_ends_of_one_moment_travel_together(backend: Settled, settler: Settler) -> None:
    ids = [f"{n:03}" for n in range(300)]
    answers = await asyncio.gather(*(settler.settle(outcome(id)) for id in ids))
    assert answers == [True] * 300
    assert backend.kept == ids
    assert len(backend.batches) == 3
    assert max(map(len, backend.batches)) == MOST_AT_ONCE


async def test_ends_that_come_meanwhile_travel_with_the_next_ones(backend: Settled, settler: Settler) -> None:
    backend.gate = asyncio.Event()
    tasks = [asyncio.create_task(settler.settle(outcome("a")))]
    await until(lambda: _truth(bool(backend.batches)))
    tasks += [asyncio.create_task(settler.settle(outcome(id))) for id in "bcd"]
    await asyncio.sleep(0)
    backend.gate.set()
    assert await asyncio.gather(*tasks) == [True] * 4
    assert backend.batches == [["a"], ["b", "c", "d"]]


async def test_an_end_waits_while_the_queue_is_away_and_that_is_said_once(
    backend: Settled, settler: Settler, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app_kernel.jobs.queues.settling.LONGEST_PAUSE", 0.01)
    backend.away = 12
    with caplog.at_level(logging.INFO, "app_kernel.jobs"):
        assert await settler.settle(outcome("a"))
    assert backend.batches == [["a"]] * 13
    assert [record.message for record in caplog.records] == ["job_settle_waits"]


async def test_a_queue_that_is_away_is_not_asked_without_a_pause(backend: Settled, settler: Settler) -> None:
    backend.away = 10**9
    settling = asyncio.create_task(settler.settle(outcome("a")))
    await asyncio.sleep(1)
    assert 2 <= len(backend.batches) <= 6
    assert not settling.done()
    backend.away = 0
    assert await settling


async def test_one_end_that_cannot_be_written_does_not_spoil_its_batch(
    backend: Settled, settler: Settler, caplog: pytest.LogCaptureFixture
) -> None:
    backend.unwritable = {"bad"}
    with caplog.at_level(logging.INFO, "app_kernel.jobs"):
        answers = await asyncio.gather(*(settler.settle(outcome(id)) for id in ("a", "bad", "b", "c")))
    assert answers == [True, False, True, True]
    assert backend.kept == ["a", "b", "c"]
    assert [record.message for record in caplog.records] == ["job_settle_failed"]
    assert caplog.records[0].__dict__["jobs"] == ["bad"]
    assert await settler.settle(outcome("later"))


async def test_an_end_stands_although_who_waits_for_it_is_cancelled(backend: Settled, settler: Settler) -> None:
    backend.gate = asyncio.Event()
    waiting = [asyncio.create_task(settler.settle(outcome(id))) for id in "ab"]
    await until(lambda: _truth(bool(backend.batches)))
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert all(task.cancelled() for task in waiting)
    backend.gate.set()
    await settler.stop(5)
    assert sorted(backend.kept) == ["a", "b"]


async def test_who_stops_waits_for_what_is_under_way(backend: Settled, settler: Settler) -> None:
    backend.away = 2
    settling = asyncio.create_task(settler.settle(outcome("a")))
    await asyncio.sleep(0)
    await settler.stop(5)
    assert await settling
    assert backend.kept == ["a"]


async def test_who_stops_gives_up_on_a_queue_that_stays_away(backend: Settled, settler: Settler) -> None:
    backend.away = 10**9
    settling = [asyncio.create_task(settler.settle(outcome(id))) for id in "ab"]
    await until(lambda: _truth(bool(backend.batches)))
    settling.append(asyncio.create_task(settler.settle(outcome("c"))))
    await asyncio.sleep(0)
    async with asyncio.timeout(2):
        await settler.stop(0.05)
        done, _ = await asyncio.wait(settling)
    assert len(done) == 3
    assert not any(task.result() for task in done if not task.cancelled())


async def _truth(answer: bool) -> bool:
    return answer
