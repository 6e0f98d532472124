"""The stores of P3 or P4 in one process, in turns, each on a database of its own."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import uvloop

from benchmarks.harness import BenchError, answer, percentile, turns
from benchmarks.peers.store_rows import FOUND, Row, Store, make_row

ROWS_TO_SAVE = 256
MOST_CALLS = 60_000
WARM_UP_SECONDS = 0.05
Call = Callable[[Any], Any]
Work = Callable[[float], Any]
"""Runs for so many seconds."""


class Timing:
    """Calls of one measured stretch; the clock is read once a call."""

    def __init__(self, seconds: float) -> None:
        self.begun = time.perf_counter()
        self.cpu_begun = time.process_time()
        self.until = self.begun + seconds
        self.latencies: list[float] = []

    def over(self, since: float) -> float | None:
        """Note a call begun at `since`; gives the time now, None when the stretch is over."""
        now = time.perf_counter()
        self.latencies.append(now - since)
        return None if now >= self.until or len(self.latencies) >= MOST_CALLS else now

    def result(self) -> dict[str, float]:
        """Calls per second, latencies in ms, and the CPU time of this process in us a call."""
        elapsed = time.perf_counter() - self.begun
        cpu = time.process_time() - self.cpu_begun
        return {
            "per_second": len(self.latencies) / elapsed,
            "p50_ms": median(self.latencies) * 1000,
            "p99_ms": percentile(self.latencies, 0.99) * 1000,
            "cpu_us": cpu / len(self.latencies) * 1e6,
            "calls": len(self.latencies),
        }


def timed(call: Call, arguments: Iterator[Any], check: Call, seconds: float) -> dict[str, float]:
    """One caller of a synchronous store."""
    timing = Timing(seconds)
    since: float | None = timing.begun
    while since is not None:
        check(call(next(arguments)))
        since = timing.over(since)
    return timing.result()


async def timed_async(
    call: Call, arguments: Iterator[Any], check: Call, seconds: float, callers: int
) -> dict[str, float]:
    """So many callers at once, each with its next call as soon as the last is answered."""
    timing = Timing(seconds)

    async def caller() -> None:
        since: float | None = time.perf_counter()
        while since is not None:
            check(await call(next(arguments)))
            since = timing.over(since)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return timing.result()


def is_saved(row: Any) -> None:
    """A save gives the whole row."""
    if not row["id"] or not row["created_at"]:
        raise BenchError(f"save gave {row}")


def is_found(row: Any) -> None:
    """A get finds its row."""
    if row is None or row["city"] != "Ljubljana":
        raise BenchError(f"get gave {row}")


def are_fifty(rows: Any) -> None:
    """A find gives all rows of the workspace."""
    if len(rows) != FOUND:
        raise BenchError(f"find gave {len(rows)} rows, not {FOUND}")


async def fill(store: Store, workspaces: int) -> list[str]:
    """Fifty rows in each workspace; gives their ids."""
    keys: list[str] = []
    for number in range(workspaces * FOUND):
        saved: Any = store.save(make_row(number, f"w{number % workspaces}"))
        row: Row = saved if store.sync else await saved
        keys.append(row["id"])
        if number == 0:
            await store.index()
    return keys


def changes(keys: list[str], workspaces: int) -> Iterator[Row]:
    """The rows that `fill` has made, each time with another amount."""
    made = [{**make_row(at, f"w{at % workspaces}"), "id": key} for at, key in enumerate(keys)]
    for number, row in enumerate(itertools.cycle(made)):
        yield {**row, "amount": -number}


async def run(spec: dict[str, Any]) -> dict[str, list[dict[str, float]]]:
    """Every verb of every store in turns; "kernel save 32" -> one result a round."""
    stores: dict[str, Store] = {}
    work: dict[str, Work] = {}
    rows = [make_row(number, f"s{number}") for number in range(ROWS_TO_SAVE)]
    for name, made_by, place in spec["stores"]:
        module, _, cls = made_by.partition(":")
        store = getattr(importlib.import_module(f"benchmarks.peers.{module}"), cls)()
        await store.open(place, spec["synchronous"])
        stores[name] = store
        keys = await fill(store, spec["workspaces"])
        work |= _work(name, store, keys, rows, spec)
    for called in work.values():
        # Opens connections and prepares statements.
        await finished(called(WARM_UP_SECONDS))
    results: dict[str, list[dict[str, float]]] = {name: [] for name in work}
    # By figure, so that the sides that are compared run next to each other.
    for name in turns(sorted(work, key=lambda name: name.partition(" ")[2]), spec["rounds"]):
        results[name].append(await finished(work[name](spec["seconds"])))
    for store in stores.values():
        await store.close()
    return results


async def finished(found: Any) -> dict[str, float]:
    """The result of a stretch, which for an asynchronous store is still to be awaited."""
    result: dict[str, float] = await found if asyncio.iscoroutine(found) else found
    return result


def _work(name: str, store: Store, keys: list[str], rows: list[Row], spec: dict[str, Any]) -> dict[str, Work]:
    workspaces = [f"w{number}" for number in range(spec["workspaces"])]
    verbs: dict[str, tuple[Call, Iterator[Any], Call]] = {
        "save": (store.save, itertools.cycle(rows), is_saved),
        "change": (store.save, changes(keys, len(workspaces)), is_saved),
        "get": (store.get, itertools.cycle(keys), is_found),
        "find": (store.find, itertools.cycle(workspaces), are_fifty),
    }
    if store.sync:
        return {f"{name} {verb} 1": partial(timed, *verbs[verb]) for verb in spec["verbs"]}
    return {
        f"{name} {verb} {callers}": partial(timed_async, *verbs[verb], callers=callers)
        for verb in spec["verbs"]
        for callers in (1, 32)
    }


if __name__ == "__main__":
    answer(uvloop.run(asyncio.wait_for(run(json.load(sys.stdin)), 200)))
