"""Saves do not notice that Redis is away, and what they sent arrives when it is back."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.faults.durable_redis import durable_redis
from tests.faults.figures import figure
from tests.faults.outbox_feature import make_effects
from tests.faults.outbox_fleet import Fleet

OUTAGE_SECONDS = figure(short=5.0, long=60.0)
SAVES = figure(short=1600, long=16_000)
PACE = 0.02


def run(folder: Path, outage: float) -> tuple[float, float]:
    """95th percentile of a save's seconds, and seconds until all had arrived after Redis was back."""
    folder.mkdir()
    make_effects(folder / "admin.db")
    with (
        durable_redis(folder / "redis") as redis,
        Fleet(folder, redis, services=2, saves=SAVES, pace=PACE, seconds=200) as fleet,
    ):
        for service in fleet.services:
            service.start()
        fleet.start_worker()
        fleet.wait_for("the first saves", lambda: fleet.acks > 50)
        if outage:
            redis.kill()
            before = fleet.acks
            time.sleep(outage)
            assert fleet.acks > before + 100, "saves waited for Redis"
            redis.start()
        back = time.monotonic()
        fleet.wait_for("the end of the saves", lambda: all(each.finished for each in fleet.services), 150)
        fleet.wait_for("the end of the deliveries", fleet.is_settled, 30)
        settled = time.monotonic() - back
        assert fleet.assert_all_arrived_once() == fleet.acks == SAVES
        p95 = max(each.finished["p95"] for each in fleet.services if each.finished)
        for service in fleet.services:
            service.stop()
        return p95, settled


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("EV2")
async def test_saves_succeed_while_redis_is_down_and_everything_arrives_later(tmp_path: Path) -> None:
    """Redis is down for 5 s under load, in the long run for 60 s."""
    usual, _ = await asyncio.to_thread(run, tmp_path / "usual", 0.0)
    without, settled = await asyncio.to_thread(run, tmp_path / "without", OUTAGE_SECONDS)
    print(f"p95 of a save: {usual * 1000:.1f} ms with Redis, {without * 1000:.1f} ms with an outage of it")
    assert settled < 120
