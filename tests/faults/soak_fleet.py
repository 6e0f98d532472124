"""The processes of a service in production: web, workers and admin workers, killed and started again."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from tests.faults.children import ROOT
from tests.zygote import Forked, start
from tools.services import free_port

SECRET = "secret-of-the-soak-tests-0123456789abcdef"
BEAT, SCALE = 0.6, 1 / 50
"""A worker that was killed is noticed after some 3 to 4 seconds; webhooks are tried again sooner than in production."""
FIRST, PASSWORD = "first@example.com", "plum tree over water"
"""Somebody who has an account."""
SETTINGS = {
    "JWT_SECRET": SECRET,
    "ALLOW_SELF_SIGNUP": "true",
    "RATE_LIMIT_REQUESTS": "1000000",
    "RATE_LIMIT_AUTH_REQUESTS": "1000000",
    "WEBHOOK_ALLOW_PRIVATE": "true",
    "WEBHOOK_TIMEOUT_SECONDS": "3",
    "LOG_LEVEL": "WARNING",
}
KEPT = ("PATH", "PYTHONPATH", "HOME", "TMPDIR")
APP = "tests.faults.soak_app:app"


@dataclass
class Part:
    """One process, and those that follow it when it was killed."""

    name: str
    module: str
    arguments: Sequence[str]
    port: int = 0
    """Where a web process listens; 0 for others."""
    process: Forked | None = None
    born: float = 0.0
    pids: list[int] = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        """Whether it lives."""
        return self.process is not None and self.process.poll() is None


class SoakFleet:
    """What is started by it is dead at the end of the block."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = {name: os.environ[name] for name in KEPT if name in os.environ} | SETTINGS | dict(settings)
        self._forks: list[Forked] = []
        self._made: Counter[str] = Counter()
        self.parts: list[Part] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for fork in self._forks:
            fork.kill()
        for fork in self._forks:
            fork.wait(30)

    def web(self) -> Part:
        """One more web process on a port of its own."""
        port = free_port()
        return self._add("web", "tests.faults.soak_web", [str(BEAT), str(SCALE), str(port)], port)

    def worker(self) -> Part:
        """One more worker."""
        options = ["--app", APP, "--concurrency", "10", "--log-level", "WARNING"]
        return self._add("worker", "tests.faults.webhook_worker", [str(BEAT), str(SCALE), *options])

    def admin_worker(self, redis: str, database: str) -> Part:
        """One more admin worker."""
        return self._add("admin", "app_kernel.admin_worker", ["--redis", redis, "--db", database])

    def _add(self, kind: str, module: str, arguments: Sequence[str], port: int = 0) -> Part:
        part = Part(f"{kind}-{self._made[kind]}", module, arguments, port)
        self._made[kind] += 1
        self.parts.append(part)
        self.start(part)
        return part

    def start(self, part: Part) -> None:
        """A process for it; the one before has ended."""
        with self.log(part).open("a") as out:
            part.process = start(part.module, part.arguments, cwd=ROOT, env=self._environment, stdout=out.fileno())
        part.born = time.monotonic()
        part.pids.append(part.process.pid)
        self._forks.append(part.process)

    async def kill(self, part: Part) -> None:
        """SIGKILL; returns when it is dead."""
        assert part.process is not None
        part.process.kill()
        assert await asyncio.to_thread(part.process.wait, 30) == -signal.SIGKILL, self.said(part)

    async def stop(self, part: Part, seconds: float = 60) -> int:
        """SIGTERM; how it ended."""
        assert part.process is not None
        part.process.terminate()
        return await asyncio.to_thread(part.process.wait, seconds)

    def log(self, part: Part) -> Path:
        """What its processes wrote."""
        return self._folder / f"{part.name}.log"

    def said(self, part: Part) -> str:
        """The end of that."""
        return self.log(part).read_text()[-3000:]

    async def answering(self, part: Part, path: str = "/readyz", seconds: float = 90) -> None:
        """Returns when a web process answers there with 200."""
        deadline = time.monotonic() + seconds
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{part.port}", timeout=10) as client:
            while True:
                try:
                    answer = await client.get(path)
                except httpx2.HTTPError as exc:
                    last = repr(exc)
                else:
                    if answer.status_code == 200:
                        return
                    last = answer.text
                assert time.monotonic() < deadline, f"{part.name} does not answer: {last}\n{self.said(part)}"
                await asyncio.sleep(0.05)

    async def hash_once(self, part: Part) -> None:
        """Signs somebody in: the memory of a process's first argon2 hash, 19 MiB, stays with it, and is no growth."""
        given = {"email": FIRST, "password": PASSWORD}
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{part.port}", timeout=30) as client:
            (await client.post("/auth/login", json=given)).raise_for_status()

    def assert_alive(self) -> None:
        """Nobody ended who was not killed."""
        ended = [part for part in self.parts if not part.is_running]
        assert not ended, [(part.name, part.process and part.process.poll(), self.said(part)) for part in ended]
