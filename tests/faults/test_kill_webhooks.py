"""Workers are killed while webhooks go to a receiver that fails in every way: every event arrives or is seen dead."""

import asyncio
import json
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app_kernel.core.ports import EntityStore
from app_kernel.db import create_database
from app_kernel.testing import kernel_client
from app_kernel.webhooks import create_webhook, trigger_webhook_event
from app_kernel.webhooks.attempts import Answer
from app_kernel.webhooks.tables import DELIVERIES
from tests.api_keys.serving import fresh_schema
from tests.faults.children import ROOT
from tests.faults.figures import SOAK, figure
from tests.faults.job_fleet import HURRY, OWN_BEAT
from tests.faults.job_places import FaultPlace
from tests.faults.webhook_receiver import KINDS
from tests.webhooks.serving import SECRET, URL, make_app, serving
from tests.zygote import Forked, start

EVENTS = figure(short=150, long=5000)
KILLS = figure(short=3, long=20)
SCALE = figure(short=1 / 20_000, long=1 / 1000)
BEAT = OWN_BEAT if SOAK else HURRY
WORKERS, CONCURRENCY = 2, 10
SECONDS = figure(short=90.0, long=3600.0)


class Deliverers:
    """Worker processes, and the receiver that they send to; all dead at the end."""

    def __init__(self, folder: Path, place: FaultPlace) -> None:
        self.folder = folder
        self._place = place
        self.workers: list[Forked] = []
        self.all: list[Forked] = []
        self.ledger, self.port, self.secrets = folder / "arrived.jsonl", folder / "port", folder / "secrets.json"

    @property
    def settings(self) -> dict[str, Any]:
        given = {"database_name": self._place.database_url, "redis_url": self._place.redis_url}
        options = {"webhook_allow_private": True, "webhook_timeout_seconds": 0.5, "embedded_worker": False}
        return {name: value for name, value in {**given, **options}.items() if value is not None}

    def _start(self, module: str, arguments: list[str], environment: dict[str, str]) -> Forked:
        with (self.folder / f"{module.rpartition('.')[2]}-{len(self.all)}.log").open("a") as out:
            process = start(module, arguments, cwd=ROOT, env={**os.environ, **environment}, stdout=out.fileno())
        self.all.append(process)
        return process

    def work(self) -> None:
        """One more worker."""
        environment = {
            "DATABASE_URL": self._place.database_url, "JWT_SECRET": SECRET, "WEBHOOK_ALLOW_PRIVATE": "true",
            "WEBHOOK_TIMEOUT_SECONDS": "0.5", "SERVICE_NAME": "hooks",
        }  # fmt: skip
        if self._place.redis_url is not None:
            environment["REDIS_URL"] = self._place.redis_url
        options = ["--tasks", "tests.faults.job_tasks", "--concurrency", str(CONCURRENCY), "--log-level", "ERROR"]
        self.workers.append(self._start("tests.faults.webhook_worker", [str(BEAT), str(SCALE), *options], environment))

    def receive(self, secrets: dict[str, str]) -> int:
        """The receiver; its port."""
        self.secrets.write_text(json.dumps(secrets))
        self._start("tests.faults.webhook_receiver", [str(self.secrets), str(self.ledger), str(self.port)], {})
        deadline = time.monotonic() + 60
        while not self.port.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return int(self.port.read_text())

    def kill_one(self, chance: random.Random) -> None:
        """SIGKILL for a worker, which another one follows."""
        worker = self.workers.pop(chance.randrange(len(self.workers)))
        worker.kill()
        worker.wait(10)
        self.work()

    async def seen(self, events: int) -> None:
        """Returns when so many events have come to the receiver, taken or not."""
        deadline = time.monotonic() + SECONDS
        while len({line["id"] for line in self.arrived()}) < events:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)

    def arrived(self) -> list[dict[str, Any]]:
        """The lines of the ledger."""
        return [json.loads(line) for line in self.ledger.read_text().splitlines()] if self.ledger.exists() else []


@asynccontextmanager
async def deliverers(folder: Path, place: FaultPlace) -> AsyncIterator[Deliverers]:
    made = Deliverers(folder, place)
    try:
        yield made
    finally:
        for process in made.all:
            process.kill()


async def make_webhooks(running: Deliverers, place: FaultPlace) -> dict[str, str]:
    """A webhook for each kind of failure, by kind; the receiver knows their secrets."""
    app = make_app(None, [], log_level="ERROR", **running.settings)
    secrets, hooks = {}, {}
    async with kernel_client(app, database=None) as client:
        made = {kind: await create_webhook(client.db, "w1", url=URL, events=[f"kind.{kind}"]) for kind in KINDS}
        secrets = {kind: hook["secret"] for kind, hook in made.items()}
        port = await asyncio.to_thread(running.receive, secrets)
        for kind, hook in made.items():
            await client.db.privileged.save_entity(
                "kernel_webhooks", {"id": hook["id"], "url": f"http://127.0.0.1:{port}/{kind}"}
            )
            hooks[kind] = hook["id"]
    return hooks


