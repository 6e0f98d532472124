"""P2: authenticated create, get by id and list 50 of widgets on SQLite, over HTTP, 16 connections."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import kernel_side
from benchmarks.harness import BenchError, Server, request, scratch, turns
from benchmarks.load import Result, Spec, build_request, measure
from benchmarks.p1_request import CONNECTIONS, http_rows, latencies
from benchmarks.peers.tokens import SECRET, make_token
from benchmarks.report import Goal, Group
from benchmarks.settings import Settings

LISTED = 50
OTHERS = 200
BODY = {"name": "bolt M8", "color": "red"}
PEERS = {
    "aiosqlite by hand": "benchmarks.peers.crud_aiosqlite:app",
    "aiosqlite tuned": "benchmarks.peers.crud_aiosqlite_tuned:app",
    "SQLAlchemy ORM": "benchmarks.peers.crud_sqlalchemy:app",
}
GOALS = {
    "create": {"aiosqlite by hand": Goal(">=", 1.0), "SQLAlchemy ORM": Goal(">=", 3.0)},
    "get": {"aiosqlite by hand": Goal(">=", 1.3), "SQLAlchemy ORM": Goal(">=", 3.0)},
    "list": {"aiosqlite by hand": Goal(">=", 1.1), "SQLAlchemy ORM": Goal(">=", 3.0)},
}


NOTES = (
    "The kernel writes history with every create and a log line with every request; the peers write neither.",
    "All sides: WAL, synchronous=FULL, the same pragmas, and an index on created_by that the benchmark adds.",
    "The kernel's side is the contract's Quick Start, un-annotated; the peers' answers are annotated.",
    "get: the route asks for the user on every side. `get public` is the Quick Start's own, which asks for nobody.",
    "`list annotated`: the kernel's list once more with `-> list[dict]`.",
    "aiosqlite tuned: one thread hop a statement, autocommit; no goal is set against it.",
)


@dataclass(slots=True)
class Side:
    """One running service and the requests prepared for it."""

    server: Server
    requests: dict[str, list[str]] = field(default_factory=dict)


def run(settings: Settings) -> Group:
    """All services run for the whole group; one at a time is under load."""
    group = Group("P2", "create, get, list 50 of widgets on SQLite (WAL, FULL), 16 connections")
    with scratch() as folder, contextlib.ExitStack() as running:
        sides: dict[str, Side] = {}
        for name, app in PEERS.items():
            sides[name] = _start_peer(running, app, folder / app.rpartition(".")[2].partition(":")[0])
        if kernel_side.missing() is None:
            sides["kernel"] = _start_kernel(running, folder / "kernel")
        results = _rounds(sides, settings, folder)
    group.raw["http"] = {name: [asdict(result) for result in found] for name, found in results.items()}
    if "kernel" in sides:
        _compare(group, results)
    group.plain.append(latencies(results))
    group.notes += NOTES
    return group


def _compare(group: Group, results: dict[str, list[Result]]) -> None:
    for verb, goals in GOALS.items():
        for peer in PEERS:
            group.rows += http_rows(verb, results[f"kernel {verb}"], peer, results[f"{peer} {verb}"], goals.get(peer))
    for extra, verb in (("get public", "get"), ("list annotated", "list")):
        theirs = results[f"aiosqlite by hand {verb}"]
        group.rows += http_rows(extra, results[f"kernel {extra}"], "aiosqlite by hand", theirs, None)


def _start_peer(running: contextlib.ExitStack, app: str, folder: Path) -> Side:
    env = {"DATABASE_PATH": str(folder / "peer.db"), "JWT_SECRET": SECRET}
    server = running.enter_context(Server(app, folder, env))
    return _fill(Side(server), folder / "peer.db", make_token("user-lister"), make_token("user-maker"), "/widgets")


def _start_kernel(running: contextlib.ExitStack, folder: Path) -> Side:
    server = running.enter_context(
        Server("benchmarks.peers.crud_kernel:app", folder, kernel_side.kernel_environment(folder))
    )
    lister, maker = (kernel_side.sign_up(server.port, f"{name}@example.com") for name in ("lister", "maker"))
    side = _fill(Side(server), folder / "kernel.db", lister, maker, "/own-widgets")
    side.requests["get public"] = [text.replace("/own-widgets/", "/widgets/") for text in side.requests["get"]]
    side.requests["list annotated"] = [build_request("GET", "/own-widgets", token=lister)]
    return side


def _fill(side: Side, database: Path, lister: str, maker: str, single: str) -> Side:
    """Fifty widgets of one user, more of another, an index; the one lists for ever the same fifty."""
    port = side.server.port
    ids = [_create(port, lister) for _ in range(LISTED)] + [_create(port, maker) for _ in range(OTHERS)]
    with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection:
        connection.execute("CREATE INDEX bench_created_by ON widgets (created_by)")
        connection.commit()
    status, listed = request(port, "GET", "/widgets", token=lister)
    if status != 200 or len(listed) != LISTED:
        raise BenchError(f"{side.server.app}: list answered {status} with {len(listed or [])} rows")
    side.requests["create"] = [build_request("POST", "/widgets", token=maker, body=BODY)]
    side.requests["get"] = [build_request("GET", f"{single}/{key}", token=maker) for key in ids]
    side.requests["list"] = [build_request("GET", "/widgets", token=lister)]
    return side


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
