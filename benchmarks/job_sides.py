"""The sides of P6 and P7: which library over which place, in which interpreter, and its processes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import kernel_side
from benchmarks.harness import STOP_SECONDS, BenchError, child, cpu_seconds, environment
from benchmarks.job_board import Board
from benchmarks.peer_environment import python_of
from benchmarks.postgres import Postgres
from benchmarks.redis_servers import DurableRedis
from benchmarks.report import Group

MODULE = "benchmarks.job_child"
READY_SECONDS = 30.0
PEERS = {
    "kernel": "jobs_kernel:KernelJobs",
    "saq": "jobs_saq:SaqJobs",
    "arq": "jobs_arq:ArqJobs",
    "taskiq": "jobs_taskiq:TaskiqJobs",
}
OWN_ENVIRONMENT = ("arq", "taskiq")
LOOK_SECONDS = 0.01


@dataclass(slots=True)
class Side:
    """One library over one place."""

    name: str
    """Such as "kernel, Redis always"."""
    peer: str
    folder: Path
    place: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable
    redis: DurableRedis | None = None
    redis_number: int = 0
    """Which of its databases."""
    postgres: Postgres | None = None
    _begun: int = 0

    def begin_anew(self) -> None:
        """An empty place."""
        self._begun += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.redis is not None:
            self.redis.empty(self.redis_number)
            self.place["redis"] = self.redis.database(self.redis_number)
        if self.peer != "kernel":
            return
        if self.postgres is not None:
            (self.place["database"],) = self.postgres.databases(["jobs"]).values()
        else:
            self.place["database"] = f"sqlite:///{self.folder / f'{self._begun}.db'}"

    def server_cpu(self) -> float:
        """Seconds of processor time that Redis has taken; 0 without one."""
        return 0.0 if self.redis is None else self.redis.cpu()

    def run(self, step: str, *, limit: float, **more: Any) -> Any:
        """A process of this side, and its answer."""
        return child(MODULE, self.told(step, **more), self.folder / step, limit=limit, python=self.python)

    def told(self, step: str, **more: Any) -> dict[str, Any]:
        """What a process of this side is told."""
        return {"step": step, "peer": PEERS[self.peer], "place": self.place, **more}


def sides(
    peers: Sequence[str], redis: Mapping[str, DurableRedis], postgres: Postgres, folder: Path, group: Group
) -> list[Side]:
    """Those of these libraries that can be measured here, each beside the others; what cannot is a note."""
    pythons: dict[str, str] = {}
    for peer in peers:
        try:
            if peer == "kernel" and (reason := kernel_side.missing()) is not None:
                raise BenchError(reason)
            pythons[peer] = python_of(peer) if peer in OWN_ENVIRONMENT else sys.executable
        except BenchError as exc:
            group.notes.append(f"{peer} was not measured: {exc}")
    found: list[Side] = []
    for sync, server in redis.items():
        for number, (peer, python) in enumerate(pythons.items()):
            home = folder / f"{peer}-{sync}"
            found.append(Side(f"{peer}, Redis {sync}", peer, home, python=python, redis=server, redis_number=number))
    if "kernel" in pythons:
        found.append(Side("kernel, SQLite", "kernel", folder / "sqlite"))
        found.append(Side("kernel, PostgreSQL", "kernel", folder / "postgres-side", postgres=postgres))
    return found


class Workers:
    """The worker processes of a side, which begin when they are told to."""

    def __init__(self, side: Side, board: Board) -> None:
        self.board = board
        self._side = side
        self._processes: list[subprocess.Popen[bytes]] = []
        self._logs: list[Path] = []

    def begin(self) -> None:
        """Gives the sign when every one is ready. Raises BenchError when one ended before."""
        self._until(lambda: self.board.ready >= len(self._processes), READY_SECONDS, "get ready")
        self.board.give_sign()

    def wait_for(self, jobs: int, limit: float) -> None:
        """Until each of so many jobs was started. Raises BenchError when they are not in time."""
        self._until(lambda: self.board.ran >= jobs and all(self.board.times()), limit, f"start {jobs} jobs")

    def cpu(self) -> float:
        """Seconds of processor time of all of them."""
        return sum(cpu_seconds(process.pid) for process in self._processes)

    def add(self, told: Mapping[str, Any], folder: Path) -> None:
        """Starts one."""
        folder.mkdir(exist_ok=True)
        self._logs.append(folder / "log")
        with self._logs[-1].open("wb") as log:
            process = subprocess.Popen(
                [self._side.python, "-m", MODULE, str(folder / "answer.json")],
                cwd=folder, env=environment(), stdin=subprocess.PIPE, stdout=log, stderr=log,
            )  # fmt: skip
        self._processes.append(process)
        assert process.stdin is not None
        process.stdin.write(json.dumps(told).encode())
        process.stdin.close()

    def stop(self) -> None:
        """Ends all of them, by their pids."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_SECONDS)

    def _until(self, is_so: Callable[[], bool], limit: float, what: str) -> None:
        late = time.perf_counter() + limit
        while not is_so():
            ended = [process.returncode for process in self._processes if process.poll() is not None]
            if ended or time.perf_counter() > late:
                why = f"ended with {ended[0]}" if ended else f"{self.board.ran} were started"
                told = "\n".join(log.read_text(encoding="utf-8", errors="replace")[-1500:] for log in self._logs)
                raise BenchError(f"{self._side.name} did not {what} in {limit:.0f} s ({why}): {told}")
            time.sleep(LOOK_SECONDS)


@contextlib.contextmanager
def workers(side: Side, *, jobs: int, count: int, concurrency: int) -> Iterator[Workers]:
    """So many worker processes for the length of the block."""
    file = side.folder / "board"
    running = Workers(side, Board(file, jobs))
    try:
        for number in range(count):
            told = side.told("work", jobs=jobs, worker=number, board=str(file), concurrency=concurrency)
            running.add(told, side.folder / f"worker-{number}")
        yield running
    finally:
        running.stop()
        running.board.close()
        file.unlink()
