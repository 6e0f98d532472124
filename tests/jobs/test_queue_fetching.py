"""Who claims waits for its queue patiently and says so once; what was claimed and is not wanted is given back."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from app_kernel.core.errors import Unavailable
from app_kernel.jobs.queues.fetching import MOST_AT_ONCE, Fetcher
from app_kernel.jobs.records import Claims, JobRow
from tests.jobs.waiting import until


def row(id: str) -> JobRow:
    return JobRow(id, "default", "work", "running", 0, 0.0, "{}", None, None, None, 1, 3, 0.0)


class Claimed:
    """What a fetcher asks of a backend, and nothing more."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.error: Exception | None = None
        self.limits: list[int] = []
        self.wake: Callable[[], object] = lambda: None
        self.next_due: float | None = None
        self.gate: asyncio.Event | None = None
        self.is_listened_to = False

    def put(self, *ids: str) -> None:
        self.jobs += ids
        self.wake()

    async def claim(self, queue: str, limit: int, worker: str) -> Claims:
        self.limits.append(limit)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        taken, self.jobs = self.jobs[:limit], self.jobs[limit:]
        if self.gate is not None:
            await self.gate.wait()
        return Claims([row(id) for id in taken], self.next_due)

    def on_wake(self, queue: str, callback: Callable[[], object]) -> Callable[[], None]:
        self.wake, self.is_listened_to = callback, True

        def end() -> None:
            self.is_listened_to = False

        return end


@pytest.fixture
def backend() -> Claimed:
    return Claimed()


@pytest.fixture
def given_back() -> list[str]:
    return []


@pytest.fixture
async def fetcher(backend: Any, given_back: list[str]) -> Any:
    async def give_back(id: str) -> None:
        given_back.append(id)

    made = Fetcher(backend, "default", lambda row: row.id, give_back)
    yield made
    await made.stop()


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "app_kernel.jobs"]


async def test_those_who_wait_get_jobs_in_their_order(backend: Claimed, fetcher: Fetcher[str]) -> None:
    waiting = [asyncio.create_task(fetcher.next()) for _ in range(3)]
    await until(lambda: _truth(backend.is_listened_to and bool(backend.limits)))
    backend.put("a", "b", "c")
    assert await asyncio.gather(*waiting) == ["a", "b", "c"]


async def test_as_many_are_claimed_as_there_are_free_places(backend: Claimed, fetcher: Fetcher[str]) -> None:
    backend.jobs = [f"j{n}" for n in range(10)]
    got = await asyncio.gather(*(fetcher.next() for _ in range(4)))
    assert got == ["j0", "j1", "j2", "j3"]
    await asyncio.sleep(0.05)
    assert backend.limits == [4]
    assert await fetcher.next() == "j4"
    assert backend.limits == [4, 1]


async def test_a_crowd_claims_in_parts(backend: Claimed, fetcher: Fetcher[str]) -> None:
    backend.jobs = [f"j{n:03}" for n in range(250)]
    got = await asyncio.gather(*(fetcher.next() for _ in range(250)))
    assert got == [f"j{n:03}" for n in range(250)]
    assert backend.limits == [MOST_AT_ONCE, MOST_AT_ONCE, 50]


async def test_nobody_claims_while_nobody_is_free(backend: Claimed, fetcher: Fetcher[str]) -> None:
    backend.jobs = ["a", "b"]
    assert await fetcher.next() == "a"
    for _ in range(50):
        backend.wake()
        await asyncio.sleep(0)
    assert backend.limits == [1]


async def test_an_empty_queue_is_looked_at_now_and_then(backend: Claimed, fetcher: Fetcher[str]) -> None:
    waiting = asyncio.create_task(fetcher.next())
    await asyncio.sleep(0.3)
    assert len(backend.limits) == 1
    backend.put("a")
    assert await waiting == "a"
    assert len(backend.limits) == 2


