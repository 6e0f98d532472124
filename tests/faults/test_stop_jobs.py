"""Workers are told to stop while jobs come in and run, as at every deployment: nothing is lost, nothing runs twice."""

import asyncio
import random
import signal
import time

import pytest

from tests.faults.figures import figure
from tests.faults.job_fleet import OWN_BEAT, JobFleet, JobWorkerProcess

STOPS = figure(short=6, long=50)
WORKERS, CONCURRENCY = 3, 10
LONGEST_JOB = 1.0
EXIT_SECONDS = 30.0
AFTER_LAST_JOB = 2.0
"""From the end of a worker's last job to that of the process, on a machine that has more to do."""


async def load(fleet: JobFleet, chance: random.Random, ended: asyncio.Event) -> int:
    """Jobs, as long as workers are stopped; how many."""
    number = 0
    while not ended.is_set():
        for _ in range(3):
            await fleet.enqueue(f"job-{number}", seconds=round(chance.uniform(0, LONGEST_JOB), 3))
            number += 1
        await asyncio.sleep(0.1)
    return number


def busy_workers(fleet: JobFleet) -> list[JobWorkerProcess]:
    """Workers that run jobs at this moment, or did so a little before."""
    pids = {line["pid"] for lines in fleet.ledger.read().starts.values() for line in lines}
    return [worker for worker in fleet.workers if worker.pid in pids]


async def stop(fleet: JobFleet, worker: JobWorkerProcess) -> tuple[float, float]:
    """Seconds from the signal to the end of the process, and from the end of its last job."""
    taken = await fleet.stop(worker, EXIT_SECONDS + 10)
    return taken, time.time() - fleet.ledger.read().last_end(worker.pid)


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("JB2")
async def test_a_worker_told_to_stop_ends_its_jobs_and_goes_when_the_last_one_has_ended(fleet: JobFleet) -> None:
    """6 times under load, in the long run 50 times: nothing is lost and nothing runs twice."""
    chance, ended = random.Random(20_261_127), asyncio.Event()
    for _ in range(WORKERS):
        fleet.start("--concurrency", str(CONCURRENCY), beat=OWN_BEAT)
    await fleet.started()
    loading = asyncio.create_task(load(fleet, chance, ended))
    figures: list[tuple[float, float]] = []
    for _ in range(STOPS):
        busy = await fleet.wait_for(lambda: busy_workers(fleet), "a worker with jobs")
        worker = chance.choice(busy)
        await asyncio.sleep(chance.uniform(0, 0.5))
        fleet.start("--concurrency", str(CONCURRENCY), beat=OWN_BEAT)
        figures.append(await stop(fleet, worker))
    ended.set()
    jobs = await loading
    await fleet.settled()
    counts = fleet.ledger.assert_all_ran()
    slowest, latest = max(taken for taken, _ in figures), max(after for _, after in figures)
    print(
        f"{fleet.place.name}: {STOPS} stops under load, {jobs} jobs, 0 lost, {counts.repeats} began twice, exit after"
        f" {slowest:.2f} s at most, {latest:.2f} s after the last job"
    )
    assert counts.jobs == jobs
    assert counts.repeats == 0
    assert slowest < LONGEST_JOB + AFTER_LAST_JOB < EXIT_SECONDS
    assert latest < AFTER_LAST_JOB


@pytest.mark.slow
@pytest.mark.acceptance("JB2")
async def test_a_job_that_outlives_the_grace_time_is_handed_back_and_does_not_count(fleet: JobFleet) -> None:
    first = fleet.start(WORKER_GRACE_SECONDS="1")
    await fleet.started(first)
    await fleet.enqueue("long", seconds=600)
    await fleet.enqueue("short", seconds=0.5)
    await fleet.wait_for(lambda: fleet.ledger.read().starts.keys() >= {"long", "short"}, "their start")
    assert 1 <= await fleet.stop(first) < 1 + AFTER_LAST_JOB
    there = await fleet.client.get("long")
    assert there is not None
    assert (there.status, there.attempt) == ("queued", 0)
    assert fleet.ledger.read().count("cancelled", "long") == 1
    assert fleet.ledger.count("end", "short") == 1
    second = fleet.start(WORKER_GRACE_SECONDS="600")
    await fleet.started(second)
    await fleet.wait_for(lambda: fleet.ledger.read().count("start", "long") == 2, "its next start", 10)
    assert [line["attempt"] for line in fleet.ledger.starts["long"]] == [1, 1]
    # A second signal ends the patience.
    second.send(signal.SIGTERM)
    await fleet.wait_for(lambda: second.events("worker_stopping"), "the stop")
    assert await fleet.stop(second) < AFTER_LAST_JOB
    there = await fleet.client.get("long")
    assert there is not None
    assert (there.status, there.attempt) == ("queued", 0)


@pytest.mark.slow
@pytest.mark.acceptance("JB2")
async def test_a_worker_without_jobs_ends_at_once(fleet: JobFleet) -> None:
    await fleet.started(fleet.start())
    assert await fleet.stop(fleet.workers[0]) < AFTER_LAST_JOB
