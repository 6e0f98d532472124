"""Usage is counted to the unit, whoever is killed and whatever comes twice."""

import asyncio
import random
import time
from pathlib import Path

import pytest

from app_kernel.metering.counting import TOPIC
from tests.faults.durable_redis import DurableRedis, durable_redis
from tests.faults.figures import figure
from tests.faults.metering_fleet import MeteringFleet
from tests.faults.outbox_places import outbox_urls, server_of

TURNS = figure(short=400, long=66_500)
"""Of each a tenth are transactions with eight calls, and each call moves two metrics."""
INCREMENTS = figure(short=1000, long=200_000)
KILLS = figure(short=3, long=30)
SERVICES = figure(short=2, long=8)
PACE = figure(short=0.015, long=0.0)
SECONDS = figure(short=120.0, long=3000.0)


def send_twice(redis: DurableRedis, how: str) -> None:
    """Makes entries come again that were written already, or are about to be."""
    with redis.client() as client:
        if how == "flush":
            # The relay sends again what it sent within the last day.
            client.flushall()
        elif how == "group" and client.exists(TOPIC):
            client.xgroup_destroy(TOPIC, "admin_worker")
        elif how == "copies":
            for _, fields in client.xrange(TOPIC, count=500):
                client.xadd(TOPIC, fields)


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("EV7")
@pytest.mark.parametrize("backend", ["sqlite", "postgres", "mysql"])
async def test_usage_is_exact_while_workers_are_killed_and_messages_come_twice(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """EV7: 3 kills of 2 workers; in the long run 200,000 increments by 8 processes and 30 kills."""
    server = server_of(backend, request)

    def run() -> str:
        chance, began = random.Random(20_261_132), time.monotonic()
        with (
            durable_redis(tmp_path / "redis") as redis,
            outbox_urls(server) as urls,
            MeteringFleet(
                tmp_path, redis, services=SERVICES, changes=TURNS, pace=PACE, seconds=SECONDS, urls=urls
            ) as fleet,
        ):
            for service in fleet.services:
                service.start()
            for _ in range(2):
                fleet.work()
            for kill in range(KILLS):
                goal = TURNS * 8 // 10 * (kill + 1) // (KILLS + 1)
                fleet.wait_for("the next kill", lambda goal=goal: fleet.acks >= goal, SECONDS)
                fleet.kill_worker(chance.choice(fleet.worker_processes))
                send_twice(redis, ("flush", "group", "copies")[kill % 3])
                fleet.work()
            fleet.wait_for("the end of the calls", lambda: all(each.finished for each in fleet.services), SECONDS)
            counted = time.monotonic()
            send_twice(redis, "flush")
            # The relay looks each second at whether Redis has what it was given.
            time.sleep(1.2)
            fleet.wait_for("the end of the deliveries", fleet.is_settled, SECONDS)
            settled = time.monotonic() - counted
            told = fleet.assert_counted_exactly()
            for service in fleet.services:
                service.stop()
            assert fleet.increments >= INCREMENTS
            return f"{KILLS} kills, {told}, in {counted - began:.0f} s, settled {settled:.1f} s later"

    told = await asyncio.to_thread(run)
    print(f"{backend}: {told}")
    assert told
