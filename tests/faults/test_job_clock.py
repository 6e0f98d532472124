"""Jobs for later: never early, never lost, whoever is restarted and wherever a clock jumps."""

import asyncio
import random
import signal
import time

import pytest

from tests.faults.figures import figure
from tests.faults.job_fleet import JobFleet

JOBS = figure(short=30, long=300)
SPREAD = figure(short=5.0, long=30.0)
EARLY_SECONDS = 0.05
"""Between two processes that read the same clock, what it may run backwards."""
LATE_SECONDS = 2.0


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("JB6")
async def test_jobs_for_later_run_on_time_across_restarts_of_workers_and_redis(fleet: JobFleet) -> None:
    chance = random.Random(20_261_128)
    worker = fleet.start("--concurrency", "50")
    await fleet.started(worker)
    due: dict[str, float] = {}
    for number in range(JOBS):
        id, delay = f"job-{number}", round(chance.uniform(0.2, SPREAD), 3)
        due[id] = time.time() + delay
        await fleet.enqueue(id, options={"delay_seconds": delay})
    fleet.kill(worker)
    if fleet.place.redis is not None:
        fleet.place.redis.kill()
        await asyncio.to_thread(fleet.place.redis.start)
    other = fleet.start("--concurrency", "50")
    await fleet.started(other)
    back = time.time()
    await fleet.settled()
    counts = fleet.ledger.assert_all_ran(fleet.killed)
    started = {id: fleet.ledger.starts[id][-1]["time"] for id in due}
    early = min(started[id] - due[id] for id in due)
    late = max(started[id] - max(due[id], back) for id in due if started[id] > back)
    print(
        f"{fleet.place.name}: {JOBS} jobs for later across a restart: {early * 1000:.0f} to {late * 1000:.0f} ms late"
    )
    assert counts.jobs == JOBS
    assert early > -EARLY_SECONDS
    assert late < LATE_SECONDS


@pytest.mark.slow
@pytest.mark.acceptance("JB6")
async def test_a_jump_of_the_clock_of_workers_neither_loses_a_job_nor_makes_one_look_lost(fleet: JobFleet) -> None:
    """Where a server keeps the jobs, its clock counts; on SQLite that of the processes: for them an hour has passed."""
    workers = [fleet.start() for _ in range(2)]
    await fleet.started()
    await fleet.enqueue("running", seconds=6)
    await fleet.wait_for(lambda: fleet.ledger.read().starts.keys() >= {"running"}, "its start")
    own_clock = fleet.place.name == "sqlite"
    due = time.time() + 2
    await fleet.enqueue("later", options={"delay_seconds": 2})
    # An hour back, in which nothing is due for a worker that believes it.
    for worker in workers:
        worker.send(signal.SIGUSR2)
    await fleet.enqueue("now")
    await fleet.enqueue("much later", options={"delay_seconds": 1800})
    await fleet.ended("now", seconds=5)
    if own_clock:
        await asyncio.sleep(max(0.0, due + 1 - time.time()))
        assert "later" not in fleet.ledger.read().starts
    else:
        await fleet.ended("later", seconds=6)
        assert -EARLY_SECONDS < fleet.ledger.starts["later"][0]["time"] - due < LATE_SECONDS
    for worker in workers:
        worker.send(signal.SIGUSR1)
    jumped = time.time()
    await fleet.ended("later", seconds=5)
    if own_clock:
        assert -EARLY_SECONDS < fleet.ledger.starts["later"][0]["time"] - max(due, jumped) < LATE_SECONDS
    # And one forward, for which half an hour is over.
    for worker in workers:
        worker.send(signal.SIGUSR1)
    jumped = time.time()
    if own_clock:
        await fleet.ended("much later", seconds=5)
        assert fleet.ledger.starts["much later"][0]["time"] - jumped < LATE_SECONDS
    await fleet.ended("running", seconds=20)
    assert not fleet.logged("job_rescued")
    assert fleet.ledger.count("start", "running") == 1
    if not own_clock:
        assert "much later" not in fleet.ledger.starts
