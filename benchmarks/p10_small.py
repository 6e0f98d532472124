"""P10: the small things that every request pays for."""

from __future__ import annotations

from statistics import median

from benchmarks import kernel_side
from benchmarks.harness import child, scratch
from benchmarks.redis_servers import redis_servers
from benchmarks.report import Goal, Group, Row
from benchmarks.settings import Settings

FIGURES: tuple[tuple[str, str, str, float | None], ...] = (
    ("limiter in memory, allowed", "check allowed", "limits, moving window", 10.0),
    ("limiter in memory, refused", "check refused", "limits, moving window", 10.0),
    ("the whole layer in memory", "layer of limits", "", None),
    ("cached token check", "token check", "", 5.0),
    ("a layer that does nothing", "no-op layer", "", 3.0),
    ("flag evaluation, by percentage", "flag by percentage", "", 5.0),
    ("flag evaluation, a listed user", "flag of a listed user", "", 5.0),
)
"""What is shown, its name in the child's answer, the peer, and the goal in microseconds."""


def run(settings: Settings) -> Group:
    """CPU time of each in process, and round trips to a real Redis."""
    group = Group("P10", "small things that every request pays for")
    with scratch() as folder, redis_servers() as servers:
        spec = {
            "rounds": settings.rounds * settings.batches,
            "batch": 50 * settings.batch,
            "redis": servers["everysec"].database(0),
        }
        env = kernel_side.kernel_environment(folder / "kernel")
        found = child("benchmarks.p10_child", spec, folder / "child", env=env, limit=240, core=1)
    group.raw["in process"] = found
    samples: dict[str, list[float]] = found["samples"]
    for figure, name, peer, goal in FIGURES:
        group.rows.append(_row(figure, samples[name], peer, samples.get(f"{name} by limits"), goal))
    trips: dict[str, float] = found["trips"]
    one_by_one = Row(
        figure="Redis round trips a hit, one caller", unit="", ours=trips["ours"], peer="limits: hit and what is left",
        theirs=trips["limits"], goal=Goal("<=", 0.5),
    )  # fmt: skip
    group.rows.append(one_by_one)
    shared = samples["shared check"], samples["shared check by limits"]
    group.rows.append(_row("limiter in Redis, CPU, one caller", shared[0], "limits: hit and what is left", shared[1]))
    _add_cache_rows(group, samples, trips)
    group.notes.append(
        f"CPU time of the process. 100 callers at once cost {trips['ours, 100 callers']:.3f} round trips a hit. The"
        " goal of one round trip is half of what the library takes, which has another one for the headers."
    )
    return group


def _add_cache_rows(group: Group, samples: dict[str, list[float]], trips: dict[str, float]) -> None:
    """A hit of the cache, without a goal of its own: beside the library that it could have been built on."""
    for figure, name in (
        ("cache.get in memory, a hit", "cache get"),
        ("@cached in memory, a hit", "cached function"),
        ("@cached in Redis, a hit, CPU, one caller", "cache in Redis"),
    ):
        group.rows.append(_row(figure, samples[name], "cashews", samples[f"{name} by cashews"]))
    peer = trips["cache in Redis by cashews"]
    ours = trips["cache in Redis"]
    figure = "cache: Redis commands a hit"
    group.rows.append(Row(figure=figure, unit="", ours=ours, peer="cashews", theirs=peer, goal=Goal("<=", 1.0)))
    group.notes.append("A hit of ours is a copy that the caller may change; cashews in memory gives everybody one.")


def _row(figure: str, ours: list[float], peer: str, theirs: list[float] | None, goal: float | None = None) -> Row:
    """Beside its goal where there is one, else beside its peer."""
    bound = Goal("<=", goal, "us") if goal is not None else None
    if bound is None and theirs:
        return Row(figure=figure, unit="us", ours=median(ours), peer=peer, theirs=median(theirs))
    beside = f"nothing ({peer}: {median(theirs):.1f})" if theirs else "nothing"
    return Row(figure=figure, unit="us", ours=median(ours), peer=beside, theirs=0.0, goal=bound, difference=True)
