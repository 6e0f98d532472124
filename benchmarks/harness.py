"""Fair measuring on a noisy machine: interleaved rounds, medians, CPU time, servers and children with bounds."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0
STOP_SECONDS = 8.0
TICKS = os.sysconf("SC_CLK_TCK")

Name = TypeVar("Name")


class BenchError(Exception):
    """A peer did not start, or answered something other than success: its figures would mean nothing."""


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; `share` is between 0 and 1. Raises ValueError on no values."""
    if not values:
        raise ValueError("a percentile needs at least one value")
    if not 0 <= share <= 1:
        raise ValueError(f"share must be between 0 and 1, not {share}")
    ordered = sorted(values)
    rank = max(1, math.ceil(share * len(ordered)))
    return ordered[rank - 1]


def paired_ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """The ratio of each round; rounds pair because both sides ran next to each other in time."""
    if len(ours) != len(theirs) or not ours:
        raise ValueError("paired samples need the same number of rounds, at least one")
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def turns(names: Sequence[Name], rounds: int) -> Iterator[Name]:
    """A B C, C B A, A B C, ...: whose turn it is, over all rounds.

    Every second round goes backwards, because a candidate that always follows the same neighbour inherits that
    neighbour's cache and I/O debt.
    """
    for number in range(rounds):
        yield from names if number % 2 == 0 else reversed(names)


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process so far, in steps of 10 ms."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise BenchError(f"process {pid} has no resident memory: it has ended")


def pin(pid: int, core: int) -> None:
    """Server and client on a core each, so that neither takes the other's time; no-op on one core."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(pid, {cores[core % len(cores)]})


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A child's environment: nothing of the caller's settings, this tree importable."""
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    return {**keep, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "", **(extra or {})}


def request(port: int, method: str, path: str, *, token: str | None = None, body: object = None) -> tuple[int, Any]:
    """One request for the set-up; gives the status and the JSON answer (None when it is not JSON)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        data = response.read()
    finally:
        connection.close()
    try:
        return response.status, json.loads(data)
    except ValueError:
        return response.status, None


class Server:
    """uvicorn with one app on a free port, stopped by its pid; its log goes to a file in `folder`."""

    def __init__(
        self,
        app: str,
        folder: Path,
        env: Mapping[str, str] | None = None,
        *,
        ready: str = "/healthz",
        pinned: bool = True,
    ) -> None:
        self.app, self.folder, self.ready, self.pinned = app, folder, ready, pinned
        self.env = environment(env)
        self.port = 0
        self.started_after = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "server.log"

    @property
    def pid(self) -> int:
        """The process id. Raises BenchError before the start."""
        if self._process is None:
            raise BenchError(f"{self.app} is not running")
        return self._process.pid

    def __enter__(self) -> Server:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        command = [
            sys.executable, "-m", "uvicorn", self.app, "--host", "127.0.0.1", "--port", str(self.port),
            "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning",
        ]  # fmt: skip
        begun = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=log, stderr=log)
        if self.pinned:
            pin(self.pid, 0)
        try:
            self._wait_until_ready(begun)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when the process is still there after eight seconds."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
        self._process = None

    def log_tail(self, characters: int = 1500) -> str:
        """The end of what the server printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-characters:]

    def _wait_until_ready(self, begun: float) -> None:
        assert self._process is not None
        while time.perf_counter() - begun < START_SECONDS:
            if self._process.poll() is not None:
                raise BenchError(f"{self.app} ended with {self._process.returncode}: {self.log_tail()}")
            with contextlib.suppress(OSError):
                if request(self.port, "GET", self.ready)[0] == 200:
                    self.started_after = time.perf_counter() - begun
                    return
            time.sleep(0.005)
        raise BenchError(f"{self.app} did not answer {self.ready} in {START_SECONDS:.0f} s: {self.log_tail()}")


def free_port() -> int:
    """A port on the loopback that was free a moment ago."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def child(
    module: str,
    spec: object,
    folder: Path,
    *,
    limit: float,
    env: Mapping[str, str] | None = None,
    core: int | None = None,
    python: str = sys.executable,
) -> Any:
    """Run `python -m module FILE` with the spec as JSON on its input; gives the JSON it wrote to FILE.

    The answer travels in a file because an app under test may print its log to standard output.
    """
    folder.mkdir(parents=True, exist_ok=True)
    answer, log = folder / "answer.json", folder / "child.log"
    answer.unlink(missing_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-m", module, str(answer)],
            cwd=folder, env=environment(env), stdin=subprocess.PIPE, stdout=output, stderr=output,
        )  # fmt: skip
        if core is not None:
            pin(process.pid, core)
        try:
            process.communicate(json.dumps(spec).encode(), timeout=limit)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{module} took more than {limit:.0f} s") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode != 0 or not answer.exists():
        text = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise BenchError(f"{module} ended with {process.returncode}: {text}")
    return json.loads(answer.read_text(encoding="utf-8"))


def answer(value: object) -> None:
    """The child's half of `child`: leave the value in the file named on the command line."""
    Path(sys.argv[1]).write_text(json.dumps(value), encoding="utf-8")


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards; on disk, so that fsync costs what it costs."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        yield Path(name)
