"""A job that kills its worker, one that takes an hour and one that waits for its next attempt hold nobody else up."""

import asyncio
import time

import pytest

from tests.faults.job_fleet import JobFleet
from tests.jobs.waiting import until

WORKERS = 2
P95_SECONDS = 1.0


async def supervise(fleet: JobFleet) -> None:
    """Starts a worker for each that dies, as a supervisor does."""
    while True:
        for worker in tuple(fleet.workers):
            if not worker.is_running:
                fleet.kill(worker)
                fleet.start("--concurrency", "5")
        await asyncio.sleep(0.05)


async def is_waiting_again(fleet: JobFleet) -> bool:
    """Whether the job that fails waits for its next attempt."""
    fails = await fleet.client.get("fails")
    return fails is not None and fails.status == "scheduled"


async def is_running_again(fleet: JobFleet) -> bool:
    """Whether the job of an hour runs; it may have been on the worker that the pill killed last, and be handed on."""
    hour = await fleet.client.get("hour")
    return hour is not None and hour.status == "running"


@pytest.mark.slow
@pytest.mark.acceptance("JB5")
async def test_other_jobs_flow_while_one_kills_its_worker_three_times_and_is_dead_then(fleet: JobFleet) -> None:
    for _ in range(WORKERS):
        fleet.start("--concurrency", "5")
    await fleet.started()
    supervising = asyncio.create_task(supervise(fleet))
    try:
        await fleet.enqueue("hour", seconds=3600, options={"timeout": 7200})
        await fleet.enqueue("fails", "fail")
        await fleet.wait_for(lambda: fleet.ledger.read().starts.keys() >= {"hour", "fails"}, "their start")
        await until(lambda: is_waiting_again(fleet))
        await fleet.enqueue("poison", "poison")
        enqueued: dict[str, float] = {}
        deadline = time.monotonic() + 60
        while (poison := await fleet.client.get("poison")) is not None and poison.status != "dead":
            assert time.monotonic() < deadline, poison
            id = f"job-{len(enqueued)}"
            enqueued[id] = time.time()
            await fleet.enqueue(id, seconds=0.01)
            await asyncio.sleep(0.05)
        await fleet.ended(*enqueued)
        await until(lambda: is_running_again(fleet))
    finally:
        supervising.cancel()
    assert poison is not None
    assert (poison.attempt, poison.max_attempts) == (3, 3)
    assert "worker that ran it is gone" in (poison.error or "")
    assert [line["attempt"] for line in fleet.ledger.starts["poison"]] == [1, 2, 3]
    waited = sorted(fleet.ledger.starts[id][0]["time"] - at for id, at in enqueued.items())
    p95 = waited[int(len(waited) * 0.95)]
    print(f"{fleet.place.name}: {len(waited)} jobs beside a poison pill, p95 of the wait {p95 * 1000:.0f} ms")
    assert len(waited) > 50
    assert p95 < P95_SECONDS
    assert await is_running_again(fleet)
    fails = await fleet.client.get("fails")
    assert fails is not None
    assert (fails.status, fails.attempt) == ("scheduled", 1)
