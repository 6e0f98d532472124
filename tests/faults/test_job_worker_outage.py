"""The place that keeps the jobs is away for some seconds while a worker is at work."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app_kernel.core.errors import Unavailable
from tests.faults.durable_redis import DurableRedis
from tests.faults.figures import figure
from tests.faults.job_fleet import JobFleet, job_fleet
from tests.faults.job_places import FaultPlace, fault_place
from tests.faults.tcp_proxy import HOST, TcpProxy, tcp_proxy

AWAY_SECONDS = figure(short=4.0, long=60.0)
MOST_CPU = 0.25
BACK_SECONDS = 4.0
"""From the return of the queue to the next job: the longest pause between two tries is 2 s."""
WOKEN_SECONDS = 0.3
"""A job is begun by its signal, not by the look that a worker takes each second."""


class ProxiedRedis(DurableRedis):
    """The Redis of a place, as seen through a proxy."""

    def __init__(self, port: int) -> None:
        self.port = port


@asynccontextmanager
async def through_proxy(place: FaultPlace) -> AsyncIterator[tuple[FaultPlace, TcpProxy]]:
    """The place for a worker whose connections can be cut."""
    port = place.redis.port if place.redis is not None else urlsplit(place.database_url).port
    assert port is not None
    async with tcp_proxy(port) as proxy:
        if place.redis is not None:
            yield replace(place, redis=ProxiedRedis(proxy.port)), proxy
        else:
            url = place.database_url.replace(f"{HOST}:{port}", f"{HOST}:{proxy.port}")
            yield replace(place, database_url=url), proxy


async def assert_woken(fleet: JobFleet) -> None:
    """Signals of the queue reach the worker again."""
    taken = []
    for number in range(8):
        enqueued = time.time()
        await fleet.enqueue(f"woken-{number}")
        await fleet.ended(f"woken-{number}", seconds=5)
        taken.append(fleet.ledger.starts[f"woken-{number}"][0]["time"] - enqueued)
        await asyncio.sleep(0.15)
    assert sorted(taken)[4] < WOKEN_SECONDS, f"the worker is no longer woken: {taken}"


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("JB1")
@pytest.mark.parametrize(
    ("name", "how"), [("postgres", "cut"), ("postgres", "frozen"), ("redis", "killed"), ("redis", "frozen")]
)
async def test_a_worker_outlives_an_outage_of_its_queue_and_settles_what_ended_meanwhile(
    name: str, how: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """4 seconds, in the long run a minute: connections cut, silent, or the server killed and started again."""
    server = request.getfixturevalue("postgres_url") if name == "postgres" else None
    async with (
        fault_place(name, tmp_path, server) as place,
        through_proxy(place) as (seen, proxy),
        job_fleet(tmp_path, place) as fleet,
    ):
        worker = fleet.start(place=seen)
        await fleet.started()
        for number in range(5):
            await fleet.enqueue(f"during-{number}", seconds=min(AWAY_SECONDS / 2, 20) + number / 10)
        await fleet.enqueue("reports", "reports", seconds=1)
        await fleet.wait_for(lambda: len(fleet.ledger.read().starts) == 6, "their start")
        await go_away(place, proxy, how)
        spent = worker.cpu_seconds()
        with nullcontext() if how != "killed" else pytest.raises(Unavailable):
            await fleet.enqueue("while away", tries=False)
        await asyncio.sleep(AWAY_SECONDS)
        cpu = (worker.cpu_seconds() - spent) / AWAY_SECONDS
        assert sum(id.startswith("during") for id in fleet.ledger.read().ends) == 5, "handlers waited for the queue"
        await come_back(place, proxy, how)
        back = time.time()
        await fleet.enqueue("after")
        await fleet.ended("after", seconds=30)
        taken = fleet.ledger.starts["after"][0]["time"] - back
        await fleet.settled()
        counts = fleet.ledger.assert_all_ran()
        print(f"{name} {how}: {cpu * 100:.0f} % CPU while away, the next job {taken:.1f} s after its return")
        assert counts.repeats == 0
        assert cpu < MOST_CPU
        assert taken < BACK_SECONDS
        if how != "frozen":
            # A silence may be over before a worker's patience is.
            assert len(worker.events("job_settle_waits")) == 1
            # Each queue says so for itself; that of webhooks is served beside this one.
            told = [
                [event for event in worker.events(name) if event["queue"] == "default"]
                for name in ("job_queue_away", "job_queue_back")
            ]
            assert [len(events) for events in told] == [1, 1]
        await assert_woken(fleet)


async def go_away(place: FaultPlace, proxy: TcpProxy, how: str) -> None:
    """Begins an outage."""
    if how == "cut":
        await proxy.stop()
    elif how == "frozen":
        proxy.freeze()
    elif place.redis is not None:
        place.redis.kill()


async def come_back(place: FaultPlace, proxy: TcpProxy, how: str) -> None:
    """Ends it."""
    if how == "cut":
        await proxy.start()
    elif how == "frozen":
        proxy.thaw()
    elif place.redis is not None:
        await asyncio.to_thread(place.redis.start)
