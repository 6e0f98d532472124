"""P2: authenticated create, get by id and list 50 of widgets on SQLite and PostgreSQL, over HTTP, 16 connections."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from benchmarks import kernel_side
from benchmarks.harness import BenchError, Server, request, scratch, turns
from benchmarks.load import Result, Spec, build_request, measure
from benchmarks.p1_request import CONNECTIONS, http_rows, latencies
from benchmarks.peers.store_rows import POOL
from benchmarks.peers.tokens import SECRET, make_token
from benchmarks.postgres import postgres
from benchmarks.report import Goal, Group
from benchmarks.servers import with_pool
from benchmarks.settings import Settings

LISTED = 50
OTHERS = 200
KERNEL = "benchmarks.peers.crud_kernel:app"
INDEX = "CREATE INDEX bench_created_by ON widgets (created_by)"
Index = Callable[[], object]
"""Adds the index to a side's database."""
BODY = {"name": "bolt M8", "color": "red"}
SQLITE_PEERS = {
    "aiosqlite by hand": "benchmarks.peers.crud_aiosqlite:app",
    "aiosqlite tuned": "benchmarks.peers.crud_aiosqlite_tuned:app",
    "SQLAlchemy ORM": "benchmarks.peers.crud_sqlalchemy:app",
}
POSTGRES_PEERS = {
    "asyncpg by hand": "benchmarks.peers.crud_asyncpg:app",
    "SQLAlchemy ORM": "benchmarks.peers.crud_sqlalchemy:app",
}
GOALS = {
    "create": {"aiosqlite by hand": Goal(">=", 1.0), "SQLAlchemy ORM": Goal(">=", 3.0)},
    "get": {"aiosqlite by hand": Goal(">=", 1.3), "SQLAlchemy ORM": Goal(">=", 3.0)},
    "list": {"aiosqlite by hand": Goal(">=", 1.1), "SQLAlchemy ORM": Goal(">=", 3.0)},
}
NOTES = (
    "The kernel writes history with every create and a log line with every request; the peers write neither.",
    "The kernel's side is the contract's Quick Start, un-annotated; the peers' answers are annotated.",
    "get: the route asks for the user on every side. `get public` is the Quick Start's own, which asks for nobody.",
    "`list annotated`: the kernel's list once more with `-> list[dict]`.",
)
SQLITE_NOTES = (
    "All sides: WAL, synchronous=FULL, the same pragmas, and an index on created_by that the benchmark adds.",
    "aiosqlite tuned: one thread hop a statement, autocommit; no goal is set against it.",
)
POSTGRES_NOTES = (
    "All sides: as many connections, the server's own durability, and an index on created_by that the benchmark adds.",
    "The goals of P2 are set for SQLite; here none is set.",
)


@dataclass(slots=True)
class Side:
    """One running service and the requests prepared for it."""

    server: Server
    requests: dict[str, list[str]] = field(default_factory=dict)


def run_on_sqlite(settings: Settings) -> Group:
    """All services run for the whole group; one at a time is under load."""
    group = Group("P2", "create, get, list 50 of widgets on SQLite (WAL, FULL), 16 connections")
    with scratch() as folder, contextlib.ExitStack() as running:
        sides: dict[str, Side] = {}
        for name, app in SQLITE_PEERS.items():
            inside = folder / app.rpartition(".")[2].partition(":")[0]
            file = inside / "peer.db"
            server = running.enter_context(Server(app, inside, {"DATABASE_PATH": str(file), "JWT_SECRET": SECRET}))
            sides[name] = _fill_peer(server, partial(_index_file, file))
        if kernel_side.missing() is None:
            inside = folder / "kernel"
            server = running.enter_context(Server(KERNEL, inside, kernel_side.kernel_environment(inside)))
            sides["kernel"] = _fill_kernel(server, partial(_index_file, inside / "kernel.db"))
        results = _rounds(sides, settings, folder)
    _report(group, results, "SQLite", GOALS)
    group.notes += [*NOTES, *SQLITE_NOTES]
    return group


