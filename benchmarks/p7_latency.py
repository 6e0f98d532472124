"""P7: from the call of `enqueue` to the first line of the handler, on a worker that has nothing else to do."""

from __future__ import annotations

from statistics import median

from benchmarks.harness import percentile, scratch, turns
from benchmarks.job_board import Board
from benchmarks.job_child import WARM_UP
from benchmarks.job_sides import Side, sides, workers
from benchmarks.postgres import postgres
from benchmarks.redis_servers import redis_servers
from benchmarks.report import Goal, Group, Plain, Row
from benchmarks.settings import Settings

LIMIT = 120.0
PEERS = ("saq", "kernel", "taskiq", "arq")
TOGETHER = "kernel, SQLite, one process"
Latencies = dict[str, list[tuple[float, float]]]
"""By side, (p50, p99) in ms of each round."""


def run(settings: Settings) -> Group:
    """One job each 20 ms."""
    group = Group("P7", f"jobs: {settings.pings} on an idle worker, one each 20 ms, from enqueue to handler")
    found: Latencies = {}
    with scratch() as folder, redis_servers() as redis, postgres(folder) as database:
        measured = sides(PEERS, redis, database, folder, group)
        together = [
            Side(TOGETHER, "kernel", folder / "together", {}) for side in measured if side.name == "kernel, SQLite"
        ]
        for side in turns([*measured, *together], settings.rounds):
            side.begin_anew()
            found.setdefault(side.name, []).append(_measured(side, settings.pings))
        group.notes.append(database.about())
    compare(group, found)
    return group


def _measured(side: Side, pings: int) -> tuple[float, float]:
    jobs = pings + WARM_UP
    board_file = side.folder / "board"
    told = {"jobs": jobs, "board": str(board_file), "concurrency": 10, "embedded": side.name == TOGETHER}
    if side.name == TOGETHER:
        board = Board(board_file, jobs)
        called = side.run("ping", limit=LIMIT, **told)
        started = board.times()
        board.close()
        board_file.unlink()
    else:
        # The place is made before the worker opens it, as two that make it at once may wait for each other.
        with workers(side, jobs=jobs, count=1, concurrency=10) as running:
            running.begin()
            called = side.run("ping", limit=LIMIT, **told)
            started = running.board.times()
    waited = [(start - call) * 1000 for start, call in zip(started, called, strict=True)][WARM_UP:]
    return median(waited), percentile(waited, 0.99)


def compare(group: Group, found: Latencies) -> None:
    """Adds the tables and their notes."""
    group.raw = {"p50 and p99, ms": found}
    for sync in ("everysec", "always"):
        for peer, goal in (("saq", Goal("<=", 0.5, "ms")), ("taskiq", None), ("arq", None)):
            ours, theirs = found.get(f"kernel, Redis {sync}"), found.get(f"{peer}, Redis {sync}")
            if ours and theirs:
                group.rows.append(_row(f"p50, Redis {sync}", f"{peer}, Redis {sync}", ours, theirs, 0, goal))
    for side, bound in ((TOGETHER, 20), ("kernel, SQLite", 50)):
        if side in found:
            where = "one process" if side == TOGETHER else "two processes"
            goal = Goal("<=", bound, "ms")
            group.rows.append(_row(f"p99, SQLite, {where}", "no time at all", found[side], [(0.0, 0.0)], 1, goal))
    lines = tuple(
        (side, f"{median(p50 for p50, _ in rounds):.2f}", f"{median(p99 for _, p99 in rounds):.2f}")
        for side, rounds in found.items()
    )
    group.plain.append(Plain("Every side", ("side", "p50 ms", "p99 ms"), lines))
    group.notes.append("arq looks for jobs each 10 ms here; by default each 500 ms.")


def _row(
    figure: str,
    peer: str,
    ours: list[tuple[float, float]],
    theirs: list[tuple[float, float]],
    at: int,
    goal: Goal | None,
) -> Row:
    return Row(
        figure=figure,
        unit="ms",
        ours=median(one[at] for one in ours),
        peer=peer,
        theirs=median(one[at] for one in theirs),
        goal=goal,
        difference=True,
    )
