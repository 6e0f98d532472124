"""P5: what the store's verbs cost with a million rows beside ten thousand, and what memory a walk over them takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import kernel_side
from benchmarks.harness import BenchError, child, paired_ratios, scratch
from benchmarks.p3_store import spelled
from benchmarks.postgres import postgres
from benchmarks.report import Goal, Group, Plain, Row
from benchmarks.servers import with_pool
from benchmarks.settings import Settings

SIZES = ("small", "large")
VERBS = ("get 1", "find 1", "save 1", "save 32", "change 1")
RAW_VERBS = ("get 1", "find 1")
GOAL = Goal("<=", 1.5)
MEMORY_GOAL = Goal("<=", 30, "MiB")
LOAD_SECONDS, MEASURE_SECONDS, WALK_SECONDS = 900.0, 300.0, 300.0
Places = Mapping[str, str]
"""Where the small and the large database are, as the kernel is told."""


def run_on_sqlite(settings: Settings) -> Group:
    """Two files; synchronous=FULL, the default."""
    group = _group("SQLite", settings)
    with scratch() as folder:
        places = {size: str(folder / f"{size}.db") for size in SIZES}
        _run(group, places, "SQLite", settings, folder, settle=lambda: None)
    return group


def run_on_postgres(settings: Settings) -> Group:
    """Two databases on one server, each vacuumed and analysed once after it was filled."""
    group = _group("PostgreSQL", settings)
    with scratch() as folder, postgres(folder) as server:
        urls = server.databases(SIZES)

        def settle() -> None:
            # autovacuum would do it a minute later.
            for url in urls.values():
                server.execute(url, "VACUUM (ANALYZE)")

        places = {size: with_pool(url) for size, url in urls.items()}
        _run(group, places, "PostgreSQL", settings, folder, settle=settle)
        group.notes.append(server.about())
    return group


def _group(backend: str, settings: Settings) -> Group:
    small, large = settings.growth
    return Group("P5", f"growth from {small:,} to {large:,} rows with history on {backend}")


def _run(
    group: Group, places: Places, backend: str, settings: Settings, folder: Path, *, settle: Callable[[], object]
) -> None:
    if (reason := kernel_side.missing()) is not None:
        raise BenchError(reason)
    sizes = dict(zip(SIZES, settings.growth, strict=True))
    loaded = {
        size: _step(folder, LOAD_SECONDS, step="load", place=places[size], rows=count) for size, count in sizes.items()
    }
    settle()
    measured = _step(
        folder,
        MEASURE_SECONDS,
        step="measure",
        raw="store_asyncpg:AsyncpgStackStore" if backend == "PostgreSQL" else "store_apsw:ApswStore",
        databases=[[size, places[size], loaded[size]["ids"], sizes[size]] for size in SIZES],
        verbs={"kernel": VERBS, "raw": RAW_VERBS},
        rounds=settings.rounds,
        seconds=settings.growth_seconds,
    )
    walked = _step(folder, WALK_SECONDS, step="walk", place=places["large"], rows=sizes["large"])
    speeds = {size: loaded[size]["per_second"] for size in SIZES}
    group.raw |= {"loaded, rows/s": speeds, "measured": measured, "walked": walked}
    group.rows += [_row(f"{spelled(verb)}, {backend}", measured, f"kernel {verb}", sizes) for verb in VERBS]
    group.rows.append(_memory(walked, backend))
    group.plain.append(_beside(measured, speeds, walked, sizes))
    group.notes += [
        "Every figure is the kernel's at the large size beside its own at the small one.",
        "Both databases are filled with save_entities, 5,000 rows a call; a workspace's 50 rows lie far apart.",
        "find 50 reads as many pages as rows; what the raw driver loses on the same tables stands in the second table.",
    ]


def _step(folder: Path, limit: float, **spec: Any) -> Any:
    return child("benchmarks.p5_child", spec, folder / "child", limit=limit)


def _cost(results: list[dict[str, float]]) -> list[float]:
    """Microseconds a call."""
    return [1e6 / result["per_second"] for result in results]


def _row(figure: str, measured: Mapping[str, Any], name: str, sizes: Mapping[str, int]) -> Row:
    large, small = (_cost(measured[f"{name} {size}"]) for size in ("large", "small"))
    return Row(
        figure=f"{figure}, {sizes['large']:,} rows",
        unit="us",
        ours=median(large),
        peer=f"at {sizes['small']:,} rows",
        theirs=median(small),
        goal=GOAL,
        ratios=tuple(paired_ratios(large, small)),
    )


def _memory(walked: Mapping[str, Any], backend: str) -> Row:
    return Row(
        figure=f"iterate_entities over {walked['rows']:,} rows, peak memory, {backend}",
        unit="MiB",
        ours=walked["peak_mib"],
        peer="the same process before",
        theirs=walked["idle_mib"],
        goal=MEMORY_GOAL,
        difference=True,
    )


def _beside(
    measured: Mapping[str, Any], speeds: Mapping[str, float], walked: Mapping[str, Any], sizes: Mapping[str, int]
) -> Plain:
    lines = []
    for verb in RAW_VERBS:
        small, large = (median(_cost(measured[f"raw {verb} {size}"])) for size in SIZES)
        lines.append((f"{spelled(verb)}, raw driver, us", f"{small:.0f}", f"{large:.0f}", f"{large / small:.2f}x"))
    for verb in VERBS:
        small, large = (median(one["p99_ms"] for one in measured[f"kernel {verb} {size}"]) for size in SIZES)
        lines.append((f"{spelled(verb)}, p99 ms", f"{small:.2f}", f"{large:.2f}", f"{large / small:.2f}x"))
    lines.append(("save_entities while filling, rows/s", *(f"{speeds[size]:,.0f}" for size in SIZES), ""))
    lines.append(("iterate_entities, rows/s", "", f"{walked['per_second']:,.0f}", ""))
    head = ("figure", *(f"{sizes[size]:,} rows" for size in SIZES), "slower")
    return Plain("Beside it", head, tuple(lines))
