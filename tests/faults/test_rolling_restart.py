"""A new version goes out under load: every process is replaced, and no request fails."""

import asyncio
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.balancer import Backend, Balancer, balancer
from tests.faults.durable_redis import durable_redis
from tests.faults.figures import figure
from tests.faults.soak_clients import Clients
from tests.faults.soak_fleet import Part, SoakFleet
from tests.faults.soak_places import prepare, receiver
from tests.faults.soak_reconcile import Place, reconcile, settled

WEBS, WORKERS, ADMIN_WORKERS = 3, 2, 1
ROUNDS = figure(short=1, long=10)
DRAIN_SECONDS = figure(short=8.0, long=5.0)
"""Several times the interval between two probes of the balancer, a second: on a busy machine a probe takes long."""
LANES, PACE = 8, 0.12
"""Some 60 requests a second."""
SETTLE_SECONDS = 90.0
SEED = 20_261_128


class Rolling:
    """The processes, and the balancer that knows those of the web."""

    def __init__(self, fleet: SoakFleet, front: Balancer, redis: str, admin: str) -> None:
        self._fleet = fleet
        self._front = front
        self._redis, self._admin = redis, admin
        self._backends: dict[str, Backend] = {}
        self.stops: list[float] = []
        """Seconds from each SIGTERM to the end."""

    async def web(self) -> None:
        """One more web process; returns when the balancer sends it requests."""
        part = self._fleet.web()
        self._backends[part.name] = backend = self._front.add(part.port)
        await backend.until(is_ready=True, seconds=90)

    def worker(self) -> None:
        """One more worker."""
        self._fleet.worker()

    def admin_worker(self) -> None:
        """One more admin worker."""
        self._fleet.admin_worker(self._redis, self._admin)

    async def round(self) -> None:
        """A new process for each, and then the end of the old one."""
        for part in tuple(self._fleet.parts):
            if part.port:
                await self.web()
            elif part.name.startswith("worker"):
                self.worker()
            else:
                self.admin_worker()
            await self._stop(part)

    async def _stop(self, part: Part) -> None:
        began = time.monotonic()
        backend = self._backends.get(part.name)
        assert part.process is not None
        part.process.terminate()
        if backend is not None:
            await backend.until(is_ready=False)
        status = await asyncio.to_thread(part.process.wait, 60)
        # uvicorn ends by the signal that it was sent, once it has served what there was.
        assert status == (-signal.SIGTERM if part.port else 0), self._fleet.said(part)
        self.stops.append(time.monotonic() - began)
        self._fleet.parts.remove(part)
        if backend is not None:
            assert not backend.under_way
            self._front.remove(backend)


async def roll(rolling: Rolling, front: Balancer, folder: Path) -> Clients:
    """Clients at work while everything is replaced, and a little before and after."""
    for _ in range(WEBS):
        await rolling.web()
    for _ in range(WORKERS):
        rolling.worker()
    for _ in range(ADMIN_WORKERS):
        rolling.admin_worker()
    clients = Clients([front.port], folder / "ledger.jsonl", SEED)
    working = asyncio.create_task(clients.run(LANES, PACE))
    try:
        await clients.next_write(time.monotonic())
        for _ in range(ROUNDS):
            await rolling.round()
        await clients.next_write(time.monotonic())
    finally:
        clients.enough.set()
        await working
        await clients.close()
    return clients


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("OP6")
async def test_every_process_is_replaced_under_load_and_no_request_fails(tmp_path: Path, urls: tuple[str, str]) -> None:
    """3 web processes, 2 workers and an admin worker, each replaced once; in the long run ten times."""
    with durable_redis(tmp_path / "redis", "always") as redis:
        place = Place(*urls, redis, tmp_path / "received.jsonl")
        async with receiver(tmp_path) as (port, secret), balancer() as front:
            await prepare(*urls, port, secret)
            settings = {"DATABASE_URL": urls[0], "ADMIN_DB_URL": urls[1], "REDIS_URL": redis.url}
            with SoakFleet(tmp_path, {**settings, "DRAIN_SECONDS": str(DRAIN_SECONDS)}) as fleet:
                rolling = Rolling(fleet, front, redis.url, urls[1])
                clients = await roll(rolling, front, tmp_path)
                await settled(place, SETTLE_SECONDS)
                told = await asyncio.to_thread(reconcile, place, clients.ledger)
                fleet.assert_alive()
    kinds = Counter(request.kind for request in clients.requests)
    failed = [request for request in clients.requests if request.status not in (200, 201, 401, 409)]
    print(
        f"\n{ROUNDS} rounds, {len(rolling.stops)} processes replaced, {kinds.total()} requests, {len(failed)} failed;"
        f" the slowest stop took {max(rolling.stops):.1f} s; {told}"
    )
    assert front.failures == []
    assert failed == []
    assert clients.ledger.wrong == []
    assert max(rolling.stops) < 30
