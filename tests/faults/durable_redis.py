"""A Redis that keeps what it is told on disk, and is killed, started again, or given an older disk.

With `appendfsync everysec`, as it is shipped, what it acknowledged within the last two seconds may be missing after a
kill: it puts off writing its log while the disk is at work. With `always` nothing is.
"""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tools.debian import program
from tools.services import HOST, exchange, free_port


class DurableRedis:
    """One server on a port of its own."""

    def __init__(self, folder: Path, fsync: str = "everysec") -> None:
        self.port = free_port()
        self._folder = folder
        self._fsync = fsync
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def start(self) -> None:
        """Returns when it answers."""
        options = ["--bind", HOST, "--port", str(self.port), "--save", "", "--appendonly", "yes"]
        options += ["--appendfsync", self._fsync]
        self._process = subprocess.Popen(
            [program("redis-server"), *options], cwd=self._folder, stdout=subprocess.DEVNULL, process_group=0
        )
        deadline = time.monotonic() + 30
        while not exchange(self.port, b"PING\r\n").startswith(b"+PONG"):
            assert time.monotonic() < deadline, "Redis did not start"
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def copy(self, place: Path) -> None:
        """A copy of its disk as it is now."""
        shutil.copytree(self._folder, place)

    def restore(self, place: Path) -> None:
        """Starts it with an older disk."""
        self.kill()
        shutil.rmtree(self._folder)
        shutil.copytree(place, self._folder)
        self.start()

    @contextmanager
    def client(self) -> Iterator["redis.Redis"]:
        """A client that waits for its answers."""
        client = redis.Redis.from_url(self.url, decode_responses=True)
        try:
            yield client
        finally:
            client.close()


@contextmanager
def durable_redis(folder: Path, fsync: str = "everysec") -> Iterator[DurableRedis]:
    """A running server, gone at the end."""
    folder.mkdir()
    server = DurableRedis(folder, fsync)
    server.start()
    try:
        yield server
    finally:
        server.kill()
