"""The steps of P5, each in a process of its own: fill a database, measure two beside each other, walk over one."""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.harness import BenchError, answer, resident_mib, turns
from benchmarks.peers.store_kernel import KernelStore
from benchmarks.peers.store_rows import FOUND, Row, make_row
from benchmarks.store_child import WARM_UP_SECONDS, Work, are_fifty, finished, is_found, is_saved, timed, timed_async

AT_ONCE = 5000
KEYS = 4000
"""Ids that are asked for, spread over all rows."""
LOOK_EVERY = 20_000
"""Rows between two looks at the memory."""


async def load(place: str, rows: int) -> dict[str, Any]:
    """Fills a new database; gives some of the ids, and rows a second."""
    store = KernelStore()
    await store.open(place, "FULL")
    ids: list[str] = []
    begun = time.perf_counter()
    for first in range(0, rows, AT_ONCE):
        batch = [
            make_row(number, f"w{number % (rows // FOUND)}") for number in range(first, min(first + AT_ONCE, rows))
        ]
        saved = await store.db.save_entities("bench", batch)
        ids += [row["id"] for row in saved[:: max(1, rows // KEYS)]]
    elapsed = time.perf_counter() - begun
    await store.index()
    await store.close()
    return {"ids": ids, "per_second": rows / elapsed}


async def measure(
    databases: list[Any], raw: str, verbs: dict[str, list[str]], rounds: int, seconds: float
) -> dict[str, list[dict[str, float]]]:
    """Every verb on the small and the large database in turns; "kernel get 1 large" -> one result a round."""
    module, _, cls = raw.partition(":")
    raw_class = getattr(importlib.import_module(f"benchmarks.peers.{module}"), cls)
    work: dict[str, Work] = {}
    async with AsyncExitStack() as running:
        for size, place, ids, rows in databases:
            kernel, other = KernelStore(), raw_class()
            await kernel.open(place, "FULL")
            running.push_async_callback(kernel.close)
            await other.connect(place.partition("?")[0], "FULL")
            running.push_async_callback(other.close)
            arguments = _arguments(ids, rows)
            for name, store in (("kernel", kernel), ("raw", other)):
                work |= {f"{name} {verb} {size}": _work(store, verb, arguments) for verb in verbs[name]}
        for called in work.values():
            await finished(called(WARM_UP_SECONDS))
        results: dict[str, list[dict[str, float]]] = {name: [] for name in work}
        # The two sizes of a verb stand next to each other.
        for name in turns(sorted(work), rounds):
            gc.collect()
            results[name].append(await finished(work[name](seconds)))
    return results


def _arguments(ids: list[str], rows: int) -> dict[str, Callable[[], Iterator[Any]]]:
    chance = random.Random(4711)
    keys = chance.sample(ids, len(ids))
    workspaces = [f"w{number}" for number in chance.sample(range(rows // FOUND), min(KEYS, rows // FOUND))]

    def changed() -> Iterator[Row]:
        return ({"id": key, "amount": -number} for number, key in enumerate(itertools.cycle(keys)))

    return {
        "get": partial(itertools.cycle, keys),
        "find": partial(itertools.cycle, workspaces),
        # In workspaces of their own: those that are looked for keep their fifty rows.
        "save": partial(itertools.cycle, [make_row(number, f"s{number}") for number in range(256)]),
        "change": changed,
    }


def _work(store: Any, figure: str, arguments: dict[str, Callable[[], Iterator[Any]]]) -> Work:
    verb, _, callers = figure.partition(" ")
    call = {"get": "get", "find": "find", "save": "save", "change": "save"}[verb]
    check = {"get": is_found, "find": are_fifty, "save": is_saved, "change": is_saved}[verb]
    if store.sync:
        return partial(timed, getattr(store, call), arguments[verb](), check)
    return partial(timed_async, getattr(store, call), arguments[verb](), check, callers=int(callers))


async def walk(place: str, rows: int) -> dict[str, Any]:
    """Memory before and at most during iterate_entities over everything, in MiB."""
    store = KernelStore()
    await store.open(place, "FULL")
    are_fifty(await store.find("w1"))
    gc.collect()
    idle = peak = resident_mib(os.getpid())
    exact = _reset_high_water()
    count = 0
    begun = time.perf_counter()
    async for _ in store.db.iterate_entities("bench"):
        count += 1
        if count % LOOK_EVERY == 0:
            peak = max(peak, resident_mib(os.getpid()))
    elapsed = time.perf_counter() - begun
    peak = max(peak, resident_mib(os.getpid()), _high_water_mib() if exact else 0.0)
    await store.close()
    if count < rows:
        raise BenchError(f"iterate_entities gave {count} rows, not {rows}")
    return {"rows": count, "idle_mib": idle, "peak_mib": peak, "per_second": count / elapsed}


def _reset_high_water() -> bool:
    """Whether the high-water mark counts from here, which Linux may refuse; else what is seen now and then counts."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return True
    return False


def _high_water_mib() -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


STEPS: dict[str, Callable[..., Any]] = {"load": load, "measure": measure, "walk": walk}


async def run(step: str, **spec: Any) -> Any:
    """One step."""
    return await STEPS[step](**spec)


if __name__ == "__main__":
    answer(uvloop.run(run(**json.load(sys.stdin))))