async def trigger_all(db: EntityStore, acked: dict[str, int]) -> None:
    """Every event, spread over the kills; what was acknowledged, with its number."""
    for number in range(EVENTS):
        kind = KINDS[number % len(KINDS)]
        event_id = await trigger_webhook_event(db, "w1", event=f"kind.{kind}", data={"n": number})
        acked[event_id] = number
        await asyncio.sleep(0.02)


async def settled(db: EntityStore) -> None:
    """Returns when no event waits and no delivery is still tried."""
    async with asyncio.timeout(SECONDS):
        while True:
            waiting = await db.privileged.execute("SELECT COUNT(*) FROM [kernel_outbox] WHERE [batch] IS NULL")
            pending = await db.privileged.count_entities(DELIVERIES, "[status] = 'pending'")
            made = await db.privileged.count_entities(DELIVERIES)
            if not waiting[0][0] and not pending and made == EVENTS:
                return
            await asyncio.sleep(0.2)


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("WH3")
async def test_every_event_arrives_or_is_seen_dead_while_workers_are_killed(
    job_place: FaultPlace, tmp_path: Path
) -> None:
    """150 events and 3 kills; in the long run 5,000 and 20, with the kernel's own beats and longer waits."""
    chance, acked = random.Random(20_261_127), dict[str, int]()
    began = time.monotonic()
    async with deliverers(tmp_path, job_place) as running:
        hooks = await make_webhooks(running, job_place)
        for _ in range(WORKERS):
            running.work()
        database = create_database(job_place.database_url)
        await database.open()
        db = database.connection()
        try:
            coming = asyncio.create_task(trigger_all(db, acked))
            for kill in range(KILLS):
                # An eighth of the events is for a receiver that is gone, and never seen there.
                await running.seen(EVENTS * (kill + 1) // (KILLS + 2) * 7 // 8)
                running.kill_one(chance)
            await coming
            await settled(db)
            rows = await db.privileged.find_entities(DELIVERIES)
        finally:
            await database.close()
    told = check_ledger(rows, running.arrived(), acked, hooks)
    print(f"{job_place.name}: {EVENTS} events, {KILLS} kills, {told}, {time.monotonic() - began:.0f} s")


def check_ledger(
    rows: list[dict[str, Any]], lines: list[dict[str, Any]], acked: dict[str, int], hooks: dict[str, str]
) -> str:
    """Nothing is lost: each event was taken under its own id, or is seen as dead or skipped."""
    assert len(acked) == EVENTS
    assert {row["event_id"] for row in rows} == acked.keys()
    assert len(rows) == EVENTS
    assert {line["id"]: line["n"] for line in lines}.items() <= acked.items()
    taken = defaultdict(int)
    for line in lines:
        taken[line["id"]] += line["taken"]
    statuses = defaultdict(int)
    kinds = {id: kind for kind, id in hooks.items()}
    for row in rows:
        statuses[row["status"]] += 1
        kind = kinds[row["webhook_id"]]
        assert row["event"] == f"kind.{kind}"
        if row["status"] == "delivered":
            assert taken[row["event_id"]] >= 1, row
            assert kind != "404"
        else:
            assert row["status"] in ("dead", "skipped"), row
            assert kind in ("410",) or row["attempts"] == 8, row
        if kind in ("404",):
            assert row["status"] == "dead"
    again = sum(count - 1 for count in taken.values() if count > 1)
    assert again <= WORKERS * CONCURRENCY * KILLS
    return f"0 lost, {dict(statuses)}, {len(lines)} requests, {again} taken a second time"


@pytest.mark.acceptance("WH4")
async def test_an_event_whose_process_is_killed_leaves_if_and_only_if_it_was_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    async with fresh_schema(request.getfixturevalue("postgres_url")) as schema:
        for url in (f"sqlite:///{tmp_path / 'app.db'}", schema):
            async with serving(monkeypatch, url, frozen_at=None) as service:
                hook = await create_webhook(service.db, "w1", url=URL, events=["*"])
            for when in ("inside", "after"):
                with (tmp_path / "log").open("a") as out:
                    killed = start(
                        "tests.faults.webhook_trigger", [url, when], cwd=ROOT, env=dict(os.environ), stdout=out.fileno()
                    )
                assert await asyncio.to_thread(killed.wait, 60) == -signal.SIGKILL
            async with serving(monkeypatch, url, frozen_at=None) as service:
                service.receivers.answers(Answer("delivered", 200))
                async with asyncio.timeout(30):
                    while not (rows := await service.deliveries(hook["id"])):
                        await service.carried()
                await service.drain()
                assert [row["event"] for row in rows] == ["killed.after"]
                assert len(service.receivers.orders) == 1
                assert [row["id"] for row in await service.db.find_entities("orders")] == ["after"]
