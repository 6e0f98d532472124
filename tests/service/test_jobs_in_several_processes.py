"""Several processes of one service, each with the embedded worker, on one SQLite file."""

import json
import time
import urllib.request
from collections import Counter
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.live_server import LiveServer, live_server

APP = """
import asyncio, json, os, time
from pathlib import Path
from fastapi import APIRouter
from app_kernel import JobRegistry, ServiceConfig, create_service, get_job_client
from app_kernel.db import get_db_connection
from app_kernel.jobs.queues import database, fetching

# A process that is not woken finds a job so late that no busy machine can be mistaken for it.
database.LOOK_SECONDS = fetching.POLL_SECONDS = 20.0

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
SOON = 3.0
"""Seconds; a process that only looked every 20 seconds would need 10 on average."""


def post(server: LiveServer, path: str) -> Any:
    request = urllib.request.Request(server.url + path, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def enqueue(connection: HTTPConnection, n: int, *, in_transaction: bool) -> int:
    """The process that did it."""
    connection.request("POST", f"/enqueue/{n}?in_transaction={in_transaction}")
    pid: int = json.load(connection.getresponse())
    return pid


def connection_to(server: LiveServer, pid: int) -> tuple[HTTPConnection, int]:
    """A connection to that one of the processes, and how many jobs were enqueued to find it."""
    address = urlsplit(server.url)
    for tries in range(1, 1001):
        connection = HTTPConnection(address.hostname or "", address.port, timeout=30)
        if enqueue(connection, -1, in_transaction=False) == pid:
            return connection, tries
        connection.close()
    raise AssertionError("one process answered everything")


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
        # The only place of that process is taken: what it enqueues is for the other, which has to hear of it. Over one
        # connection to it, because what the other one enqueues itself would wake it too.
        connection, tries = connection_to(server, held["pid"])
        before = 1 + tries
        with closing(connection):
            wait_for(tmp_path, before)
            for n in range(20):
                assert enqueue(connection, n, in_transaction=n % 2 == 0) == held["pid"]
                wait_for(tmp_path, before + n + 1, seconds=SOON)
        notes = ledger(tmp_path)[before:]
        assert [line["n"] for line in notes] == list(range(20))
        assert held["pid"] not in {line["pid"] for line in notes}
        waited = [line["time"] - line["at"] for line in notes]
        print(f"across processes {median(waited) * 1000:.1f} ms in the middle, {max(waited) * 1000:.0f} ms at most")
        (tmp_path / "go").touch()
        assert server.stop() == 0
    assert [line["event"] for line in server.lines() if line["level"] in ("warning", "error")] == []
