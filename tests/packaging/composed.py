"""What the compose file starts, as processes of this machine: with its commands, variables and probes."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg

from tests.live_server import LiveServer, live_server
from tests.packaging import compose
from tests.packaging.distributions import ROOT
from tests.zygote import start
from tools.debian import program
from tools.services import HOST, free_port

BIN = Path(sys.executable).parent
SECONDS = 60.0


class Composed:
    """The services of the file below a directory, on the tests' PostgreSQL and a Redis that the file describes."""

    def __init__(self, folder: Path, database: Mapping[str, str]) -> None:
        self.services = compose.services(compose.FILLED)
        self.folder = folder / "service"
        self._database = database
        self._redis_port = free_port()
        self.health_port = free_port()
        source = ROOT / "examples" / "growing"
        shutil.copytree(source, self.folder, ignore=shutil.ignore_patterns("*.md", "__pycache__"))

    def environment(self, name: str) -> dict[str, str]:
        """The variables of a service; the servers are where they are here."""
        said = self.services[name].environment
        assert {**self._database, "DATABASE_PORT": ""}.keys() <= {*said, "DATABASE_PORT"}
        redis = said["REDIS_URL"].replace("@redis:6379", f"@{HOST}:{self._redis_port}")
        assert redis != said["REDIS_URL"]
        kept = {"PATH": f"{BIN}:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
        return {**said, **self._database, "REDIS_URL": redis, **kept}

    @contextmanager
    def redis(self) -> Iterator[None]:
        """Redis by the command of the file, ready as its probe says."""
        service = self.services["redis"]
        shell, option, script = service.command
        data = self.folder.parent / "redis"
        data.mkdir()
        own = script.replace("dir /data\n", f"dir {data}\nbind {HOST}\nport {self._redis_port}\n")
        assert own != script
        places = f"{Path(program('redis-server')).parent}:/usr/bin:/bin"
        process = subprocess.Popen(
            [shell, option, own], env={"PATH": places, **service.environment}, stdout=subprocess.DEVNULL
        )
        try:
            _until("Redis", lambda: self.is_well("redis"))
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(service.grace_seconds) == 0
            assert any(data.rglob("*.aof")), "it keeps no log"
        finally:
            process.kill()
            process.wait(30)

    @contextmanager
    def web(self) -> Iterator[LiveServer]:
        """The server, on a free port."""
        service = self.services["web"]
        assert service.command[:6] == ["uvicorn", "main:app", "--host", "0.0.0.0", "--port", "8000"]
        with live_server(self.folder, *service.command[6:], **self.environment("web")) as server:
            _until("the service", lambda: self.is_well("web", server.port))
            yield server
            begun = time.monotonic()
            assert server.stop() in (0, -signal.SIGTERM), "".join(server.printed)
            assert time.monotonic() - begun < service.grace_seconds

    @contextmanager
    def worker(self, name: str) -> Iterator[None]:
        """One of the workers."""
        service = self.services[name]
        python, option, module, *said = service.command
        assert (python, option) == ("python", "-m")
        arguments = [str(self.health_port) if word == "9100" else word for word in said]
        log = self.folder.parent / f"{name}.log"
        with log.open("w") as output:
            process = start(module, arguments, cwd=self.folder, env=self.environment(name), stdout=output.fileno())
        try:
            if service.probe:
                _until(name, lambda: self.is_well(name, self.health_port))
            yield
            process.terminate()
            assert process.wait(service.grace_seconds) == 0, log.read_text()
        finally:
            process.kill()

    def is_well(self, name: str, port: int = 0) -> bool:
        """What the probe of a service says of the one that runs here."""
        service = self.services[name]
        assert service.probe is not None
        words = [re.sub(r"127\.0\.0\.1:\d+", f"{HOST}:{port}", word) for word in service.probe]
        words = [word.replace("redis-cli", f"redis-cli -p {self._redis_port}") for word in words]
        words[0] = str(BIN / words[0]) if words[0] == "python" else words[0]
        own = {"PATH": "/usr/bin:/bin", **service.environment}
        return subprocess.run(words, check=False, env=own, capture_output=True, timeout=60).returncode == 0

    def written(self) -> set[str]:
        """The names of what lies beside the service's own files, where its container could write nothing."""
        there = {path.name for path in self.folder.iterdir()}
        return there - {path.name for path in (ROOT / "examples" / "growing").iterdir()}


def _until(what: str, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"{what} is not well"
        time.sleep(0.1)


@asynccontextmanager
async def empty_database(url: str) -> AsyncIterator[dict[str, str]]:
    """A database of PostgreSQL, as the settings of a service name it."""
    parts, name = urlsplit(url), f"compose_{os.urandom(4).hex()}"
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE DATABASE {name}")
    try:
        yield {
            "DATABASE_HOST": parts.hostname or HOST,
            "DATABASE_PORT": str(parts.port or 5432),
            "DATABASE_NAME": name,
            "DATABASE_USER": unquote(parts.username or ""),
            "DATABASE_PASSWORD": unquote(parts.password or ""),
        }
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()


async def arrived(look: Callable[[], Awaitable[bool]]) -> None:
    """Returns once a coroutine function gives something true."""
    async with asyncio.timeout(SECONDS):
        while not await look():  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.05)
