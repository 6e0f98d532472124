"""Figures that the workers of one server share: each writes them into files that all of them read.

`uvicorn --workers N` starts its workers as children of a process that runs no code of ours. They meet in a directory
of that process, private to the user, below the one for temporary files. What a worker that died has counted is added up
in an archive there; its gauges go. The directory of a server that has ended goes when the next one starts.
"""

import multiprocessing
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

from prometheus_client import CollectorRegistry, Metric, multiprocess, values
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.registry import Collector

from app_kernel.logs import get_logger

if sys.platform != "win32":
    import fcntl

LOCK_SECONDS = 1.0
"""How long a look at the files waits for another worker, which may have been stopped in the middle of one."""
ARCHIVE = "archive"
"""Whose files those of dead workers become a part of."""
RESERVED = {"histogram": 1 << 20}
"""Bytes of a file that are its own from the beginning, by what is in it: to write where a disk is full is the end of a
process. They are enough for some hundred routes."""
RESERVED_ELSE = 1 << 17
KINDS = ("counter", "histogram", "gauge_livesum", "gauge_livemax", "gauge_mostrecent")
"""Files that every worker has."""
TRIES = 3

_LOCK_FILE = "lock"

_log = get_logger("app_kernel.metrics")


class Meeting:
    """The directory of one server's workers, as one of them uses it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        files = _Files(place, _name_of(os.getpid()))
        for kind in KINDS:
            files.of(kind)
        self.values = _make_value_class(files)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether no other worker looks at the files or puts them in order while the block runs."""
        with (self.place / _LOCK_FILE).open("w") as lock:
            yield _take(lock.fileno())

    def collect(self) -> CollectorRegistry:
        """The figures of all workers, those that died included; may wait for LOCK_SECONDS."""
        collector = multiprocess.MultiProcessCollector(None, path=str(self.place))  # type: ignore[no-untyped-call]
        merged = CollectorRegistry()
        with self.alone() as is_alone:
            if is_alone:
                self.bury_dead()
            for left in reversed(range(TRIES)):
                try:
                    merged.register(_Collected(list(collector.collect())))  # type: ignore[no-untyped-call]
                    break
                except FileNotFoundError:
                    # Another has put it into the archive meanwhile.
                    if is_alone or not left:
                        raise
        return merged

    def bury_dead(self) -> None:
        """Adds what dead workers counted to the archive, and removes their gauges."""
        for file in self.place.glob("*.db"):
            kind, _, owner = file.stem.partition("_")
            owner = owner.rpartition("_")[2]
            if owner == ARCHIVE or _is_alive(owner):
                continue
            if kind != "gauge":
                try:
                    _add_file(file, self.place / f"{kind}_{ARCHIVE}.db")
                except OSError:
                    continue  # the disk is full: it is read where it is
            file.unlink()


class _Collected(Collector):
    """Metrics that were read under the lock."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


_meeting: Meeting | None = None


def meet() -> Meeting | None:
    """Where this process shares its figures; None where it is no worker of a server, or shares them in another way.

    From then on every metric that is made in this process is shared, whoever makes it.
    """
    global _meeting  # noqa: PLW0603 - prometheus_client has one class of values for the whole process
    if _meeting is not None:
        return _meeting
    parent = multiprocessing.parent_process()
    # The library itself does it where PROMETHEUS_MULTIPROC_DIR is set.
    if sys.platform == "win32" or parent is None or parent.pid is None or values.ValueClass is not values.MutexValue:
        return None
    try:
        _meeting = Meeting(_directory_of(parent.pid))
        with _meeting.alone() as is_alone:
            if is_alone:
                _meeting.bury_dead()
    except OSError as exc:
        _log.warning("metrics_not_shared", reason=f"{type(exc).__name__}: {exc}")
        _meeting = None
        return None
    values.ValueClass = _meeting.values
    return _meeting


def _directory_of(parent: int) -> Path:
    """The private directory of a server's workers, made if need be; those of servers that have ended are removed."""
    base = Path(tempfile.gettempdir()) / f"app-kernel-metrics-{os.geteuid()}"
    _make_private(base)
    for other in base.iterdir():
        if other.name.startswith(_here()) and not _is_alive(other.name.removeprefix(_here())):
            shutil.rmtree(other, ignore_errors=True)
    place = base / f"{_here()}{_name_of(parent)}"
    _make_private(place)
    return place


def _make_private(directory: Path) -> None:
    """Makes a directory for this user alone; raises PermissionError where somebody else made or may enter it."""
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(f"{directory} is not a directory of this user alone")


def _here() -> str:
    """What process numbers are good for: containers that share a directory each count from 1."""
    try:
        return f"{Path('/proc/self/ns/pid').stat().st_ino}-"
    except OSError:
        return "0-"


def _name_of(pid: int) -> str:
    """A process by its number and the time of its start, as numbers are given again."""
    return f"{pid}-{_started(pid)}"


def _is_alive(name: str) -> bool:
    pid, _, started = name.partition("-")
    if not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _started(int(pid)) == started


