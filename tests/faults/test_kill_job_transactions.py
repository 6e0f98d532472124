"""A service is killed anywhere in a transaction that saves a row and enqueues a job: there are both, or neither."""

import asyncio
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.children import ROOT
from tests.faults.figures import figure
from tests.faults.job_places import PAIRS, FaultPlace, fault_place
from tests.faults.outbox_feature import look
from tests.zygote import Forked, start

KILLS = figure(short=12, long=1000)
LONGEST_LIFE = {"sqlite": 0.08, "postgres": 0.3}
"""Seconds between a service's first word and its end; the first transactions on a server take their time."""


def said(log: Path) -> str:
    """What a service said so far."""
    return log.read_text() if log.exists() else ""


class Run:
    """The services of one place, one after the other."""

    def __init__(self, folder: Path, place: FaultPlace) -> None:
        self._folder, self._place = folder, place
        self.acked: set[str] = set()
        self.undone: set[str] = set()

    async def start(self, run: str) -> tuple[Forked, Path]:
        """A service that works."""
        log = self._folder / f"service-{run}.log"
        settings = {"DATABASE_URL": self._place.database_url}
        if self._place.redis_url is not None:
            settings["REDIS_URL"] = self._place.redis_url
        with log.open("a") as out:
            process = start(
                "tests.faults.job_transactions", [run], cwd=ROOT, env={**os.environ, **settings}, stdout=out.fileno()
            )
        deadline = time.monotonic() + 30
        while '"ready"' not in said(log):
            assert process.poll() is None, said(log)
            assert time.monotonic() < deadline, said(log)
            await asyncio.sleep(0.003)
        return process, log

    async def end(self, process: Forked, log: Path) -> None:
        """Kills a service; what it had said is taken in."""
        process.kill()
        while process.poll() is None:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.003)
        for raw in said(log).splitlines(keepends=True):
            if raw.endswith("\n") and raw.startswith("{"):
                line: dict[str, Any] = json.loads(raw)
                self.acked |= {line["ack"]} if "ack" in line else set()
                self.undone |= {line["undone"]} if "undone" in line else set()

    async def deliver(self) -> None:
        """Lets a service carry what has been committed to the queue."""
        process, log = await self.start("-")
        deadline = time.monotonic() + 60
        unsent = "SELECT COUNT(*) FROM kernel_outbox WHERE batch IS NULL"
        while (await asyncio.to_thread(look, self._place.database_url, unsent))[0][0]:
            assert time.monotonic() < deadline, said(log)
            await asyncio.sleep(0.05)
        await self.end(process, log)
        dead = await asyncio.to_thread(look, self._place.database_url, "SELECT id, reason FROM kernel_dead_letters")
        assert not dead, f"the relay gave jobs up: {dead}"

    def rows(self) -> set[str]:
        """The rows there are."""
        return {str(row[0]) for row in look(self._place.database_url, "SELECT id FROM orders")}

    def jobs(self) -> set[str]:
        """The jobs there are."""
        if self._place.redis is None:
            return {str(row[0]) for row in look(self._place.database_url, "SELECT id FROM kernel_jobs")}
        with self._place.redis.client() as client:
            return {id for key in client.keys("app_kernel:jobs:*:all") for id in client.zrange(key, 0, -1)}


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("JB3")
@pytest.mark.parametrize("pair", PAIRS)
async def test_a_job_of_a_killed_transaction_is_there_exactly_if_its_row_is(
    pair: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """40 kills at a random moment, in the long run 1,000."""
    server = request.getfixturevalue("postgres_url") if pair.startswith("postgres") else None
    chance, life = random.Random(20_261_129), LONGEST_LIFE["postgres" if server else "sqlite"]
    async with fault_place(pair, tmp_path, server) as place:
        run = Run(tmp_path, place)
        kill = 0
        # On a machine under load a life may be too short for a commit: then more lives, until enough has happened.
        while kill < KILLS or (kill < 5 * KILLS and (len(run.acked) <= KILLS // 2 or not run.undone)):
            kill += 1
            process, log = await run.start(f"r{kill}")
            await asyncio.sleep(chance.uniform(0, life))
            await run.end(process, log)
        if place.redis is not None:
            await run.deliver()
        rows, jobs = await asyncio.to_thread(lambda: (run.rows(), run.jobs()))
    print(f"{pair}: {kill} kills, {len(rows)} rows, {len(jobs)} jobs, {len(run.acked)} acknowledged commits")
    assert rows == jobs, f"rows without a job: {sorted(rows - jobs)[:5]}; jobs without a row: {sorted(jobs - rows)[:5]}"
    assert rows >= run.acked
    assert not rows & run.undone
    assert len(run.acked) > KILLS // 2
    assert run.undone
