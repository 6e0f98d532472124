"""A job that is to wait is never early, at most two seconds late, and waits also while nobody works."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from app_kernel import JobContext, JobRegistry
from app_kernel.core.clock import frozen
from app_kernel.jobs.queues.backend import Backend
from tests.jobs.making import NOON, claim_ids, end, enqueue, finished, new, standing, started
from tests.jobs.places import JobPlace

pytestmark = pytest.mark.acceptance("JB6")


async def test_a_delayed_job_is_given_to_nobody_before_its_time(backend: Backend) -> None:
    with frozen(NOON) as clock:
        made = await enqueue(backend, "a", delay=5)
        assert made.status == "scheduled"
        assert (await standing(backend, "a")).due == NOON.timestamp() + 5
        clock.advance(4.998)
        assert await claim_ids(backend) == []
        clock.advance(0.002)
        assert await claim_ids(backend) == ["a"]


async def test_a_job_with_an_instant_is_given_to_nobody_before_it(backend: Backend) -> None:
    with frozen(NOON) as clock:
        await enqueue(backend, "a", due=NOON.timestamp() + 0.0004)
        await enqueue(backend, "b", due=NOON.timestamp() + 60)
        assert await claim_ids(backend) == []
        clock.advance(0.001)
        assert await claim_ids(backend) == ["a"]
        clock.advance(59.998)
        assert await claim_ids(backend) == []
        clock.advance(0.001)
        assert await claim_ids(backend) == ["b"]


async def test_an_instant_that_is_over_is_now(backend: Backend) -> None:
    with frozen(NOON):
        await enqueue(backend, "a", due=NOON.timestamp() - 3600)
        await enqueue(backend, "b", due=0.0)
        assert await claim_ids(backend) == ["b", "a"]


async def test_a_claim_says_when_the_next_job_becomes_due(backend: Backend) -> None:
    with frozen(NOON) as clock:
        await backend.enqueue([new("a", delay=90), new("b", delay=30), new("c"), new("d", delay=10, queue="other")])
        claims = await backend.claim("default", 10, "worker")
        assert [row.id for row in claims.jobs] == ["c"]
        assert claims.next_due == pytest.approx(30, abs=0.002)
        clock.advance(29)
        assert (await backend.claim("default", 10, "worker")).next_due == pytest.approx(1, abs=0.002)


async def test_a_job_that_waits_survives_that_everybody_leaves(place: JobPlace) -> None:
    with frozen(NOON) as clock:
        async with place.backend() as before:
            await enqueue(before, "a", delay=3600)
        async with place.backend() as between:
            clock.advance(3599)
            assert await claim_ids(between) == []
            assert (await standing(between, "a")).status == "scheduled"
        clock.advance(1)
        async with place.backend() as after:
            assert await claim_ids(after) == ["a"]


async def test_a_clock_that_jumps_makes_no_job_early_and_loses_none(backend: Backend) -> None:
    with frozen(NOON) as clock:
        await enqueue(backend, "a", delay=60)
        clock.advance(-7200)
        assert await claim_ids(backend) == []
        await enqueue(backend, "b", delay=60)
        clock.advance(60)
        assert await claim_ids(backend) == ["b"]
        clock.advance(86400)
        assert await claim_ids(backend) == ["a"]


async def test_the_wait_before_the_next_attempt_is_kept(backend: Backend) -> None:
    with frozen(NOON) as clock:
        row = await started(backend, "a")
        await backend.settle([end(row, "scheduled", delay=12.5, error="it broke")])
        kept = await standing(backend, "a")
        assert (kept.status, kept.due) == ("scheduled", NOON.timestamp() + 12.5)
        clock.advance(12.499)
        assert await claim_ids(backend) == []
        clock.advance(0.001)
        assert await claim_ids(backend) == ["a"]


class Starts:
    """When jobs began, on the clock of this machine."""

    def __init__(self) -> None:
        self.registry = JobRegistry()
        self.at: dict[str, float] = {}

        @self.registry.task("note")
        async def note(ctx: JobContext) -> None:
            self.at[ctx.job_id] = time.time()

    def check(self, id: str, due: float) -> None:
        """Not before, and at most two seconds after, `due`; Redis and PostgreSQL run on this machine too."""
        assert 0 <= self.at[id] - due <= 2


async def test_a_worker_is_never_early_and_at_most_two_seconds_late(place: JobPlace) -> None:
    starts = Starts()
    delays = [0.4, 0.05, 0.25, 0.15, 0.0]
    async with place.working(starts.registry) as jobs:
        due = {}
        for delay in delays:
            made = await jobs.enqueue("note", delay_seconds=delay)
            due[made.job_id] = time.time() + delay
        at = datetime.now(UTC) + timedelta(seconds=0.2)
        made = await jobs.enqueue("note", run_at=at)
        for id in (*due, made.job_id):
            assert (await finished(jobs, id)).status == "completed"
    starts.check(made.job_id, at.timestamp())
    for id, moment in due.items():
        # The queue counts from when it took the job, which is a little before the answer came.
        assert -0.1 <= starts.at[id] - moment <= 2


async def test_a_worker_hears_of_a_job_that_another_process_schedules(place: JobPlace, backend: Backend) -> None:
    starts = Starts()
    async with place.working(starts.registry) as jobs:
        await jobs.enqueue("note", delay_seconds=3600)
        await asyncio.sleep(0.1)
        due = time.time() + 0.3
        await enqueue(backend, "other", task="note", due=due)
        assert (await finished(jobs, "other")).status == "completed"
    starts.check("other", due)


async def test_a_worker_that_starts_runs_what_became_due_meanwhile(place: JobPlace) -> None:
    starts = Starts()
    async with place.service(starts.registry) as client:
        await client.jobs._jobs.enqueue("note", delay_seconds=0.05, job_id="a")
        due = time.time() + 60
        await client.jobs._jobs.enqueue("note", run_at=datetime.fromtimestamp(due, UTC), job_id="b")
    await asyncio.sleep(0.06)
    async with place.working(starts.registry) as jobs:
        began = time.time()
        await finished(jobs, "a")
        view = await jobs.get("b")
    starts.check("a", began)
    assert view is not None
    assert view.status == "scheduled"
    assert "b" not in starts.at
