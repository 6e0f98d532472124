"""How fast audit and metering events are written into the admin database: by the admin worker, and by a relay alone."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import BenchError, child, cpu_seconds, environment, turns
from benchmarks.p8_child import AUDIT, METERING
from benchmarks.postgres import Postgres
from benchmarks.redis_servers import DurableRedis
from benchmarks.report import Goal, Group, Row
from benchmarks.settings import Settings

GOAL = 5000.0
LIMIT = 300.0
EVENTS, FEW = 30_000, 3000
NUMBER = 9
"""Of the Redis database."""


def add_drains(group: Group, folder: Path, redis: DurableRedis, database: Postgres, settings: Settings) -> None:
    """Rows for each topic and place, in turns."""
    events = FEW if settings.quick else EVENTS
    places = Places(folder, redis, database)
    drains: dict[str, Callable[[], dict[str, float]]] = {}
    for topic, name in ((AUDIT, "audit"), (METERING, "metering")):
        for backend in ("SQLite", "PostgreSQL"):
            drains[f"admin worker, {name}, {backend}"] = lambda t=topic, b=backend: places.by_worker(t, b, events)  # type: ignore[misc]
        drains[f"relay without Redis, {name}, SQLite"] = lambda t=topic: places.by_relay(t, events)  # type: ignore[misc]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in drains}
    for name in turns(list(drains), settings.rounds):
        found[name].append(drains[name]())
    group.raw["drains"] = found
    for name, samples in found.items():
        goal = Goal(">=", 1.0) if name.startswith("admin worker") and name.endswith("SQLite") else None
        speed = median(sample["per_second"] for sample in samples)
        group.rows.append(Row(figure=name, unit="/s", ours=speed, peer="the goal", theirs=GOAL, goal=goal))
        cpu = median(sample["cpu_us"] for sample in samples)
        group.notes.append(f"{name}: {cpu:.0f} us of CPU an event.")


class Places:
    """Fresh databases for each drain."""

    def __init__(self, folder: Path, redis: DurableRedis, database: Postgres) -> None:
        self._folder, self._redis, self._database = folder, redis, database
        folder.mkdir(parents=True)
        self._count = 0

    def _file(self, name: str) -> str:
        self._count += 1
        return f"sqlite:///{self._folder / f'{name}{self._count}.db'}"

    def by_worker(self, topic: str, backend: str, events: int) -> dict[str, float]:
        """The contract's command on a full stream, from its first batch to its last."""
        admin = self._file("admin")
        if backend != "SQLite":
            name = f"p8_{self._count}"
            admin = self._database.databases([name])[name]
        url = self._redis.database(NUMBER)
        self._redis.empty(NUMBER)
        child(
            "benchmarks.p8_child",
            {"what": "stream", "topic": topic, "events": events, "redis": url},
            self._folder,
            limit=LIMIT,
        )
        return drained(url, admin, topic, self._folder)

    def by_relay(self, topic: str, events: int) -> dict[str, float]:
        """A relay alone on a full outbox."""
        spec = {
            "what": "relay",
            "topic": topic,
            "events": events,
            "app": self._file("app"),
            "admin": self._file("admin"),
        }
        found: dict[str, float] = child("benchmarks.p8_child", spec, self._folder, limit=LIMIT)
        return found


def drained(redis_url: str, admin: str, topic: str, folder: Path) -> dict[str, float]:
    """Runs a worker until the stream is empty; events a second after its first batch."""
    import redis

    command = [sys.executable, "-m", "app_kernel.admin_worker", "--redis", redis_url, "--db", admin]
    with redis.Redis.from_url(redis_url) as client, (folder / "worker.log").open("ab") as log:
        there = int(client.xlen(topic))
        worker = subprocess.Popen([*command, "--log-level", "ERROR"], env=environment(), stdout=log, stderr=log)
        try:
            first, last = 0, 0.0
            begun = cpu = 0.0
            for left in _lengths(client, topic, worker):
                now = time.perf_counter()
                if not begun and left < there:
                    begun, cpu, first = now, cpu_seconds(worker.pid), left
                last = now
            used = cpu_seconds(worker.pid) - cpu
        finally:
            worker.terminate()
            worker.wait(20)
    return {"per_second": first / (last - begun), "cpu_us": used / first * 1e6}


def _lengths(client: Any, topic: str, worker: subprocess.Popen[bytes]) -> Iterator[int]:
    """How much is left, again and again until nothing is."""
    until = time.perf_counter() + LIMIT
    while left := int(client.xlen(topic)):
        yield left
        if worker.poll() is not None or time.perf_counter() > until:
            raise BenchError(f"the admin worker left {left} events in the stream")
        time.sleep(0.002)
    yield 0
