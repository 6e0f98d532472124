"""A Redis of a test's own, which may be killed and started again on the same port."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tools.debian import program
from tools.services import HOST, exchange, free_port


class OwnRedis:
    """It keeps nothing on disk, and is not running at first."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    async def start(self) -> None:
        self._spawn()
        async with asyncio.timeout(30):
            while not exchange(self.port, b"PING\r\n").startswith(b"+PONG"):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)

    def _spawn(self) -> None:
        options = ["--bind", HOST, "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [program("redis-server"), *options], cwd=self._folder, stdout=subprocess.DEVNULL, process_group=0
        )

    def pause(self, signal_number: int) -> None:
        assert self._process is not None
        self._process.send_signal(signal_number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@asynccontextmanager
async def own_redis(folder: Path) -> AsyncIterator[OwnRedis]:
    server = OwnRedis(folder)
    try:
        yield server
    finally:
        server.kill()
