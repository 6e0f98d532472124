"""P3: the store alone, 13 fields with history on SQLite: save, get by id, find 50."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import kernel_side
from benchmarks.harness import child, paired_ratios, scratch
from benchmarks.report import Goal, Group, Plain, Row
from benchmarks.settings import Settings

Results = dict[str, list[dict[str, float]]]
SPELLED = {"apsw": "apsw, raw", "sqlalchemy": "SQLAlchemy Core", "dataset": "dataset"}
# (the kernel's figure, the peer's figure, goal)
FULL = (
    ("save 1", "apsw save 1", None),
    ("save 32", "apsw save 1", Goal(">=", 0.7)),
    ("get 1", "apsw get 1", Goal(">=", 0.35)),
    ("get 32", "apsw get 1", None),
    ("find 1", "apsw find 1", Goal(">=", 0.6)),
    ("find 32", "apsw find 1", None),
    ("save 1", "sqlalchemy save 1", None),
    ("save 32", "sqlalchemy save 32", Goal(">=", 10)),
    ("get 1", "sqlalchemy get 1", Goal(">=", 10)),
    ("get 32", "sqlalchemy get 32", Goal(">=", 10)),
    ("find 1", "sqlalchemy find 1", None),
    ("find 32", "sqlalchemy find 32", None),
    ("save 1", "dataset save 1", None),
    ("save 32", "dataset save 1", Goal(">=", 5)),
)
NORMAL = (
    ("save 1", "apsw save 1", None),
    ("save 32", "apsw save 1", Goal(">=", 0.7)),
    ("save 32", "sqlalchemy save 32", Goal(">=", 10)),
    ("save 32", "dataset save 1", Goal(">=", 5)),
)


def run(settings: Settings) -> Group:
    """First with synchronous=FULL, the default; then NORMAL, where the saves are worth a look."""
    group = Group("P3", "the store alone, 13 fields, history on, SQLite")
    stores = ["apsw", "sqlalchemy"]
    if importlib.util.find_spec("dataset") is None:
        group.notes.append("`dataset` is not installed: its row is left out.")
    else:
        stores.append("dataset")
    if kernel_side.missing() is None:
        stores.append("kernel")
    with scratch() as folder:
        for synchronous, wanted in (("FULL", FULL), ("NORMAL", NORMAL)):
            results = _measure(stores, synchronous, settings, folder / synchronous)
            group.raw[synchronous] = results
            group.rows += _rows(results, wanted, synchronous)
            group.plain.append(_figures(results, synchronous))
    group.notes += [
        "32 callers are held against one caller of the synchronous driver, which is all it has.",
        "find 50 has no goal against SQLAlchemy Core: its 10x would be more than the raw driver itself reaches.",
        "apsw, raw gives what the driver gives (booleans as 0 and 1, the document as text); the kernel decodes both.",
    ]
    return group


def _measure(stores: list[str], synchronous: str, settings: Settings, folder: Path) -> Results:
    spec = {
        "stores": stores,
        "synchronous": synchronous,
        "rounds": settings.rounds,
        "seconds": settings.store_seconds,
        "workspaces": settings.workspaces,
    }
    results: Results = child("benchmarks.p3_child", spec, folder, limit=240)
    return results


def _rows(results: Results, wanted: Any, synchronous: str) -> list[Row]:
    rows = []
    for figure, against, goal in wanted:
        peer, _, verb = against.partition(" ")
        if f"kernel {figure}" not in results or against not in results:
            continue
        ours = [result["per_second"] for result in results[f"kernel {figure}"]]
        theirs = [result["per_second"] for result in results[against]]
        rows.append(
            Row(
                figure=f"{_named(figure)}, {synchronous}",
                unit="/s",
                ours=median(ours),
                peer=f"{SPELLED[peer]}, {verb.rpartition(' ')[2]} caller(s)",
                theirs=median(theirs),
                goal=goal,
                ratios=tuple(paired_ratios(ours, theirs)),
            )
        )
    return rows


def _named(figure: str) -> str:
    verb, _, callers = figure.partition(" ")
    return f"{'find 50' if verb == 'find' else verb}, {callers} caller{'' if callers == '1' else 's'}"


def _figures(results: Results, synchronous: str) -> Plain:
    rows = []
    for name, found in results.items():
        store, _, figure = name.partition(" ")
        cells = [median(result[key] for result in found) for key in ("per_second", "p50_ms", "p99_ms")]
        rows.append(
            (SPELLED.get(store, store), _named(figure), f"{cells[0]:,.0f}", f"{cells[1]:.3f}", f"{cells[2]:.3f}")
        )
    return Plain(f"synchronous={synchronous}", ("store", "figure", "calls/s", "p50 ms", "p99 ms"), tuple(rows))
