"""Forks processes that have everything imported already, so that a test may kill many of them: see `Nursery`.

As a program it reads a line for each process, with its module, arguments, environment and the file that it writes to,
and tells the process's id and, later on, how it ended. When its input ends, so do they.
"""

import json
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Queue
from types import TracebackType
from typing import Any, Self

from app_kernel.jobs import worker  # imported here, so that no process has to
from tests.faults.children import ROOT, emit

PRELOADED = ("saq.worker", "redis.asyncio", "asyncpg", "apsw", "tests.faults.job_tasks", worker.__name__)
LOOK_SECONDS = 0.01


class Fork:
    """One process of a nursery; what a test needs of `subprocess.Popen`."""

    def __init__(self, pid: int, ended: dict[int, int]) -> None:
        self.pid = pid
        self._ended = ended

    def poll(self) -> int | None:
        """How it ended, as Popen says it; None while it runs."""
        return self._ended.get(self.pid)

    def send_signal(self, number: int) -> None:
        """Sends a signal to it, if it runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The program, and what is forked from it; all are dead at the end of the block."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.faults.nursery"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._ended: dict[int, int] = {}
        self._started: Queue[int] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for raw in self._process.stdout:
            line = json.loads(raw)
            if "code" in line:
                self._ended[line["pid"]] = line["code"]
            else:
                self._started.put(line["pid"])

    def fork(self, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Fork:
        """Runs a module with these arguments as a program."""
        assert self._process.stdin is not None
        line = {"module": module, "arguments": list(arguments), "environment": dict(environment), "log": str(log)}
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        self._process.stdin.flush()
        return Fork(self._started.get(timeout=90), self._ended)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._reader.join(30)
        assert self._process.stdout is not None
        self._process.stdout.close()


def be(line: dict[str, Any]) -> None:
    """In a new process: becomes what was asked for."""
    out = os.open(line["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, stream in enumerate((nothing, out, out)):
        os.dup2(stream, number)
    os.environ.update(line["environment"])
    sys.argv = [line["module"], *line["arguments"]]
    runpy.run_module(line["module"], run_name="__main__", alter_sys=True)


def fork(line: dict[str, Any]) -> int:
    """The id of the new process."""
    pid = os.fork()
    if pid:
        return pid
    try:
        be(line)
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    else:
        code = 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Forks until the input ends."""
    for name in PRELOADED:
        __import__(name)
    running: set[int] = set()
    rest = b""
    while True:
        if select.select([0], [], [], LOOK_SECONDS)[0]:
            data = os.read(0, 65536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for raw in lines:
                pid = fork(json.loads(raw))
                running.add(pid)
                emit(pid=pid)
        for pid in tuple(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                running.discard(pid)
                emit(pid=pid, code=os.waitstatus_to_exitcode(status))
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
