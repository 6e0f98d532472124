"""A worker at 200 jobs a second for an hour: neither its memory nor its queue grows."""

import asyncio
import time

import pytest

from tests.faults.figures import figure
from tests.faults.job_fleet import JobFleet
from tests.faults.job_places import FaultPlace
from tests.faults.outbox_feature import look

SECONDS = figure(short=4.0, long=3600.0)
RATE = 200
BATCH = 20
WARM = figure(short=0.5, long=0.1)
"""The part of the time after which memory is to stay as it is."""
MOST_MEGABYTES = 8.0
MOST_KEPT = RATE * 15
"""Jobs are forgotten a second after their end, and looked through every 5 seconds."""
MOST_KEYS = MOST_KEPT + RATE * 70
"""With the receipts of claims, at most one for each job, which Redis keeps for a minute."""


def kept(place: FaultPlace) -> int:
    """Rows or keys of jobs."""
    if place.redis is None:
        return int(look(place.database_url, "SELECT COUNT(*) FROM kernel_jobs")[0][0])
    with place.redis.client() as client:
        assert client.dbsize() < MOST_KEYS
        return sum(":job:" in key for key in client.scan_iter(count=1000))


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("JB11")
async def test_200_jobs_a_second_make_neither_the_worker_nor_the_queue_grow(fleet: JobFleet) -> None:
    """8 seconds, in the long run an hour; what is left at the end is nothing."""
    worker = fleet.start(beat=None)
    await fleet.started()
    began, done = time.monotonic(), 0
    samples: list[tuple[float, float, int]] = []
    while (now := time.monotonic() - began) < SECONDS:
        await fleet.client.enqueue_many("quick", [{"n": done + number} for number in range(BATCH)])
        done += BATCH
        if now >= len(samples) * SECONDS / 24:
            samples.append((now, worker.resident_megabytes(), await asyncio.to_thread(kept, fleet.place)))
        await asyncio.sleep(max(0.0, began + done / RATE - time.monotonic()))
    await fleet.settled()
    grown = samples[-1][1] - next(memory for at, memory, _ in samples if at >= WARM * SECONDS)
    most = max(count for _, _, count in samples)
    print(
        f"{fleet.place.name}: {done} jobs in {SECONDS:.0f} s, memory {samples[0][1]:.1f} to {samples[-1][1]:.1f} MB"
        f" ({grown:+.1f} MB after the warm-up), at most {most} jobs kept"
    )
    assert done >= RATE * SECONDS * 0.9
    assert grown < MOST_MEGABYTES
    assert most < MOST_KEPT
    async with asyncio.timeout(20):
        while await asyncio.to_thread(kept, fleet.place) > 20:  # noqa: ASYNC110 - another process forgets them
            await asyncio.sleep(0.2)
    assert worker.is_running
