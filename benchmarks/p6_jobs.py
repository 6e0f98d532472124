"""P6: jobs enqueued one by one and in hundreds, then drained by one and by two worker processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.harness import paired_ratios, scratch, turns
from benchmarks.job_sides import Side, sides, workers
from benchmarks.postgres import postgres
from benchmarks.redis_servers import redis_servers
from benchmarks.report import Goal, Group, Plain, Row
from benchmarks.settings import Settings

LIMIT = 300.0
PEERS = ("saq", "kernel", "taskiq", "arq")
DRAINS = ((1, 10), (2, 10), (1, 100))
FIGURES = {
    "one": "enqueue one by one",
    "hundreds": "enqueue in hundreds",
    "drain 1x10": "drain, 1 process, 10 at a time",
    "drain 2x10": "drain, 2 processes, 10 at a time",
    "drain 1x100": "drain, 1 process, 100 at a time",
}
GOALS = {"saq": Goal(">=", 0.9), "taskiq": Goal(">=", 1.0), "arq": Goal(">=", 1.0)}
SQLITE = {"always": Goal(">=", 1.0), "everysec": Goal(">=", 0.7)}
Samples = dict[str, dict[str, list[float]]]
"""By figure and side, its values."""


def run(settings: Settings) -> Group:
    """Every side in turns; each round begins with empty places."""
    group = Group("P6", f"jobs: {settings.jobs:,} that do nothing, each with 120 bytes and a result that is kept")
    samples: Samples = {}
    with scratch() as folder, redis_servers() as redis, postgres(folder) as database:
        measured = sides(PEERS, redis, database, folder, group)
        for processes, at_once in DRAINS:
            _measure(measured, settings, samples, processes, at_once)
        group.notes.append(database.about())
    compare(group, samples)
    return group


def _measure(measured: Sequence[Side], settings: Settings, samples: Samples, processes: int, at_once: int) -> None:
    filled: set[str] = set()
    # Every side is filled before the first is drained, so that the drains stand next to each other.
    for side in turns([*measured, *measured], settings.rounds):
        if side.name not in filled:
            filled.add(side.name)
            side.begin_anew()
            found = side.run("enqueue", jobs=settings.jobs, one=settings.jobs_one_by_one, limit=LIMIT)
        else:
            filled.remove(side.name)
            drained = _drained(side, settings.jobs, processes, at_once)
            found = {f"drain {processes}x{at_once}{what}": value for what, value in drained.items()}
        for figure, value in found.items():
            samples.setdefault(figure, {}).setdefault(side.name, []).append(value)


def _drained(side: Side, jobs: int, processes: int, at_once: int) -> dict[str, float]:
    """Jobs a second from the start of the first handler to that of the last, and what each took of the processors."""
    with workers(side, jobs=jobs, count=processes, concurrency=at_once) as running:
        running.begin()
        before, server_before = running.cpu(), side.server_cpu()
        running.wait_for(jobs, LIMIT)
        cpu, server = running.cpu() - before, side.server_cpu() - server_before
        times, again = running.board.times(), running.board.ran - jobs
    speed = (jobs - 1) / (max(times) - min(times))
    return {"": speed, "_us": cpu / jobs * 1e6, "_server_us": server / jobs * 1e6, "_again": again}


def compare(group: Group, samples: Samples) -> None:
    """Adds the tables and their notes."""
    group.raw = {"samples": samples}
    for sync in ("everysec", "always"):
        for peer, goal in GOALS.items():
            for figure in FIGURES:
                _add(group, samples, figure, (f"kernel, Redis {sync}", f"{peer}, Redis {sync}"), goal)
    for sync, goal in SQLITE.items():
        pair = ("kernel, SQLite", f"kernel, Redis {sync}")
        for figure in ("drain 1x10", "drain 1x100"):
            _add(group, samples, figure, pair, goal)
        _add(group, samples, "drain 2x10", pair, None)
        for figure in FIGURES:
            _add(group, samples, figure, ("kernel, SQLite", f"saq, Redis {sync}"), None)
    group.plain += [_speeds(samples), _costs(samples)]
    again: dict[str, float] = {}
    for processes, at_once in DRAINS:
        for side, found in samples.get(f"drain {processes}x{at_once}_again", {}).items():
            again[side] = again.get(side, 0) + sum(found)
    told = ", ".join(f"{side} {count:.0f}" for side, count in again.items() if count)
    group.notes += [
        "SQLite is at synchronous=FULL, the default: every commit is synced, as with Redis's appendfsync always.",
        "arq looks for jobs each 10 ms here; by default each 500 ms, which at 10 at a time is 20 jobs a second.",
        "The kernel gets a hundred with enqueue_many, all or none of them; the peers have no batch: a hundred calls.",
        f"Jobs that were started again although nothing had failed: {told or 'none'}.",
    ]


def _add(group: Group, samples: Samples, figure: str, pair: tuple[str, str], goal: Goal | None) -> None:
    """A row, unless a side was not measured."""
    values = samples.get(figure, {})
    if any(side not in values for side in pair):
        return
    ours, theirs = (values[side] for side in pair)
    group.rows.append(
        Row(
            figure=f"{FIGURES[figure]}, {pair[0].removeprefix('kernel, ')}",
            unit="/s",
            ours=median(ours),
            peer=pair[1],
            theirs=median(theirs),
            goal=goal,
            ratios=tuple(paired_ratios(ours, theirs)),
        )
    )


def _speeds(samples: Samples) -> Plain:
    return _table("Jobs a second", samples, {spelled: figure for figure, spelled in FIGURES.items()}, ",.0f")


def _costs(samples: Samples) -> Plain:
    columns = {
        "enqueue one by one": "one_us",
        "enqueue in hundreds": "hundreds_us",
        "worker, 1 x 10": "drain 1x10_us",
        "workers, 2 x 10": "drain 2x10_us",
        "worker, 1 x 100": "drain 1x100_us",
        "Redis, 1 x 10": "drain 1x10_server_us",
    }
    return _table("Microseconds of processor time a job", samples, columns, ".0f")


def _table(title: str, samples: Samples, columns: Mapping[str, str], form: str) -> Plain:
    """Medians over the rounds."""
    columns = {title: figure for title, figure in columns.items() if figure in samples}
    lines = [
        (side, *(format(median(samples[figure][side]), form) for figure in columns.values()))
        for side in samples.get("one", {})
    ]
    return Plain(title, ("side", *columns), tuple(lines))