def _started(pid: int) -> str:
    """When a process began, in ticks since the machine did; nothing where there is no /proc, or for a dead one."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The name, in parentheses, may hold anything.
    state, *fields = text.rpartition(")")[2].split()
    return "" if state == "Z" else fields[18]


def _take(lock: int) -> bool:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        else:
            return True


def _add_file(file: Path, archive: Path) -> None:
    sums: dict[str, float] = {}
    for path in (archive, file):
        if path.exists():
            entries = MmapedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]
            for key, value, _, _ in entries:
                sums[key] = sums.get(key, 0.0) + value
    # Written anew and put in its place: who is killed here leaves the old one.
    new = archive.with_suffix(".new")
    new.unlink(missing_ok=True)
    _reserve(new, _HEADER + sum(_room_of(key) for key in sums))
    written = MmapedDict(str(new))  # type: ignore[no-untyped-call]
    for key, value in sums.items():
        written.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    written.close()  # type: ignore[no-untyped-call]
    new.replace(archive)


class _Files:
    """The files of this process, one for each kind of metric."""

    def __init__(self, place: Path, owner: str) -> None:
        self._place = place
        self._owner = owner
        self._open: dict[str, Any] = {}
        self._is_forked = self._is_told = False
        os.register_at_fork(after_in_child=self._leave_to_parent)

    def of(self, kind: str) -> Any:
        """The file of a kind, such as counter or gauge_livesum."""
        if self._is_forked:
            return _Nowhere
        if kind not in self._open:
            path = self._place / f"{kind}_{self._owner}.db"
            if not path.exists():
                # Under another name, as whoever reads an empty file fails.
                new = path.with_suffix(".new")
                _reserve(new, RESERVED.get(kind, RESERVED_ELSE))
                new.replace(path)
            self._open[kind] = _ReservedDict(str(path))
        return self._open[kind]

    def tell(self, exc: OSError) -> None:
        """Logs, once, that further metrics have no room."""
        if not self._is_told:
            _log.warning("metrics_not_shared", reason=f"new series have no room: {type(exc).__name__}: {exc}")
        self._is_told = True

    def _leave_to_parent(self) -> None:
        """A child that this process forks counts for itself alone."""
        self._is_forked = True
        for file in self._open.values():
            file.read_value, file.write_value = _Nowhere.read_value, _Nowhere.write_value


class _ReservedDict(MmapedDict):
    """A file that grows only by what the disk has room for; raises OSError where it has none."""

    def __init__(self, path: str) -> None:
        super().__init__(path)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        capacity = self._capacity
        while self._used + _room_of(key) > capacity:
            capacity *= 2
        if capacity > self._capacity:
            _reserve(Path(self._fname), capacity)
        super()._init_value(key)  # type: ignore[no-untyped-call]


class _Nowhere:
    """In the place of a file that is another process's, or that the disk has no room for."""

    @staticmethod
    def read_value(key: str) -> tuple[float, float]:
        return 0.0, 0.0

    @staticmethod
    def write_value(key: str, value: float, timestamp: float) -> None:
        return None


_HEADER = 8


def _room_of(key: str) -> int:
    """Bytes that an entry of MmapedDict takes at most: the length of the key, the key padded, and two numbers."""
    return 4 + len(key.encode()) + 8 + 16


def _reserve(path: Path, size: int) -> None:
    with path.open("ab") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)


def _make_value_class(files: _Files) -> type[Any]:
    """The class of values of which prometheus_client makes its metrics, in files of this process."""
    lock = Lock()
    numbers: dict[tuple[str, str], list[float]] = {}
    """By kind and key: two services of a process count in one place."""

    class SharedValue:
        """A number in a file of this process."""

        _multiprocess = True

        def __init__(
            self,
            typ: str,
            metric_name: str,
            name: str,
            labelnames: Any,
            labelvalues: Any,
            help_text: str,
            multiprocess_mode: str = "",
            **_: Any,
        ) -> None:
            self._key = mmap_key(metric_name, name, labelnames, labelvalues, help_text)
            kind = f"{typ}_{multiprocess_mode}" if typ == "gauge" else typ
            with lock:
                try:
                    self._file = files.of(kind)
                    found = self._file.read_value(self._key)[0]
                except OSError as exc:
                    files.tell(exc)
                    self._file, found = _Nowhere, 0.0
                self._number = numbers.setdefault((kind, self._key), [found])

        def inc(self, amount: float) -> None:
            with lock:
                number = self._number[0] = self._number[0] + amount
                self._file.write_value(self._key, number, 0.0)

        def set(self, value: float, timestamp: float | None = None) -> None:
            with lock:
                self._number[0] = value
                self._file.write_value(self._key, value, timestamp or 0.0)

        def get(self) -> float:
            return self._number[0]

        def set_exemplar(self, exemplar: Any) -> None:
            """Exemplars stay in no file, as in prometheus_client's own."""

        def get_exemplar(self) -> None:
            return None

    return SharedValue
