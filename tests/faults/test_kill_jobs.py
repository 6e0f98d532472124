"""Workers and Redis are killed while jobs come in and run: none is lost, and none but those in flight runs twice."""

import asyncio
import random
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app_kernel.jobs import upkeep
from tests.faults.figures import SOAK, figure
from tests.faults.job_fleet import HURRY, OWN_BEAT, JobFleet, job_fleet
from tests.faults.job_places import QUEUES, fault_place

JOBS = figure(short=600, long=10_000)
KILLS = figure(short=4, long=20)
RESTARTS = figure(short=1, long=3)
WORKERS, CONCURRENCY = 3, 10
LANES = 8
SECONDS = figure(short=60.0, long=900.0)
BEAT = OWN_BEAT if SOAK else HURRY
RERUN_SECONDS = 15.0


async def enqueue_all(fleet: JobFleet, chance: random.Random) -> None:
    """So many jobs, of 0 to 0.1 s each, spread over about as long as the kills take."""
    numbers = iter(range(JOBS))

    async def lane() -> None:
        for number in numbers:
            await fleet.enqueue(f"job-{number}", seconds=round(chance.uniform(0, 0.1), 3))
            await asyncio.sleep(chance.uniform(0, figure(short=0.1, long=0.06)))

    await asyncio.gather(*(lane() for _ in range(LANES)))


async def strike(fleet: JobFleet, kill: int, chance: random.Random) -> None:
    """Kills a worker, which another one follows, and now and then Redis."""
    fleet.kill(chance.choice(fleet.workers))
    await asyncio.sleep(chance.uniform(0, 0.2))
    fleet.start("--concurrency", str(CONCURRENCY), beat=BEAT)
    if fleet.place.redis is not None and (kill + 1) % (KILLS // (RESTARTS + 1)) == 0 and kill + 1 < KILLS:
        fleet.place.redis.kill()
        await asyncio.sleep(chance.uniform(0.2, 1.0))
        await asyncio.to_thread(fleet.place.redis.start)


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("JB1")
async def test_no_job_is_lost_while_workers_and_redis_are_killed(fleet: JobFleet) -> None:
    """600 jobs, 4 kills and one restart of Redis; in the long run 10,000, 20 and 3, with the kernel's own beats."""
    chance = random.Random(20_261_126)
    for _ in range(WORKERS):
        fleet.start("--concurrency", str(CONCURRENCY), beat=BEAT)
    await fleet.started()
    began = time.monotonic()
    coming = asyncio.create_task(enqueue_all(fleet, chance))
    for kill in range(KILLS):
        goal = JOBS * (kill + 1) // (KILLS + 2)
        await fleet.wait_for(lambda goal=goal: len(fleet.ledger.read().ends) >= goal, "the next kill", SECONDS)
        await strike(fleet, kill, chance)
    async with asyncio.timeout(SECONDS):
        await coming
    await fleet.settled(SECONDS)
    counts = fleet.ledger.assert_all_ran(fleet.killed)
    print(
        f"{fleet.place.name}: {counts.jobs} jobs, {KILLS} kills, {RESTARTS if fleet.place.redis else 0} restarts of"
        f" Redis, 0 lost, {counts.repeats} of those in flight began again ({counts.finished_again} had ended),"
        f" {time.monotonic() - began:.1f} s"
    )
    assert counts.jobs == len(fleet.ledger.acked) == JOBS
    assert counts.repeats <= CONCURRENCY * KILLS


async def rerun_seconds(fleet: JobFleet) -> float:
    """From the kill of the kernel's own worker command to the next start of its job, which may take an hour."""
    first = fleet.start(beat=None)
    await fleet.started(first)
    await fleet.enqueue("long", seconds=[3600, 0], options={"timeout": 3600})
    await fleet.wait_for(lambda: fleet.ledger.read().count("start", "long"), "the job's start")
    other = fleet.start(beat=None)
    await fleet.started(other)
    fleet.kill(first)
    killed = time.time()
    await fleet.ended("long", seconds=RERUN_SECONDS + 15)
    again = fleet.ledger.starts["long"][1]
    assert again["attempt"] == 2
    assert again["pid"] == other.pid
    assert [line["job_id"] for line in fleet.logged("job_rescued")] == ["long"]
    return float(again["time"] - killed)


@pytest.mark.slow
@pytest.mark.acceptance("JB1")
async def test_a_job_whose_worker_was_killed_runs_again_within_15_seconds_whatever_its_timeout(
    tmp_path: Path, postgres_url: str
) -> None:
    """With the kernel's own beats, on every queue; at the same time, as all of them have little to do but to wait."""
    assert (upkeep.BEAT_SECONDS, upkeep.LOOK_SECONDS, upkeep.LOOKS) == (2.0, 2.0, 5)
    async with AsyncExitStack() as stack:
        fleets = []
        for name in QUEUES:
            folder = tmp_path / name
            folder.mkdir()
            place = await stack.enter_async_context(fault_place(name, folder, postgres_url))
            fleets.append(await stack.enter_async_context(job_fleet(folder, place)))
        taken = await asyncio.gather(*(rerun_seconds(fleet) for fleet in fleets))
    for name, seconds in zip(QUEUES, taken, strict=True):
        print(f"{name}: a killed job with a timeout of an hour began again after {seconds:.1f} s")
        assert seconds < RERUN_SECONDS
