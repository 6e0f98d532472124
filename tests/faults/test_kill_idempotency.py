"""A service is killed anywhere in writes with keys: a retry finds the row and its answer, or neither."""

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.faults.figures import figure
from tests.faults.idempotent_service import ENTITY, LEASE, client_of, make_app, pay
from tests.faults.job_places import fault_place
from tests.faults.nursery import Fork, Nursery

KILLS = figure(short=5, long=1000)
LONGEST_LIFE = {"sqlite": 0.15, "postgres": 0.4}
"""Seconds between a service's first acknowledged write and its end."""


def said(log: Path) -> list[dict[str, Any]]:
    """What a service said so far; the last line of a killed one may be torn and is left out."""
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n") and line.startswith("{")]


async def heard(process: Fork, log: Path, word: str) -> None:
    """Waits until a service has said this word."""
    deadline = time.monotonic() + 30
    while not any(word in line for line in said(log)):
        assert process.poll() is None, said(log)
        assert time.monotonic() < deadline, said(log)
        await asyncio.sleep(0.003)


class Ledger:
    """What was tried and what was acknowledged, by mark."""

    def __init__(self) -> None:
        self.paths: dict[str, str] = {}
        self.acked: dict[str, str] = {}

    def add(self, log: Path) -> None:
        """Takes in what a service said."""
        for line in said(log):
            if "intent" in line:
                self.paths[line["intent"]] = line["path"]
            elif "ack" in line:
                assert line["status"] == 201, line
                self.acked[line["ack"]] = line["body"]

    def unsettled(self) -> list[str]:
        """What was tried and not acknowledged, and some of what was."""
        return [mark for mark in self.paths if mark not in self.acked] + sorted(self.acked)[
            :: len(self.acked) // 50 + 1
        ]


async def kill_often(folder: Path, url: str, life: float) -> Ledger:
    """Lets services work on the database one after the other, each until it is killed."""
    chance, ledger = random.Random(20_261_126), Ledger()
    with Nursery() as nursery:
        for kill in range(KILLS):
            log = folder / f"service-{kill}.log"
            process = nursery.fork("tests.faults.idempotent_service", [f"r{kill}"], {"DATABASE_URL": url}, log)
            await heard(process, log, "ack")
            await asyncio.sleep(chance.uniform(0, life))
            process.kill()
            while process.poll() is None:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.003)
            ledger.add(log)
    return ledger


async def check_retry(client: httpx2.AsyncClient, ledger: Ledger, mark: str, there: Counter[str]) -> str:
    """Sends a write again and looks whether what it gets is what became of the first; returns that in a word."""
    path = ledger.paths[mark]
    answer = await pay(client, path, mark)
    replayed = answer.headers.get("idempotency-replayed") == "true"
    if mark in ledger.acked:
        assert (answer.status_code, replayed, answer.text) == (201, True, ledger.acked[mark]), mark
        return "acknowledged"
    if path == "/once":
        assert answer.status_code == 201, (mark, answer.text)
        assert replayed == (there[mark] == 1), f"{mark}: its row is there without its answer, or the other way round"
    elif answer.status_code == 409:
        assert "unknown" in answer.json()["detail"]
        return "unknown"
    return "replayed" if replayed else "carried out anew"


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("RL5")
@pytest.mark.parametrize("backend", LONGEST_LIFE)
async def test_a_write_whose_process_was_killed_is_there_exactly_if_its_answer_is_and_a_retry_is_safe(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """12 kills at a random moment, in the long run 1,000."""
    server = request.getfixturevalue("postgres_url") if backend == "postgres" else None
    async with fault_place(backend, tmp_path, server) as place:
        ledger = await kill_often(tmp_path, place.database_url, LONGEST_LIFE[backend])
        app = make_app(place.database_url)
        async with client_of(app) as client:
            db = app.state.kernel.db.connection()
            there = Counter([row["mark"] async for row in db.iterate_entities(ENTITY)])
            assert max(there.values()) == 1
            assert there.keys() >= ledger.acked.keys()
            await asyncio.sleep(LEASE.total_seconds())
            became = Counter([await check_retry(client, ledger, mark, there) for mark in ledger.unsettled()])
            after = Counter([row["mark"] async for row in db.iterate_entities(ENTITY)])
    print(f"{backend}: {KILLS} kills, {len(ledger.acked)} acknowledged, of the others: {dict(became)}")
    assert max(after.values()) == 1
    assert {mark for mark, path in ledger.paths.items() if path == "/once"} <= after.keys()
    assert became["acknowledged"] >= KILLS // 2
    assert became["carried out anew"]


@pytest.mark.slow
@pytest.mark.acceptance("RL5")
@pytest.mark.parametrize("backend", LONGEST_LIFE)
async def test_a_process_that_was_stopped_in_its_transaction_commits_nothing_once_a_retry_has_taken_over(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("postgres_url") if backend == "postgres" else None
    async with fault_place(backend, tmp_path, server) as place:
        app, log = make_app(place.database_url), tmp_path / "stopped.log"
        async with client_of(app) as client:
            db = app.state.kernel.db.connection()
            await db.ensure_fields(ENTITY, {"mark": str})  # a transaction that makes its table holds everybody up
            with Nursery() as nursery:
                settings = {"DATABASE_URL": place.database_url}
                process = nursery.fork("tests.faults.idempotent_service", ["stopped"], settings, log)
                await heard(process, log, "stopping")
                await asyncio.sleep(LEASE.total_seconds())
                # On SQLite the stopped process has the only writer's place, so the retry has to wait for it.
                retry = asyncio.create_task(pay(client, "/once", "mark"))
                if backend == "postgres":
                    await retry
                os.kill(process.pid, signal.SIGCONT)
                answer = await retry
                await heard(process, log, "status")
            marks = [row["mark"] async for row in db.iterate_entities(ENTITY)]
    first = next(line["status"] for line in said(log) if "status" in line)
    assert marks == ["mark"]
    if backend == "postgres":
        assert (first, answer.status_code) == (409, 201)
    else:
        assert {first, answer.status_code} & {201}