def run_on_postgres(settings: Settings) -> Group:
    """The same with a database for each service on one server."""
    group = Group("P2", f"create, get, list 50 of widgets on PostgreSQL, {POOL} connections to it, 16 connections")
    apps = POSTGRES_PEERS if kernel_side.missing() else {**POSTGRES_PEERS, "kernel": KERNEL}
    with scratch() as folder, contextlib.ExitStack() as running:
        database = running.enter_context(postgres(folder))
        short = {name: app.rpartition(".")[2].partition(":")[0] for name, app in apps.items()}
        places = database.databases(short.values())
        sides: dict[str, Side] = {}
        for name, app in apps.items():
            inside, url = folder / short[name], places[short[name]]
            env = {"DATABASE_URL": url, "JWT_SECRET": SECRET}
            if app is KERNEL:
                env = kernel_side.kernel_environment(inside, with_pool(url))
            server = running.enter_context(Server(app, inside, env))
            fill = _fill_kernel if app is KERNEL else _fill_peer
            sides[name] = fill(server, partial(database.execute, url, INDEX))
        results = _rounds(sides, settings, folder)
        group.notes.append(database.about())
    _report(group, results, "PostgreSQL", {})
    group.notes += [*NOTES, *POSTGRES_NOTES]
    return group


def _report(
    group: Group, results: dict[str, list[Result]], backend: str, goals: Mapping[str, Mapping[str, Goal]]
) -> None:
    group.raw["http"] = {name: [asdict(result) for result in found] for name, found in results.items()}
    peers = list(dict.fromkeys(name.rpartition(" ")[0] for name in results if not name.startswith("kernel ")))
    if "kernel get" in results:
        for verb in ("create", "get", "list"):
            for peer in peers:
                goal = goals.get(verb, {}).get(peer)
                theirs = results[f"{peer} {verb}"]
                group.rows += http_rows(f"{verb}, {backend}", results[f"kernel {verb}"], peer, theirs, goal)
        for extra, verb in (("get public", "get"), ("list annotated", "list")):
            theirs = results[f"{peers[0]} {verb}"]
            group.rows += http_rows(f"{extra}, {backend}", results[f"kernel {extra}"], peers[0], theirs, None)
    group.plain.append(latencies(results))


def _fill_peer(server: Server, index: Index) -> Side:
    return _fill(Side(server), index, make_token("user-lister"), make_token("user-maker"), "/widgets")


def _fill_kernel(server: Server, index: Index) -> Side:
    lister, maker = (kernel_side.sign_up(server.port, f"{name}@example.com") for name in ("lister", "maker"))
    side = _fill(Side(server), index, lister, maker, "/own-widgets")
    side.requests["get public"] = [text.replace("/own-widgets/", "/widgets/") for text in side.requests["get"]]
    side.requests["list annotated"] = [build_request("GET", "/own-widgets", token=lister)]
    return side


def _fill(side: Side, index: Index, lister: str, maker: str, single: str) -> Side:
    """Fifty widgets of one user, more of another, an index; the one lists for ever the same fifty."""
    port = side.server.port
    ids = [_create(port, lister) for _ in range(LISTED)] + [_create(port, maker) for _ in range(OTHERS)]
    index()
    status, listed = request(port, "GET", "/widgets", token=lister)
    if status != 200 or len(listed) != LISTED:
        raise BenchError(f"{side.server.app}: list answered {status} with {len(listed or [])} rows")
    side.requests["create"] = [build_request("POST", "/widgets", token=maker, body=BODY)]
    side.requests["get"] = [build_request("GET", f"{single}/{key}", token=maker) for key in ids]
    side.requests["list"] = [build_request("GET", "/widgets", token=lister)]
    return side


def _index_file(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection:
        connection.execute(INDEX)
        connection.commit()


def _create(port: int, token: str) -> str:
    status, body = request(port, "POST", "/widgets", token=token, body=BODY)
    if status not in {200, 201} or body["name"] != BODY["name"] or not body["created_by"]:
        raise BenchError(f"create answered {status}: {body}")
    return str(body["id"])


def _rounds(sides: dict[str, Side], settings: Settings, folder: Path) -> dict[str, list[Result]]:
    names = [(verb, side) for verb in ("get", "get public", "list", "list annotated", "create") for side in sides]
    names = [(verb, side) for verb, side in names if verb in sides[side].requests]
    results: dict[str, list[Result]] = {f"{side} {verb}": [] for verb, side in names}
    for verb, name in turns(names, settings.rounds):
        side = sides[name]
        spec = Spec(
            port=side.server.port,
            requests=side.requests[verb],
            connections=CONNECTIONS,
            seconds=settings.http_seconds,
            warm_up=settings.http_warm_up,
            watch_pid=side.server.pid,
        )
        results[f"{name} {verb}"].append(measure(spec, folder / "load"))
    return results
