"""The directory in which workers of one server meet: whose it is, what stays of the dead, and when it goes."""

import errno
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values

from app_kernel.metrics import sharing
from app_kernel.metrics.sharing import Meeting, meet

DEAD = "999999999-1"
"""No process has such a number."""


class Worker:
    """Metrics of one worker, in this process."""

    def __init__(self, place: Path, owner: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patched:
            if owner is not None:
                patched.setattr(sharing, "_name_of", lambda pid: owner)
            self.meeting = Meeting(place)
        monkeypatch.setattr(values, "ValueClass", self.meeting.values)
        registry = CollectorRegistry()
        self.counter = Counter("things", "Things.", ("kind",), registry=registry)
        self.histogram = Histogram("seconds", "Seconds.", buckets=(1.0, 2.0), registry=registry)
        self.gauge = Gauge("live", "Live.", registry=registry, multiprocess_mode="livesum")

    def twin(self) -> Counter:
        """The same metric of another service in this process."""
        return Counter("things", "Things.", ("kind",), registry=CollectorRegistry())

    def work(self) -> None:
        self.counter.labels("a").inc()
        self.histogram.observe(1.5)
        self.gauge.set(5)


def samples(meeting: Meeting) -> dict[str, float]:
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for metric in meeting.collect().collect()
        for sample in metric.samples
    }