async def test_a_lost_signal_delays_a_job_by_a_second_at_most(
    backend: Claimed, fetcher: Fetcher[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app_kernel.jobs.queues.fetching.POLL_SECONDS", 0.05)
    waiting = asyncio.create_task(fetcher.next())
    await until(lambda: _truth(bool(backend.limits)))
    backend.jobs.append("a")
    async with asyncio.timeout(2):
        assert await waiting == "a"


async def test_the_next_look_is_when_a_job_becomes_due(backend: Claimed, fetcher: Fetcher[str]) -> None:
    backend.next_due = 0.1
    waiting = asyncio.create_task(fetcher.next())
    await until(lambda: _truth(bool(backend.limits)))
    backend.jobs.append("a")
    async with asyncio.timeout(0.9):
        assert await waiting == "a"


@pytest.mark.parametrize("error", [Unavailable("away"), ValueError("a bug")], ids=["away", "bug"])
async def test_a_queue_that_is_away_is_asked_a_few_times_and_that_is_said_once(
    backend: Claimed, fetcher: Fetcher[str], caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    backend.error = error
    with caplog.at_level(logging.INFO, "app_kernel.jobs"):
        waiting = asyncio.create_task(fetcher.next())
        for _ in range(100):
            await asyncio.sleep(0.01)
            backend.wake()
        assert 2 <= len(backend.limits) <= 6
        assert messages(caplog) == ["job_queue_away"]
        # Only what is no outage needs its traceback, and somebody who looks at it.
        assert (caplog.records[0].exc_info is None) == isinstance(error, Unavailable)
        assert bool(fetcher.trouble) == isinstance(error, ValueError)
        backend.error = None
        backend.put("a")
        assert await waiting == "a"
    assert messages(caplog) == ["job_queue_away", "job_queue_back"]
    assert fetcher.trouble == ""


async def test_the_second_outage_is_said_again(
    backend: Claimed, fetcher: Fetcher[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app_kernel.jobs.queues.fetching.FIRST_PAUSE", 0.001)
    with caplog.at_level(logging.INFO, "app_kernel.jobs"):
        for id in ("a", "b"):
            backend.error = Unavailable("away")
            waiting = asyncio.create_task(fetcher.next())
            asked = len(backend.limits)
            await until(lambda asked=asked: _truth(len(backend.limits) > asked + 3))
            backend.error = None
            backend.put(id)
            assert await waiting == id
    assert messages(caplog) == ["job_queue_away", "job_queue_back"] * 2


async def test_who_stops_waits_neither_for_the_pause_nor_for_a_job(backend: Claimed, fetcher: Fetcher[str]) -> None:
    waiting = [asyncio.create_task(fetcher.next()) for _ in range(3)]
    await until(lambda: _truth(bool(backend.limits)))
    async with asyncio.timeout(0.5):
        await fetcher.stop()
        assert await asyncio.gather(*waiting) == [None] * 3
        assert await fetcher.next() is None
    assert not backend.is_listened_to


async def test_who_stops_while_the_queue_is_away_does_not_wait_for_it(
    backend: Claimed, fetcher: Fetcher[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app_kernel.jobs.queues.fetching.FIRST_PAUSE", 60.0)
    monkeypatch.setattr("app_kernel.jobs.queues.fetching.LONGEST_PAUSE", 60.0)
    backend.error = Unavailable("away")
    waiting = asyncio.create_task(fetcher.next())
    await until(lambda: _truth(bool(backend.limits)))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(0.5):
        await fetcher.stop()
        assert await waiting is None


async def test_a_job_that_comes_while_nobody_wants_it_any_more_is_given_back(
    backend: Claimed, fetcher: Fetcher[str], given_back: Sequence[str]
) -> None:
    backend.gate = asyncio.Event()
    backend.jobs = ["a", "b"]
    first, second = (asyncio.create_task(fetcher.next()) for _ in range(2))
    await until(lambda: _truth(not backend.jobs))
    first.cancel()
    await asyncio.wait([first])
    backend.gate.set()
    assert await second == "a"
    await fetcher.stop()
    assert given_back == ["b"]


async def test_a_job_that_was_handed_out_to_who_is_cancelled_then_is_given_back(
    backend: Claimed, fetcher: Fetcher[str], given_back: Sequence[str]
) -> None:
    waiting = asyncio.create_task(fetcher.next())
    await until(lambda: _truth(bool(backend.limits)))
    backend.put("a")
    while fetcher._waiting:  # noqa: ASYNC110 - until it is handed out, and not longer
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    await fetcher.stop()
    assert given_back == ["a"]


async def test_who_stops_gives_back_what_is_being_claimed(
    backend: Claimed, fetcher: Fetcher[str], given_back: Sequence[str]
) -> None:
    backend.gate = asyncio.Event()
    backend.jobs = ["a"]
    waiting = asyncio.create_task(fetcher.next())
    await until(lambda: _truth(not backend.jobs))
    stopping = asyncio.create_task(fetcher.stop())
    await asyncio.sleep(0)
    backend.gate.set()
    await stopping
    assert await waiting is None
    assert given_back == ["a"]


async def _truth(answer: bool) -> bool:
    return answer
