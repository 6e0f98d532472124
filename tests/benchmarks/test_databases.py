"""The benchmarks of the store on real databases, at sizes that measure nothing but run every line."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import p4_store, p5_growth, report
from benchmarks.__main__ import GROUPS
from benchmarks.mariadb import mariadb
from benchmarks.p3_store import measure, spelled
from benchmarks.postgres import postgres
from benchmarks.servers import with_pool
from benchmarks.settings import Settings
from tests.faults.figures import SOAK

TINY = Settings(
    rounds=1, store_seconds=0.02, workspaces=2, growth_seconds=0.02, growth=(100, 300), http_seconds=0.1, quick=True
)


@pytest.mark.parametrize("part", [part for parts in GROUPS.values() for part in parts])
def test_every_group_has_its_function(part: str) -> None:
    module, _, function = part.partition(":")
    assert callable(getattr(importlib.import_module(f"benchmarks.{module}"), function))


def test_a_figure_is_spelled_with_its_callers() -> None:
    assert spelled("find 1") == "find 50, 1 caller"
    assert spelled("change 32") == "save of a given id, 32 callers"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://h/d", "postgres://h/d?pool_size=10"),
        ("postgres://h/d?sslmode=disable", "postgres://h/d?sslmode=disable&pool_size=10"),
    ],
)
def test_the_kernel_has_as_many_connections_as_its_peers(url: str, expected: str) -> None:
    assert with_pool(url) == expected


@pytest.mark.slow
def test_every_store_on_postgres_saves_row_and_history_and_is_measured(tmp_path: Path) -> None:
    with postgres(tmp_path) as server:
        places = server.databases(p4_store.MODULES)
        stores = [(name, p4_store.MODULES[name], place) for name, place in places.items()]
        results = measure(stores, p4_store.VERBS, "", TINY, tmp_path / "stores")
        for name, place in places.items():
            ((rows, versions, lost),) = server.execute(
                place,
                "SELECT (SELECT count(*) FROM bench), (SELECT count(*) FROM bench_history),"
                " (SELECT count(*) FROM bench WHERE settings::text NOT LIKE '%\"theme\"%')",
            )
            assert rows > 100, name
            assert versions > rows, f"{name} keeps a history of changes"
            assert lost == 0, name
        left = [url.rpartition("/")[2] for url in places.values()]
    assert all(found[0]["per_second"] > 0 and found[0]["cpu_us"] >= 0 for found in results.values())
    group = report.Group("P4", "the store alone")
    p4_store.compare(group, results)
    assert len(group.rows) == len(p4_store.WANTED), "every wanted comparison has both of its sides"
    assert "| kernel | save, 32 callers |" in report.markdown([group], {})
    assert len(set(left)) == len(p4_store.MODULES)


@pytest.mark.slow
@pytest.mark.skipif(not SOAK, reason="as on PostgreSQL, in the long run")
def test_every_store_on_mariadb_saves_row_and_history_and_is_measured(tmp_path: Path) -> None:
    with mariadb(tmp_path) as server:
        places = server.databases(p4_store.MARIADB_MODULES)
        stores = [(name, p4_store.MARIADB_MODULES[name], place) for name, place in places.items()]
        results = measure(stores, p4_store.VERBS, "", replace(TINY, workspaces=1), tmp_path / "stores")
        looks = (
            f"SELECT '{name}', (SELECT COUNT(*) FROM {made}.bench), (SELECT COUNT(*) FROM {made}.bench_history),"
            f" (SELECT COUNT(*) FROM {made}.bench WHERE settings NOT LIKE '%\"theme\"%')"
            for name, made in ((name, place.rpartition("/")[2]) for name, place in places.items())
        )
        for name, rows, versions, lost in server.execute(server.url, " UNION ALL ".join(looks)):
            assert rows > 50, name
            assert versions > rows, f"{name} keeps a history of changes"
            assert lost == 0, name
    group = report.Group("P4", "the store alone")
    p4_store.compare_on_mariadb(group, results)
    assert len(group.rows) == len(p4_store.MARIADB_WANTED), "every wanted comparison has both of its sides"
    assert "| kernel | save, 32 callers |" in report.markdown([group], {})


IN_THE_LONG_RUN = pytest.mark.skipif(not SOAK, reason="on one database the same lines run: the other for the long run")


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.parametrize(
    "run", [p5_growth.run_on_sqlite, pytest.param(p5_growth.run_on_postgres, marks=IN_THE_LONG_RUN)]
)
def test_growth_is_measured_on_both_sizes(run) -> None:  # type: ignore[no-untyped-def]
    group = run(TINY)
    figures = {row.figure: row for row in group.rows}
    assert len(figures) == len(p5_growth.VERBS) + 1
    assert all(row.ours > 0 and row.theirs > 0 for row in group.rows)
    (memory,) = (row for row in group.rows if row.difference)
    assert memory.goal == report.Goal("<=", 30, "MiB")
    assert memory.compared >= 0
    assert group.raw["walked"]["rows"] >= 300
    assert "| get, 1 caller" in report.markdown([group], {})
