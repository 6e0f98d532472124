"""Processes of Python that have the kernel imported already, so that a test may start many of them.

Starting an interpreter and importing the kernel takes more than a second of processor time, forking a process that has
done both some hundredths. What is forked is a process like any other: its own id, environment, directory, streams and
exit status, and SIGKILL ends it. Nothing but modules is made before the fork: no loop, no thread, no connection.

    process = start("app_kernel.jobs.worker", ["--tasks", "my_tasks"], cwd=folder, env={}, stdout=write_end)

As a program this is the process that forks, one for each process that runs tests. It reads a line for each fork, with
file descriptors beside it, and tells its id and, later on, how it ended. When its input ends, so do all of them.
"""

import atexit
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

ROOT = Path(__file__).parents[1]
PRELOADED = (
    "app_kernel.jobs.worker", "app_kernel.testing", "apsw", "asyncpg", "fastapi", "hiredis", "redis.asyncio",
    "saq.worker", "uvicorn.lifespan.on", "uvicorn.protocols.http.httptools_impl", "uvloop",
)  # fmt: skip
LOOK_SECONDS = 0.02
MESSAGE = 1 << 20
NOT_FORKED = "PROMETHEUS_MULTIPROC_DIR"
"""A library reads this variable when it is imported, so that such a process has to begin at the beginning."""


class Forked:
    """One process; what a test needs of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._returncode: int | None = None
        self._ended = threading.Event()

    @property
    def returncode(self) -> int | None:
        """How it ended, as Popen says it; None while it runs."""
        return self._returncode

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        return self._returncode

    def wait(self, timeout: float | None = None) -> int:
        """How it ended, once it has; raises subprocess.TimeoutExpired."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        assert self._returncode is not None
        return self._returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal to it, if it runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM, if it runs."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        self.send_signal(signal.SIGKILL)

    def end(self, code: int) -> None:
        """Called when it has ended."""
        self._returncode = code
        self._ended.set()


class Zygote:
    """The process that forks."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Written like this, its traces and its name in a list of processes say what it is.
        command = [sys.executable, "-m", "tests.zygote", str(theirs.fileno())]
        self._process = subprocess.Popen(
            command, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        )
        theirs.close()
        self._running: dict[int, Forked] = {}
        self._answer: list[Forked] = []
        self._answered = threading.Semaphore(0)
        self._lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True, name="zygote").start()

    def fork(self, line: Mapping[str, Any], streams: Sequence[int]) -> Forked:
        """A new process; raises AssertionError when there is none within a minute and a half."""
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(line).encode()], streams)
            assert self._answered.acquire(timeout=90), "nothing was forked"
            return self._answer.pop()

    def _read(self) -> None:
        while data := self._receive():
            pid, code = json.loads(data)
            if code is None:
                self._running[pid] = forked = Forked(pid)
                self._answer.append(forked)
                self._answered.release()
            else:
                self._running.pop(pid).end(code)

    def _receive(self) -> bytes:
        with suppress(OSError):
            return self._socket.recv(MESSAGE)
        return b""

    def close(self) -> None:
        """Ends it, and all that it forked."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._process.wait(30)
        self._socket.close()


@cache
def _zygote() -> Zygote:
    zygote = Zygote()
    atexit.register(zygote.close)
    return zygote


def start(
    module: str,
    arguments: Sequence[str],
    *,
    cwd: Path | str,
    env: Mapping[str, str],
    stdin: int | None = None,
    stdout: int,
    stderr: int | None = None,
    own_session: bool = False,
) -> Forked:
    """`python -m module arguments` in a directory, with this environment and no other variables.

    The streams are file descriptors, which the caller may close afterwards: no `stdin` is none at all, and no `stderr`
    is the same as `stdout`.
    """
    assert NOT_FORKED not in env
    line: dict[str, Any] = {"module": module, "arguments": list(arguments), "cwd": str(cwd), "environment": dict(env)}
    line["session"] = own_session
    nothing = os.open(os.devnull, os.O_RDONLY) if stdin is None else stdin
    try:
        return _zygote().fork(line, [nothing, stdout, stdout if stderr is None else stderr])
    finally:
        if stdin is None:
            os.close(nothing)


def run(
    module: str, arguments: Sequence[str], *, cwd: Path | str, env: Mapping[str, str], timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """The same until its end, with what it wrote; raises subprocess.TimeoutExpired after having killed it."""
    with TemporaryFile() as output, TemporaryFile() as errors:
        process = start(module, arguments, cwd=cwd, env=env, stdout=output.fileno(), stderr=errors.fileno())
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess([module, *arguments], status, output.read().decode(), errors.read().decode())


def become(line: Mapping[str, Any], streams: Sequence[int]) -> None:
    """In a new process: becomes what was asked for."""
    if line["session"]:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(line["cwd"])
    os.environ.clear()
    os.environ.update(line["environment"])
    sys.dont_write_bytecode = bool(line["environment"].get("PYTHONDONTWRITEBYTECODE"))
    time.tzset()
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(io.FileIO(number, "w", closefd=False), "utf-8", errors, write_through=True)
        for number, errors in ((1, "strict"), (2, "backslashreplace"))
    )
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    sys.path[0:1] = [line["cwd"], *filter(None, line["environment"].get("PYTHONPATH", "").split(os.pathsep))]
    importlib.invalidate_caches()
    sys.argv = [line["module"], *line["arguments"]]
    gc.enable()
    if not hasattr(sys.modules.get(line["module"]), "__path__"):
        # A module that was imported for its imports is run anew, as by -m; of a package that is its `__main__`.
        sys.modules.pop(line["module"], None)
    runpy.run_module(line["module"], run_name="__main__", alter_sys=True)


def serve(connection: socket.socket) -> tuple[Mapping[str, Any], Sequence[int]] | None:
    """Forks until the input ends; in a new process returns what it shall become."""
    running: set[int] = set()
    while True:
        if select.select([connection], [], [], LOOK_SECONDS if running else None)[0]:
            data, streams, _, _ = socket.recv_fds(connection, MESSAGE, 3)
            if not data:
                break
            pid = os.fork()
            if not pid:
                connection.close()
                return json.loads(data), streams
            for stream in streams:
                os.close(stream)
            running.add(pid)
            connection.send(json.dumps([pid, None]).encode())
        for pid in tuple(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                running.discard(pid)
                connection.send(json.dumps([pid, os.waitstatus_to_exitcode(status)]).encode())
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return None


def main() -> None:
    """The program."""
    gc.disable()
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        task = serve(connection)
    # Back here, so that a new process ends as every interpreter does.
    if task is not None:
        become(*task)


if __name__ == "__main__":
    main()
