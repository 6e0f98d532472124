"""P3: the store alone, 13 fields with history on SQLite: save, get by id, find 50."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks import kernel_side
from benchmarks.harness import child, paired_ratios, scratch
from benchmarks.report import Goal, Group, Plain, Row
from benchmarks.settings import Settings

Results = dict[str, list[dict[str, float]]]
Wanted = Sequence[tuple[str, str, Goal | None]]
"""The kernel's figure, the peer's figure, goal."""
SPELLED = {
    "apsw": "apsw, raw", "asyncpg": "asyncpg, raw", "stack": "asyncpg, own pool", "sqlalchemy": "SQLAlchemy Core",
    "asyncmy": "asyncmy, raw", "text": "asyncmy, one text",
}  # fmt: skip
MODULES = {
    "apsw": "store_apsw:ApswStore",
    "sqlalchemy": "store_sqlalchemy:SqlalchemyStore",
    "dataset": "store_dataset:DatasetStore",
    "kernel": "store_kernel:KernelStore",
}
VERBS = {"find": "find 50", "save": "save", "get": "get", "change": "save of a given id"}
FULL: Wanted = (
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
NORMAL: Wanted = (
    ("save 1", "apsw save 1", None),
    ("save 32", "apsw save 1", Goal(">=", 0.7)),
    ("save 32", "sqlalchemy save 32", Goal(">=", 10)),
    ("save 32", "dataset save 1", Goal(">=", 5)),
)


def run(settings: Settings) -> Group:
    """First with synchronous=FULL, the default; then NORMAL, where the saves are worth a look."""
    group = Group("P3", "the store alone, 13 fields, history on, SQLite")
    stores = available(MODULES, group)
    with scratch() as folder:
        for synchronous, wanted in (("FULL", FULL), ("NORMAL", NORMAL)):
            inside = folder / synchronous
            placed = [(name, MODULES[name], str(inside / f"{name}.db")) for name in stores]
            results = measure(placed, ("save", "get", "find"), synchronous, settings, inside)
            group.raw[synchronous] = results
            group.rows += rows(results, wanted, f", {synchronous}")
            group.plain.append(figures(results, f"synchronous={synchronous}"))
    group.notes += [
        "32 callers are held against one caller of the synchronous driver, which is all it has.",
        "find 50 has no goal against SQLAlchemy Core: its 10x would be more than the raw driver itself reaches.",
        "apsw, raw gives what the driver gives (booleans as 0 and 1, the document as text); the kernel decodes both.",
    ]
    return group


def available(modules: Mapping[str, str], group: Group) -> list[str]:
    """The stores that can be measured here; what is missing becomes a note."""
    names = list(modules)
    if "dataset" in modules and importlib.util.find_spec("dataset") is None:
        group.notes.append("`dataset` is not installed: its rows are left out.")
        names.remove("dataset")
    if kernel_side.missing() is not None:
        names.remove("kernel")
    return names


def measure(
    stores: Sequence[tuple[str, str, str]], verbs: Sequence[str], synchronous: str, settings: Settings, folder: Path
) -> Results:
    """Each verb of each store, given as its name, its class and its place, in turns in one process."""
    spec = {
        "stores": stores,
        "verbs": verbs,
        "synchronous": synchronous,
        "rounds": settings.rounds,
        "seconds": settings.store_seconds,
        "workspaces": settings.workspaces,
    }
    results: Results = child("benchmarks.store_child", spec, folder, limit=240)
    return results


def rows(results: Results, wanted: Wanted, suffix: str) -> list[Row]:
    """The wanted comparisons, those left out of which a side was not measured."""
    found = []
    for figure, against, goal in wanted:
        peer, _, verb = against.partition(" ")
        if f"kernel {figure}" not in results or against not in results:
            continue
        ours = [result["per_second"] for result in results[f"kernel {figure}"]]
        theirs = [result["per_second"] for result in results[against]]
        found.append(
            Row(
                figure=f"{spelled(figure)}{suffix}",
                unit="/s",
                ours=median(ours),
                peer=f"{SPELLED.get(peer, peer)}, {verb.rpartition(' ')[2]} caller(s)",
                theirs=median(theirs),
                goal=goal,
                ratios=tuple(paired_ratios(ours, theirs)),
            )
        )
    return found


def spelled(figure: str) -> str:
    """A figure such as "find 32" in words."""
    verb, _, callers = figure.partition(" ")
    return f"{VERBS[verb]}, {callers} caller{'' if callers == '1' else 's'}"


def figures(results: Results, title: str) -> Plain:
    """Every store's own figures, medians over the rounds."""
    lines = []
    for name, found in results.items():
        store, _, figure = name.partition(" ")
        cells = [median(result[key] for result in found) for key in ("per_second", "p50_ms", "p99_ms", "cpu_us")]
        shown = (f"{cells[0]:,.0f}", f"{cells[1]:.3f}", f"{cells[2]:.3f}", f"{cells[3]:.0f}")
        lines.append((SPELLED.get(store, store), spelled(figure), *shown))
    head = ("store", "figure", "calls/s", "p50 ms", "p99 ms", "client's CPU us/call")
    return Plain(title, head, tuple(lines))
