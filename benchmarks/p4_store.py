"""P4: the store alone, 13 fields with history on database servers: save, save of a given id, get by id, find 50."""

from __future__ import annotations

from statistics import median

from benchmarks.harness import scratch
from benchmarks.mariadb import mariadb
from benchmarks.p3_store import Results, Wanted, available, figures, measure, rows
from benchmarks.peers.store_rows import POOL
from benchmarks.postgres import postgres
from benchmarks.report import Goal, Group
from benchmarks.servers import with_pool
from benchmarks.settings import Settings

MODULES = {
    "asyncpg": "store_asyncpg:AsyncpgStore",
    "stack": "store_asyncpg:AsyncpgStackStore",
    "sqlalchemy": "store_sqlalchemy:PostgresSqlalchemyStore",
    "dataset": "store_dataset:PostgresDatasetStore",
    "kernel": "store_kernel:KernelStore",
}
MARIADB_MODULES = {
    "asyncmy": "store_asyncmy:AsyncmyStore",
    "text": "store_asyncmy:AsyncmyTextStore",
    "kernel": "store_kernel:KernelStore",
}
VERBS = ("save", "change", "get", "find")
RAW = Goal(">=", 0.8)
WANTED: Wanted = (
    *((f"{verb} {callers}", f"asyncpg {verb} {callers}", RAW) for verb in VERBS[:3] for callers in (1, 32)),
    *((f"find {callers}", f"asyncpg find {callers}", None) for callers in (1, 32)),
    *((f"{verb} {callers}", f"stack {verb} {callers}", None) for verb in VERBS for callers in (1, 32)),
    ("save 1", "sqlalchemy save 1", None),
    ("save 32", "sqlalchemy save 32", Goal(">=", 10)),
    ("get 1", "sqlalchemy get 1", Goal(">=", 10)),
    ("get 32", "sqlalchemy get 32", Goal(">=", 10)),
    ("find 1", "sqlalchemy find 1", None),
    ("find 32", "sqlalchemy find 32", None),
    ("save 1", "dataset save 1", None),
    ("save 32", "dataset save 1", Goal(">=", 5)),
)
MARIADB_WANTED: Wanted = (
    *((f"{verb} {callers}", f"asyncmy {verb} {callers}", RAW) for verb in VERBS[:3] for callers in (1, 32)),
    *((f"find {callers}", f"asyncmy find {callers}", None) for callers in (1, 32)),
    *((f"{verb} {callers}", f"text {verb} {callers}", None) for verb in VERBS for callers in (1, 32)),
)


def run(settings: Settings) -> Group:
    """Every side has a database of its own on one server, and as many connections."""
    group = Group("P4", f"the store alone, 13 fields, history on, PostgreSQL, {POOL} connections")
    with scratch() as folder, postgres(folder) as server:
        names = available(MODULES, group)
        places = server.databases(names)
        if "kernel" in places:
            places["kernel"] = with_pool(places["kernel"])
        stores = [(name, MODULES[name], places[name]) for name in names]
        results = measure(stores, VERBS, "", settings, folder / "stores")
        group.notes.append(server.about())
    compare(group, results)
    return group


def run_on_mariadb(settings: Settings) -> Group:
    """As `run`, on MariaDB."""
    group = Group("P4", f"the store alone, 13 fields, history on, MariaDB, {POOL} connections")
    with scratch() as folder, mariadb(folder) as server:
        names = available(MARIADB_MODULES, group)
        places = server.databases(names)
        if "kernel" in places:
            places["kernel"] = with_pool(places["kernel"])
        stores = [(name, MARIADB_MODULES[name], places[name]) for name in names]
        results = measure(stores, VERBS, "", settings, folder / "stores")
        group.notes.append(server.about())
    compare_on_mariadb(group, results)
    return group


def compare(group: Group, results: Results) -> None:
    """Adds the tables and their notes."""
    group.raw["stores"] = results
    group.rows += rows(results, WANTED, ", PostgreSQL")
    group.plain.append(figures(results, "every store"))
    group.notes += [
        "asyncpg, raw: its own pool without the reset query, row and history in one prepared statement, uvloop.",
        "asyncpg, own pool: the same on a stack of connections behind a semaphore; no goal is set against it.",
        "The raw sides give the document as text; the kernel decodes it, and knows that the schema has not moved on.",
        "dataset runs on pg8000: its default driver is under the LGPL, which this project does not install.",
        _bound(results),
    ]


def compare_on_mariadb(group: Group, results: Results) -> None:
    """Adds the table and its notes."""
    group.raw["stores on MariaDB"] = results
    group.rows += rows(results, MARIADB_WANTED, ", MariaDB")
    group.plain.append(figures(results, "every store"))
    group.notes += [
        "asyncmy, raw: its own pool; a save is BEGIN, an upsert with RETURNING, its copy into the history, COMMIT.",
        "asyncmy, one text: the same statements in one round trip, on a stack of connections; without a goal.",
        "The raw sides give the document as text; the kernel decodes it, and knows that the schema has not moved on.",
    ]


def _bound(results: Results) -> str:
    """How far the raw driver itself is from SQLAlchemy: no store on it can be further."""
    speed = {name: median(result["per_second"] for result in found) for name, found in results.items()}
    shown = ("save 32", "get 1", "get 32")
    said = (f"{speed[f'stack {at}'] / speed[f'sqlalchemy {at}']:.1f}x ({at})" for at in shown)
    return (
        f"The goals against SQLAlchemy Core are P3's; raw asyncpg with its own pool reaches {', '.join(said)} itself."
    )
