"""What a change sends out arrives once and in order, whoever is killed on the way."""

import asyncio
import random
import time
from pathlib import Path

import pytest

from tests.faults.durable_redis import DurableRedis, durable_redis
from tests.faults.figures import SOAK, figure
from tests.faults.outbox_fleet import Fleet
from tests.faults.outbox_places import outbox_urls, server_of

SAVES = figure(short=2000, long=100_000)
KILLS = figure(short=6, long=50)
PACE = figure(short=0.05, long=0.0)
"""Mean seconds between two saves of one of the 16 tasks."""
SECONDS = figure(short=120.0, long=3000.0)


def strike(fleet: Fleet, redis: DurableRedis, kill: int, chance: random.Random) -> str:
    """Kills one of them and starts it again, soon or a little later."""
    target = ("relay", "worker", "redis")[kill % 3]
    if target == "relay":
        service = fleet.active() or chance.choice(fleet.services)
        service.kill()
        service.start()
    elif target == "worker":
        worker = chance.choice(fleet.workers)
        worker.kill()
        worker.wait()
        fleet.workers.remove(worker)
        time.sleep(chance.uniform(0, 0.3))
        fleet.start_worker()
    else:
        redis.kill()
        time.sleep(chance.uniform(0, 0.5))
        redis.start()
    return target


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("EV1")
@pytest.mark.parametrize("backend", ["sqlite", "postgres", *(["mysql"] if SOAK else [])])
async def test_every_change_arrives_once_while_relay_redis_and_receiver_are_killed(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """2,000 saves by 4 processes, 6 kills, 2 workers at once; in the long run 100,000 saves and 50 kills."""
    server = server_of(backend, request)

    def run() -> None:
        chance = random.Random(20_261_123)
        with (
            durable_redis(tmp_path / "redis") as redis,
            outbox_urls(server) as urls,
            Fleet(tmp_path, redis, services=4, saves=SAVES, pace=PACE, seconds=SECONDS, urls=urls) as fleet,
        ):
            for service in fleet.services:
                service.start()
            for _ in range(2):
                fleet.start_worker()
            for kill in range(KILLS):
                goal = SAVES * (kill + 1) // (KILLS + 1)
                fleet.wait_for("the next kill", lambda goal=goal: fleet.acks >= goal, SECONDS)
                strike(fleet, redis, kill, chance)
            fleet.wait_for("the end of the saves", lambda: all(each.finished for each in fleet.services), SECONDS)
            began = time.monotonic()
            fleet.wait_for("the end of the deliveries", fleet.is_settled, 60)
            settled = time.monotonic() - began
            count = fleet.assert_all_arrived_once()
            for service in fleet.services:
                service.stop()
            print(f"{KILLS} kills, {fleet.acks} acknowledged saves, {count} effects, settled {settled:.1f} s later")
            assert count >= fleet.acks >= SAVES * 0.95

    await asyncio.to_thread(run)


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("EV3")
@pytest.mark.parametrize("backend", ["sqlite", "postgres", *(["mysql"] if SOAK else [])])
async def test_a_change_is_saved_if_and_only_if_it_arrives_when_the_whole_service_is_killed(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """One service without Redis is killed 5 times between commit and delivery, in the long run 500 times."""
    kills = figure(short=5, long=500)
    server = server_of(backend, request)

    def run() -> None:
        chance = random.Random(20_261_124)
        with (
            outbox_urls(server) as urls,
            Fleet(tmp_path, None, services=1, saves=kills * 200, pace=0.0, seconds=SECONDS, urls=urls) as fleet,
        ):
            (service,) = fleet.services
            service.start()
            for _ in range(kills):
                goal = fleet.acks + chance.randrange(1, 150)
                fleet.wait_for("the next kill", lambda goal=goal: fleet.acks >= goal or service.finished, 60)
                service.kill()
                service.start()
            fleet.wait_for("the end of the saves", lambda: service.finished, SECONDS)
            fleet.wait_for("the end of the deliveries", fleet.is_settled, 30)
            count = fleet.assert_all_arrived_once()
            service.stop()
            print(f"{kills} kills, {fleet.acks} acknowledged saves, {count} effects")
            assert count >= fleet.acks > 0

    await asyncio.to_thread(run)


@pytest.mark.slow
@pytest.mark.acceptance("EV1")
async def test_another_process_carries_within_five_seconds_when_the_relay_is_killed(tmp_path: Path) -> None:
    def run() -> float:
        with Fleet(tmp_path, None, services=3, saves=450, pace=0.05) as fleet:
            for service in fleet.services:
                service.start()
            fleet.wait_for("a relay", lambda: fleet.active() is not None)
            fleet.wait_for("some saves", lambda: fleet.acks > 50)
            killed = fleet.active()
            assert killed is not None
            killed.kill()
            began = time.monotonic()
            fleet.wait_for("another relay", lambda: fleet.active() is not None, 5)
            taken = time.monotonic() - began
            killed.start()
            fleet.wait_for("the end of the saves", lambda: all(each.finished for each in fleet.services), 60)
            fleet.wait_for("the end of the deliveries", fleet.is_settled, 10)
            fleet.assert_all_arrived_once()
            assert len([each for each in fleet.services if each.active_at is not None]) == 1
            return taken

    taken = await asyncio.to_thread(run)
    print(f"taken over after {taken:.2f} s")
    assert taken < 5
