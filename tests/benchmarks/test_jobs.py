"""The benchmarks of jobs, at sizes that measure nothing but run every line."""

import subprocess
from pathlib import Path

import pytest

from benchmarks import harness, job_sides, p6_jobs, p7_latency, peer_environment, report
from benchmarks.job_board import Board
from benchmarks.job_sides import Side, workers
from benchmarks.settings import Settings
from tests.faults.figures import SOAK

TINY = Settings(rounds=1, jobs=240, jobs_one_by_one=20, pings=10, quick=True)
OWN = ("taskiq", "arq")
IN_THE_LONG_RUN = pytest.mark.skipif(
    not SOAK, reason="starts a dozen processes: for the long run, and for `make bench`"
)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers with an environment of their own are installed and measured in the long run; here their absence is."""

    def fail(peer: str) -> str:
        raise harness.BenchError(f"{peer} is left out of a short run")

    if not SOAK:
        monkeypatch.setattr(job_sides, "python_of", fail)


@pytest.fixture
def board_file(tmp_path: Path) -> Path:
    """Where a board may lie."""
    return tmp_path / "board"


def was_measured(group: report.Group, peer: str) -> bool:
    """Whether a peer's figures are there; one that could not be installed has a note instead."""
    has_note = any(note.startswith(f"{peer} was not measured") for note in group.notes)
    has_rows = any(row.peer.startswith(peer) for row in group.rows)
    assert has_note != has_rows, f"{peer} is measured or named as not measured"
    return has_rows


def test_a_board_counts_for_all_who_map_it(board_file: Path) -> None:
    reader, first, second = Board(board_file, 3), Board(board_file, 3, 0), Board(board_file, 3, 1)
    first.get_ready()
    assert (reader.ready, second.may_begin) == (1, False)
    reader.give_sign()
    assert second.may_begin
    first.started(0)
    second.started(2)
    second.started(2)
    assert reader.ran == 3, "a job that was started twice counts twice"
    times = reader.times()
    assert [bool(each) for each in times] == [True, False, True]
    assert times[0] < times[2]


def test_a_worker_that_ends_early_tells_why(tmp_path: Path) -> None:
    side = Side("nobody", "saq", tmp_path, place={"redis": "no-such-scheme://"})
    with (
        pytest.raises(harness.BenchError, match=r"(?s)nobody did not get ready .*no-such-scheme|must specify one of"),
        workers(side, jobs=1, count=1, concurrency=1) as running,
    ):
        running.begin()


def test_a_peer_that_cannot_be_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "no network here")

    monkeypatch.setattr(peer_environment, "FOLDER", tmp_path / "environments")
    monkeypatch.setattr(subprocess, "run", fails)
    with pytest.raises(harness.BenchError, match="arq cannot be installed: no network here"):
        peer_environment.python_of("arq")


@pytest.mark.soak
@pytest.mark.slow
@IN_THE_LONG_RUN
def test_every_side_enqueues_and_drains_and_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(p6_jobs, "DRAINS", ((2, 10),))
    group = p6_jobs.run(TINY)
    compared = {(row.figure, row.peer) for row in group.rows}
    for sync in ("everysec", "always"):
        for figure in ("one", "hundreds", "drain 2x10"):
            assert (f"{p6_jobs.FIGURES[figure]}, Redis {sync}", f"saq, Redis {sync}") in compared
        assert (f"{p6_jobs.FIGURES['drain 2x10']}, SQLite", f"kernel, Redis {sync}") in compared
    assert all(row.ours > 0 and row.theirs > 0 for row in group.rows)
    measured = [peer for peer in OWN if was_measured(group, peer)]
    samples = group.raw["samples"]
    assert len(samples["drain 2x10"]) == 6 + 2 * len(measured)
    assert {"kernel, SQLite", "kernel, PostgreSQL"} < set(samples["drain 2x10"])
    assert all(again == [0] for side, again in samples["drain 2x10_again"].items() if "kernel" in side)


def test_each_figure_is_held_against_its_goal() -> None:
    speeds = {
        "kernel, Redis always": 90.0,
        "saq, Redis always": 100.0,
        "arq, Redis always": 80.0,
        "kernel, SQLite": 81.0,
    }
    figures = [*p6_jobs.FIGURES, "one_us", "hundreds_us", "drain 1x10_server_us"]
    figures += [f"drain {drain}_us" for drain in ("1x10", "2x10", "1x100")]
    samples = {figure: {side: [speed, speed] for side, speed in speeds.items()} for figure in figures}
    group = report.Group("P6", "jobs")
    p6_jobs.compare(group, samples)
    met = {(row.figure, row.peer): row.met for row in group.rows}
    drain = p6_jobs.FIGURES["drain 1x10"]
    assert met[f"{drain}, Redis always", "saq, Redis always"] is True
    assert met[f"{drain}, Redis always", "arq, Redis always"] is True
    assert met[f"{drain}, SQLite", "kernel, Redis always"] is False
    assert met[f"{drain}, SQLite", "saq, Redis always"] is None
    assert "| kernel, SQLite | 81 |" in report.markdown([group], {})


@pytest.mark.soak
@pytest.mark.slow
@IN_THE_LONG_RUN
def test_the_time_from_enqueue_to_handler_is_measured_on_every_side() -> None:
    group = p7_latency.run(TINY)
    found = group.raw["p50 and p99, ms"]
    assert {p7_latency.TOGETHER, "kernel, SQLite", "kernel, PostgreSQL", "saq, Redis always"} < set(found)
    assert all(0 < p50 <= p99 for rounds in found.values() for p50, p99 in rounds)
    goals = [str(row.goal) for row in group.rows if row.goal is not None]
    assert goals == ["<= 0.5 ms", "<= 0.5 ms", "<= 20 ms", "<= 50 ms"]
    assert all(row.difference for row in group.rows)
    assert [was_measured(group, peer) for peer in OWN]
