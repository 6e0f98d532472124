"""What waits is cancelled at once, what runs is asked to end; what is dead or cancelled may be run again by hand."""

import asyncio
from typing import Any

import pytest

from app_kernel.core.clock import frozen
from app_kernel.core.errors import JobConflict
from app_kernel.jobs.queues.backend import Backend
from tests.jobs.making import NOON, claim, claim_ids, end, enqueue, new, standing, started
from tests.jobs.places import JobPlace

pytestmark = pytest.mark.acceptance("JB10")


@pytest.mark.parametrize("waiting", [{}, {"delay": 60.0}, {"due": 1.0}], ids=["queued", "scheduled", "due"])
async def test_a_waiting_job_is_cancelled_at_once(backend: Backend, waiting: Any) -> None:
    with frozen(NOON) as clock:
        await enqueue(backend, "a", **waiting)
        assert await backend.cancel("a") == "cancelled"
        row = await standing(backend, "a")
        assert (row.status, row.finished_at, row.attempts) == ("cancelled", NOON.timestamp(), 0)
        clock.advance(120)
        assert await claim_ids(backend) == []
        assert (await backend.figures()).counts == {}


async def test_a_job_that_waits_for_its_next_attempt_is_cancelled_at_once(backend: Backend) -> None:
    with frozen(NOON) as clock:
        row = await started(backend, "a")
        await backend.settle([end(row, "scheduled", delay=60.0, error="it broke")])
        assert await backend.cancel("a") == "cancelled"
        clock.advance(120)
        assert await claim_ids(backend) == []


async def test_a_running_job_is_asked_to_end_and_goes_on(backend: Backend) -> None:
    row = await started(backend, "a")
    assert await backend.cancel("a") == "running"
    kept = await standing(backend, "a")
    assert (kept.status, kept.cancel, kept.token) == ("running", True, row.token)
    assert await backend.settle([end(row)]) == {"a"}
    kept = await standing(backend, "a")
    assert (kept.status, kept.cancel) == ("completed", False)


@pytest.mark.parametrize("status", ["completed", "dead", "cancelled"])
async def test_a_finished_job_stays_as_it_is(backend: Backend, status: Any) -> None:
    row = await started(backend, "a")
    await backend.settle([end(row, status)])
    before = await standing(backend, "a")
    assert await backend.cancel("a") == status
    assert await standing(backend, "a") == before


async def test_nobodys_job_is_neither_cancelled_nor_retried(backend: Backend) -> None:
    assert await backend.cancel("nobody") is None
    assert await backend.retry("nobody") is None


async def test_the_others_still_run_when_one_is_cancelled(backend: Backend) -> None:
    await backend.enqueue([new(id) for id in "abc"])
    await backend.cancel("b")
    assert await claim_ids(backend) == ["a", "c"]


async def test_a_job_is_either_cancelled_or_claimed(place: JobPlace, backend: Backend) -> None:
    ids = [f"j{n}" for n in range(40)]
    await backend.enqueue([new(id) for id in ids])
    async with place.backend() as other:

        async def work() -> list[str]:
            taken: list[str] = []
            for _ in range(20):
                taken += await claim_ids(other, 2)
            return taken

        taken, *answers = await asyncio.gather(work(), *(backend.cancel(id) for id in reversed(ids)))
    told = dict(zip(reversed(ids), answers, strict=True))
    for id in ids:
        row = await standing(backend, id)
        assert row.status == ("running" if id in taken else "cancelled") == told[id]
        assert row.cancel == (id in taken)


@pytest.mark.parametrize("status", ["dead", "cancelled"])
async def test_a_dead_or_cancelled_job_is_retried_with_all_its_attempts(backend: Backend, status: Any) -> None:
    with frozen(NOON) as clock:
        row = await started(backend, "a", queue="q", rank=-3, body='{"payload":7}', user_id="ada")
        await backend.report("a", row.token or "", 0.4, "so far")
        await backend.settle([end(row, status, error="it broke")])
        clock.advance(10)
        assert await backend.retry("a") == "queued"
        kept = await standing(backend, "a")
        assert (kept.status, kept.attempts, kept.finished_at, kept.progress) == ("queued", 0, None, 0.0)
        assert (kept.due, kept.rank, kept.enqueued_at) == (NOON.timestamp() + 10, -3, NOON.timestamp())
        assert kept.error == "it broke"
        assert (await backend.figures()).counts == {("q", "queued"): 1}
        (again,) = await claim(backend, queue="q")
    assert (again.attempts, again.body, again.user_id) == (1, '{"payload":7}', "ada")
    assert await backend.settle([end(again)]) == {"a"}


async def test_a_job_cancelled_before_it_began_is_retried(backend: Backend) -> None:
    await enqueue(backend, "a", delay=3600.0)
    await backend.cancel("a")
    assert await backend.retry("a") == "queued"
    assert await claim_ids(backend) == ["a"]


@pytest.mark.parametrize("status", ["scheduled", "queued", "running", "completed"])
async def test_no_other_job_is_retried(backend: Backend, status: Any) -> None:
    if status in ("scheduled", "queued"):
        await enqueue(backend, "a", delay=60.0 if status == "scheduled" else 0.0)
    else:
        row = await started(backend, "a")
        if status == "completed":
            await backend.settle([end(row)])
    before = await standing(backend, "a")
    assert await backend.retry("a") is None
    assert await standing(backend, "a") == before


async def test_a_retried_job_is_not_forgotten_at_the_time_it_would_have_been(backend: Backend) -> None:
    with frozen(NOON) as clock:
        row = await started(backend, "a")
        await backend.settle([end(row, "dead", ttl=60.0)])
        await backend.retry("a")
        clock.advance(3600)
        assert await backend.prune() == 0
        assert await claim_ids(backend) == ["a"]


@pytest.mark.acceptance("JB8")
async def test_a_job_whose_unique_key_is_taken_cannot_be_retried_until_it_is_free(backend: Backend) -> None:
    row = await started(backend, "a", unique_key="k")
    await backend.settle([end(row, "dead")])
    other = await started(backend, "b", unique_key="k")
    with pytest.raises(JobConflict):
        await backend.retry("a")
    assert (await standing(backend, "a")).status == "dead"
    await backend.settle([end(other)])
    assert await backend.retry("a") == "queued"
    assert (await enqueue(backend, "c", unique_key="k")).id == "a"


async def test_a_retried_job_gives_its_unique_key_back_when_it_ends(backend: Backend) -> None:
    row = await started(backend, "a", unique_key="k")
    await backend.settle([end(row, "dead")])
    await backend.retry("a")
    (again,) = await claim(backend)
    await backend.settle([end(again)])
    assert (await enqueue(backend, "b", unique_key="k")).is_new


async def test_a_job_retried_many_times_at_once_is_queued_once(place: JobPlace, backend: Backend) -> None:
    row = await started(backend, "a")
    await backend.settle([end(row, "dead")])
    async with place.backend() as other:
        answers = await asyncio.gather(*((backend, other)[n % 2].retry("a") for n in range(20)))
    assert sorted(map(str, answers)) == ["None"] * 19 + ["queued"]
    assert await claim_ids(backend) == ["a"]