def test_counts_of_the_dead_stay_and_their_gauges_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        Worker(tmp_path, f"{DEAD}{number}", monkeypatch).work()
    alive = Worker(tmp_path, None, monkeypatch)
    alive.work()
    found = samples(alive.meeting)
    assert found["things_total['a']"] == 4
    assert (found["seconds_count[]"], found["seconds_sum[]"], found["seconds_bucket['1.0']"]) == (4, 6, 0)
    assert found["live[]"] == 5
    assert samples(alive.meeting) == found
    assert (tmp_path / "counter_archive.db").exists()
    assert list(tmp_path.glob(f"*{DEAD}*")) == []


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on there is no room for anything new."""

    def refuse(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    return lambda: monkeypatch.setattr(sharing.os, "posix_fallocate", refuse)


def test_where_the_disk_is_full_the_dead_are_read_where_they_are_and_new_series_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_disk: Callable[[], None], capfd: pytest.CaptureFixture[str]
) -> None:
    """To write into a file that the disk has no room for ends the process, by SIGBUS."""
    Worker(tmp_path, f"{DEAD}1", monkeypatch).work()
    alive = Worker(tmp_path, None, monkeypatch)
    alive.work()
    full_disk()
    for number in range(3000):
        alive.counter.labels(f"{number:050}").inc()
    alive.counter.labels("a").inc()
    found = samples(alive.meeting)
    assert (found["things_total['a']"], found["seconds_sum[]"], found["live[]"]) == (3, 3, 5)
    assert 500 < len(found) < 2500
    assert len(list(tmp_path.glob(f"counter_{DEAD}1.db"))) == 1
    assert capfd.readouterr().out.count("metrics_not_shared") == 1


def test_a_file_is_never_there_before_it_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, found = Worker(tmp_path, f"{DEAD}1", monkeypatch), []
    reserve = sharing._reserve

    def look(path: Path, size: int) -> None:
        path.touch()
        found.append(len(samples(reader.meeting)))
        reserve(path, size)

    monkeypatch.setattr(sharing, "_reserve", look)
    Worker(tmp_path, None, monkeypatch)
    assert len(found) >= len(sharing.KINDS)


def test_two_services_of_one_process_count_in_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(tmp_path, None, monkeypatch)
    twin = worker.twin()
    for _ in range(3):
        worker.counter.labels("a").inc()
        twin.labels("a").inc()
    assert samples(worker.meeting)["things_total['a']"] == 6


def test_who_comes_while_another_holds_the_lock_reads_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(tmp_path, None, monkeypatch)
    worker.work()
    monkeypatch.setattr(sharing, "LOCK_SECONDS", 0.01)
    with Meeting(tmp_path).alone() as is_alone:
        assert is_alone
        assert samples(worker.meeting)["things_total['a']"] == 1


def test_a_child_that_a_worker_forks_changes_nothing_of_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(tmp_path, None, monkeypatch)
    worker.work()
    child = os.fork()
    if child == 0:
        worker.work()
        worker.counter.labels("new").inc()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    worker.counter.labels("other").inc()
    found = samples(worker.meeting)
    assert (found["things_total['a']"], found["things_total['other']"]) == (1, 1)
    assert "things_total['new']" not in found


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory for temporary files, in a process that looks like a worker."""
    monkeypatch.setattr(sharing.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(multiprocessing, "parent_process", Parent)
    monkeypatch.setattr(values, "ValueClass", values.MutexValue)
    monkeypatch.setattr(sharing, "_meeting", None)
    return tmp_path


class Parent:
    pid = os.getppid()


def test_a_worker_meets_the_others_in_a_directory_of_its_user_alone(temporary: Path) -> None:
    meeting = meet()
    assert meeting is not None
    assert meet() is meeting
    assert meeting.place.parent == temporary / f"app-kernel-metrics-{os.geteuid()}"
    assert {folder.stat().st_mode & 0o777 for folder in (meeting.place, meeting.place.parent)} == {0o700}
    assert values.ValueClass is meeting.values


@pytest.mark.parametrize("wrong", ["open to others", "of another user", "a link", "a file"])
def test_what_somebody_else_may_have_put_there_is_not_used(
    temporary: Path, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = os.geteuid() + (wrong == "of another user")
    base = temporary / f"app-kernel-metrics-{user}"
    if wrong == "open to others":
        base.mkdir(mode=0o700)
        base.chmod(0o755)
    elif wrong == "of another user":
        base.mkdir(mode=0o700)
        monkeypatch.setattr(sharing.os, "geteuid", lambda: user)
    elif wrong == "a link":
        (temporary / "elsewhere").mkdir(mode=0o700)
        base.symlink_to(temporary / "elsewhere")
    else:
        base.touch(mode=0o600)
    assert meet() is None
    assert values.ValueClass is values.MutexValue


def test_a_full_disk_keeps_no_worker_from_its_start(temporary: Path, full_disk: Callable[[], None]) -> None:
    full_disk()
    assert meet() is None
    assert values.ValueClass is values.MutexValue
    assert temporary.exists()


def test_the_directories_of_servers_that_have_ended_go(temporary: Path) -> None:
    base = temporary / f"app-kernel-metrics-{os.geteuid()}"
    here = sharing._here()
    base.mkdir(mode=0o700)
    ended, others, living = (
        base / f"{here}{DEAD}",
        base / f"1{here}{DEAD}",
        base / f"{here}{sharing._name_of(os.getpid())}",
    )
    for folder in (ended, others, living):
        folder.mkdir(mode=0o700)
        (folder / "counter_1-1.db").touch()
    assert meet() is not None
    assert [folder.exists() for folder in (ended, others, living)] == [False, True, True]


def test_a_number_that_was_given_again_is_another_process() -> None:
    own = sharing._name_of(os.getpid())
    assert sharing._is_alive(own)
    assert not sharing._is_alive(f"{os.getpid()}-1")
    assert not sharing._is_alive(DEAD)
    assert not sharing._is_alive("archive")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    name = sharing._name_of(ended.pid)
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    # It has ended, and nobody has asked how.
    assert not sharing._is_alive(name)
    ended.wait()


def test_who_is_no_worker_keeps_figures_to_itself(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: None)
    assert meet() is None
    taken: Any = values.MultiProcessValue
    monkeypatch.setattr(multiprocessing, "parent_process", Parent)
    monkeypatch.setattr(values, "ValueClass", taken)
    assert meet() is None
