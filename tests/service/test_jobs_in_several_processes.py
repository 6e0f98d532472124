"""Several processes of one service, each with the embedded worker, on one SQLite file."""

import json
import time
import urllib.request
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.live_server import LiveServer, live_server

APP = """
import asyncio, json, os, time
from pathlib import Path
from fastapi import APIRouter
from app_kernel import JobRegistry, ServiceConfig, create_service, get_job_client
from app_kernel.db import get_db_connection

registry, router = JobRegistry(), APIRouter()

def write(**line):
    line |= {"pid": os.getpid(), "time": time.time()}
    ledger = os.open("ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(ledger, json.dumps(line).encode() + b"\\n")
    os.close(ledger)

@registry.task("note")
async def note(n: int, at: float):
    write(n=n, at=at)
    await asyncio.sleep(0.002)

@registry.task("hold")
async def hold():
    write(held=True)
    while not Path("go").exists():
        await asyncio.sleep(0.02)

@router.post("/enqueue/{n}")
async def enqueue(n: int, in_transaction: bool = False):
    client = get_job_client()
    payload = {"n": n, "at": time.time()}
    if in_transaction:
        async with get_db_connection() as db, db.transaction():
            await db.save_entity("orders", {"n": n})
            await client.enqueue("note", payload)
    else:
        await client.enqueue("note", payload)
    return os.getpid()

@router.post("/hold")
async def post_hold():
    await get_job_client().enqueue("hold")

config = ServiceConfig(auth_enabled=False, database_name="app.db", worker_concurrency=int(os.environ["PLACES"]))
app = create_service("several", config=config, routers=[router], tasks=registry)
"""
SOON = 0.3
"""Seconds; a process that only looked every second would need half of one on average."""


def post(server: LiveServer, path: str) -> Any:
    request = urllib.request.Request(server.url + path, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def ledger(folder: Path) -> list[dict[str, Any]]:
    """What the handlers wrote."""
    file = folder / "ledger"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(folder: Path, count: int, seconds: float = 30) -> list[dict[str, Any]]:
    deadline = time.monotonic() + seconds
    while len(lines := ledger(folder)) < count:
        assert time.monotonic() < deadline, f"{len(lines)} of {count} ran"
        time.sleep(0.02)
    return lines


@pytest.mark.slow
@pytest.mark.acceptance("JB1")
def test_each_job_runs_once_in_one_of_them(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(APP)
    with live_server(tmp_path, "--workers", "2", PLACES="4") as server:
        enqueuers = Counter(post(server, f"/enqueue/{n}?in_transaction={n % 2 == 0}") for n in range(200))
        lines = wait_for(tmp_path, 200)
        # Whatever would run twice has had the time for it.
        time.sleep(1)
        lines = ledger(tmp_path)
        assert sorted(line["n"] for line in lines) == list(range(200))
        assert len(enqueuers) == 2, "one process answered everything"
        assert {line["pid"] for line in lines} == set(enqueuers)
        waited = [line["time"] - line["at"] for line in lines]
        print(f"of 200 jobs {median(waited) * 1000:.1f} ms in the middle, {max(waited) * 1000:.0f} ms at most")
        assert median(waited) < SOON
        assert server.stop() == 0
    assert [line["event"] for line in server.lines() if line["level"] in ("warning", "error")] == []


@pytest.mark.slow
def test_a_process_is_woken_by_what_another_one_enqueues(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(APP)
    with live_server(tmp_path, "--workers", "2", PLACES="1") as server:
        post(server, "/hold")
        (held,) = wait_for(tmp_path, 1)
        # The only place of one process is taken: what that one enqueues is for the other, which has to hear of it.
        enqueued: list[int] = []
        for n in range(60):
            if post(server, f"/enqueue/{n}?in_transaction={n % 2 == 0}") == held["pid"]:
                enqueued.append(n)
            time.sleep(0.02)
        assert len(enqueued) > 5, "one process answered everything"
        notes = {line["n"]: line for line in wait_for(tmp_path, 61)[1:]}
        assert all(line["pid"] != held["pid"] for line in notes.values())
        waited = [notes[n]["time"] - notes[n]["at"] for n in enqueued]
        print(f"across processes {median(waited) * 1000:.1f} ms in the middle, {max(waited) * 1000:.0f} ms at most")
        assert median(waited) < SOON
        (tmp_path / "go").touch()
        assert server.stop() == 0
    assert [line["event"] for line in server.lines() if line["level"] in ("warning", "error")] == []
