"""One process of P6 and P7: it enqueues, or works, or both. It runs in a peer's own environment too: no import here
is from outside of the standard library, but the peer's."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import signal
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import BenchError, answer
from benchmarks.job_board import Board

GROUP = 100
PAUSE = 0.02
WARM_UP = 20
START_SECONDS = 20.0


def peer_of(spec: dict[str, Any]) -> Any:
    """The peer, over its place."""
    logging.basicConfig(level=logging.WARNING)
    module, _, cls = spec["peer"].partition(":")
    return getattr(importlib.import_module(f"benchmarks.peers.{module}"), cls)(spec["place"])


async def enqueue(spec: dict[str, Any]) -> dict[str, float]:
    """So many jobs one by one, the others in hundreds; jobs a second and CPU microseconds a job of either."""
    peer, one, jobs = peer_of(spec), spec["one"], spec["jobs"]
    await peer.open()
    found: dict[str, float] = {}
    # Connects, and loads scripts and statements.
    for number in range(WARM_UP):
        await peer.enqueue(number)
    begun, cpu = time.perf_counter(), time.process_time()
    for number in range(WARM_UP, WARM_UP + one):
        await peer.enqueue(number)
    found["one"], found["one_us"] = _rate(one, begun, cpu)
    begun, cpu = time.perf_counter(), time.process_time()
    for first in range(WARM_UP + one, jobs, GROUP):
        await peer.enqueue_many(range(first, min(first + GROUP, jobs)))
    found["hundreds"], found["hundreds_us"] = _rate(jobs - one - WARM_UP, begun, cpu)
    await peer.close()
    return found


def _rate(jobs: int, begun: float, cpu: float) -> tuple[float, float]:
    return jobs / (time.perf_counter() - begun), (time.process_time() - cpu) / jobs * 1e6


async def work(spec: dict[str, Any]) -> dict[str, float]:
    """Runs jobs from the sign on the board until SIGTERM."""
    peer = peer_of(spec)
    board = Board(Path(spec["board"]), spec["jobs"], spec["worker"])
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    peer.prepare(spec["concurrency"], board.started)
    board.get_ready()
    while not board.may_begin and not ending.is_set():  # noqa: ASYNC110 - the sign comes from another process
        await asyncio.sleep(0.002)
    await peer.work(ending)
    board.close()
    return {"cpu": time.process_time()}


async def ping(spec: dict[str, Any]) -> list[float]:
    """One job each 20 ms to a worker that has nothing else to do; when each `enqueue` was called."""
    peer, jobs = peer_of(spec), spec["jobs"]
    board = Board(Path(spec["board"]), jobs)
    if spec["embedded"]:
        peer.prepare(spec["concurrency"], board.started)
    await peer.open(embedded=spec["embedded"])
    called = []
    due = time.perf_counter()
    for number in range(jobs):
        due = max(due + PAUSE, time.perf_counter())
        await asyncio.sleep(due - time.perf_counter())
        called.append(time.perf_counter())
        await peer.enqueue(number)
        if number == 0:
            await _until(board, 1)
    await _until(board, jobs)
    await peer.close()
    return called


async def _until(board: Board, ran: int) -> None:
    late = time.perf_counter() + START_SECONDS
    while board.ran < ran:
        if time.perf_counter() > late:
            raise BenchError(f"{board.ran} of {ran} jobs ran")
        await asyncio.sleep(0.005)


STEPS: dict[str, Any] = {"enqueue": enqueue, "work": work, "ping": ping}

if __name__ == "__main__":
    given = json.load(sys.stdin)
    answer(asyncio.run(STEPS[given["step"]](given)))
