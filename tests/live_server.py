"""A service in a process of its own, behind uvicorn on a free port of the loopback, and everything that it printed."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.zygote import Forked, start

_ADDRESS = re.compile(r"running on http://127\.0\.0\.1:(\d+)")
# What a service reads from the environment must come from its test, and from nothing else.
_KEPT = {"PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV"}


class LiveServer:
    """The process, its port and its output."""

    def __init__(self, process: "subprocess.Popen[bytes] | Forked", output: int) -> None:
        self.process = process
        self._output = output
        self.port = 0
        self.printed: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with open(self._output, encoding="utf-8") as output:  # noqa: PTH123 - a descriptor has no path
            for line in output:
                self.printed.append(line)
                if found := _ADDRESS.search(line):
                    self.port = int(found[1])
                    self._ready.set()
        self._ready.set()

    def wait_until_ready(self, seconds: float = 60) -> None:
        assert self._ready.wait(seconds), "the server did not start in time"
        assert self.port, "the server ended:\n" + "".join(self.printed)
        # With several workers the address is printed when it is taken, which is before anybody listens there.
        deadline = time.monotonic() + seconds
        while not self._listens():
            assert time.monotonic() < deadline, "the server did not listen in time"
            time.sleep(0.02)

    def _listens(self) -> bool:
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return False
        return True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def talk(self, request: bytes) -> bytes:
        """Sends bytes and reads until the server closes the connection."""
        with self.connect() as connection:
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request)
            return read_all(connection)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal, waits for the end, and gives the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(30)
        self.join()
        return status

    def join(self) -> None:
        """Waits until everything that was printed has been read."""
        self._reader.join(10)
        assert not self._reader.is_alive(), "a process still holds the server's output"

    def lines(self) -> list[dict[str, Any]]:
        """Every line that the stopped process wrote, each of which must be JSON once the kernel is loaded."""
        return [json.loads(line) for line in self.printed if not re.match(r"(INFO|WARNING|ERROR): ", line)]

    def rss(self) -> int:
        """Bytes of memory that the process holds."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


def read_all(connection: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


@contextmanager
def live_server(folder: Path, *options: str, forked: bool = False, **variables: str) -> Iterator[LiveServer]:
    """`uvicorn main:app` in `folder`, with these environment variables and no others of a service.

    With `forked` the process has imported the kernel already, see `tests.zygote`; it cannot have `--workers` then.
    """
    environment = {name: value for name, value in os.environ.items() if name in _KEPT} | variables
    arguments = ["main:app", "--port", "0", *options]
    output, theirs = os.pipe()
    process: subprocess.Popen[bytes] | Forked
    if forked:
        process = start("uvicorn", arguments, cwd=folder, env=environment, stdout=theirs, own_session=True)
    else:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", *arguments], cwd=folder, env=environment, stdout=theirs, stderr=theirs,
            start_new_session=True,
        )  # fmt: skip
    os.close(theirs)
    server = LiveServer(process, output)
    try:
        server.wait_until_ready()
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the workers too: one that is left would hold the pipe open
        process.kill()  # one that was forked and has no group yet
        process.wait(30)
        server.join()
