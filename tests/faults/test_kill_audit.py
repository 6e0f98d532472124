"""Every change is in the audit log once and in order, whoever is killed on the way."""

import asyncio
import random
import time
from pathlib import Path

import pytest

from tests.conformance.backends import SERVICE_BACKENDS
from tests.faults.audit_fleet import AuditFleet
from tests.faults.durable_redis import durable_redis
from tests.faults.figures import figure
from tests.faults.outbox_places import outbox_urls, server_of

CHANGES = figure(short=500, long=48_000)
"""Of which some are bulks, so that there are twice as many events."""
EVENTS = figure(short=700, long=100_000)
KILLS = figure(short=3, long=50)
SERVICES = figure(short=2, long=4)
PACE = figure(short=0.01, long=0.0)
"""Mean seconds between two changes of one task."""
SECONDS = figure(short=120.0, long=3000.0)


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("EV1")
@pytest.mark.parametrize("backend", SERVICE_BACKENDS)
async def test_every_change_is_audited_once_while_admin_workers_are_killed(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """EV1: 3 kills of 2 workers at once; in the long run 100,000 events by 4 processes and 50 kills."""
    server = server_of(backend, request)

    def run() -> None:
        chance, began = random.Random(20_261_130), time.monotonic()
        with (
            durable_redis(tmp_path / "redis") as redis,
            outbox_urls(server) as urls,
            AuditFleet(
                tmp_path, redis, services=SERVICES, changes=CHANGES, pace=PACE, seconds=SECONDS, urls=urls
            ) as fleet,
        ):
            for service in fleet.services:
                service.start()
            for _ in range(2):
                fleet.work()
            for kill in range(KILLS):
                goal = CHANGES * (kill + 1) // (KILLS + 1)
                fleet.wait_for("the next kill", lambda goal=goal: fleet.acks >= goal, SECONDS)
                fleet.kill_worker(chance.choice(fleet.worker_processes))
                fleet.work()
            fleet.wait_for("the end of the changes", lambda: all(each.finished for each in fleet.services), SECONDS)
            changed = time.monotonic()
            fleet.wait_for("the end of the deliveries", fleet.is_settled, SECONDS)
            settled = time.monotonic() - changed
            count = fleet.assert_all_arrived_once()
            for service in fleet.services:
                service.stop()
            print(
                f"{backend}: {KILLS} kills, {fleet.acks} acknowledged changes, {count} audited, 0 lost, 0 twice,"
                f" in {changed - began:.0f} s, settled {settled:.1f} s later"
            )
            assert count >= EVENTS
            assert count >= sum(map(len, fleet.acked.values()))

    await asyncio.to_thread(run)
