"""Services that are killed in transactions that do everything at once, and what is there of them afterwards."""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from tests.faults.audit_fleet import run_worker
from tests.faults.audit_transactions import NAME
from tests.faults.children import ROOT
from tests.faults.durable_redis import DurableRedis
from tests.faults.metering_fleet import counted_of_users
from tests.faults.outbox_feature import look
from tests.zygote import Forked, start


def said(log: Path) -> str:
    """What a service said so far."""
    return log.read_text() if log.exists() else ""


class Killed:
    """The services of one pair of databases, one after the other."""

    def __init__(self, folder: Path, urls: tuple[str, str], redis: DurableRedis | None) -> None:
        self._folder, self.app, self.admin, self.redis = folder, *urls, redis
        self.acked: set[str] = set()
        self.undone: set[str] = set()

    async def start(self, run: str, when: str = "never") -> tuple[Forked, Path]:
        """A service that works."""
        log = self._folder / f"service-{run}.log"
        arguments = [self.app, self.admin, self.redis.url if self.redis else "-", run, when]
        with log.open("a") as out:
            program = "tests.faults.audit_transactions"
            process = start(program, arguments, cwd=ROOT, env=os.environ, stdout=out.fileno())
        deadline = time.monotonic() + 60
        while '"ready"' not in said(log):
            assert process.poll() is None, said(log)
            assert time.monotonic() < deadline, said(log)
            await asyncio.sleep(0.003)
        return process, log

    async def end(self, process: Forked, log: Path, *, kill: bool = True) -> None:
        """Kills a service, or lets it kill itself; what it had said is taken in."""
        if kill:
            process.kill()
        deadline = time.monotonic() + 60
        while process.poll() is None:
            assert time.monotonic() < deadline, said(log)
            await asyncio.sleep(0.003)
        for raw in said(log).splitlines(keepends=True):
            if raw.endswith("\n") and raw.startswith("{"):
                line: dict[str, Any] = json.loads(raw)
                self.acked |= {line["ack"]} if "ack" in line else set()
                self.undone |= {line["undone"]} if "undone" in line else set()

    async def prepare(self) -> None:
        """Makes the webhook."""
        await self.end(*await self.start("-"))

    async def deliver(self) -> None:
        """Lets a service, and a worker where there is Redis, carry what was committed."""
        process, log = await self.start("-")
        workers = []
        if self.redis is not None:
            workers.append(run_worker(self._folder, ["--redis", self.redis.url, "--db", self.admin]))
        deadline = time.monotonic() + 60
        try:
            while not await asyncio.to_thread(self._is_delivered):
                assert time.monotonic() < deadline, said(log) + said(self._folder / "workers.log")
                await asyncio.sleep(0.05)
        finally:
            for worker in workers:
                worker.kill()
            await self.end(process, log)
        for url in (self.app, self.admin):
            dead = await asyncio.to_thread(look, url, "SELECT id, topic, reason FROM kernel_dead_letters")
            assert not dead, f"given up: {dead}"

    def _is_delivered(self) -> bool:
        if look(self.app, "SELECT COUNT(*) FROM kernel_outbox WHERE batch IS NULL")[0][0]:
            return False
        if self.redis is None:
            return True
        with self.redis.client() as client:
            return not any(client.xlen(key) for key in client.scan_iter("admin:*", _type="stream"))

    def found(self) -> dict[str, set[str]]:
        """The ids of what there is, by kind, each once."""
        orders = f"FROM audit_logs WHERE app = '{NAME}' AND entity = 'orders' AND action = 'create'"
        kinds = {
            "row": look(self.app, "SELECT id FROM orders"),
            "history": look(self.app, "SELECT id FROM orders_history"),
            "audit": look(self.admin, f"SELECT entity_id {orders}"),
            "event": [(json.loads(body)["data"]["order"],) for (body,) in self._events()],
            "usage": self._counted("orders", 1),
            "cents": self._counted("cents", 7),
        }
        ids = {kind: [str(row[0]) for row in rows] for kind, rows in kinds.items()}
        ids["job"] = [id for id in self._jobs() if id.startswith("r")]
        for kind, listed in ids.items():
            assert len(listed) == len(set(listed)), f"{kind}: some are there twice"
        return {kind: set(listed) for kind, listed in ids.items()}

    def _events(self) -> list[tuple[Any, ...]]:
        return look(self.app, "SELECT body FROM kernel_webhook_events")

    def _counted(self, metric: str, value: int) -> list[tuple[Any, ...]]:
        return counted_of_users(self.admin, NAME, metric, value)

    def _jobs(self) -> list[str]:
        if self.redis is None:
            return [str(row[0]) for row in look(self.app, "SELECT id FROM kernel_jobs")]
        with self.redis.client() as client:
            return [id for key in client.keys("app_kernel:jobs:*:all") for id in client.zrange(key, 0, -1)]
