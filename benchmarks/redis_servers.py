"""Redis servers that keep what they are told: appendonly, synced each second or with each command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import ClassVar

from benchmarks.harness import BenchError, cpu_seconds
from tools.debian import ServiceUnavailable, program, require_programs
from tools.services import HOST, Redis, exchange, wait_for


class DurableRedis(Redis):
    """An append-only file, which is not rewritten while anybody measures."""

    fsync: ClassVar[str]

    def command(self) -> list[str]:
        options = ["--bind", HOST, "--port", str(self.port), "--requirepass", self.password, "--save", ""]
        kept = ["--appendonly", "yes", "--appendfsync", self.fsync, "--auto-aof-rewrite-percentage", "0"]
        return [program("redis-server"), *options, *kept, "--dir", str(self.directory)]

    def database(self, number: int) -> str:
        """The URL of one of its sixteen databases."""
        return f"redis://:{self.password}@{HOST}:{self.port}/{number}"

    def empty(self, number: int) -> None:
        """Forgets what is in a database."""
        exchange(self.port, f"AUTH {self.password}\r\nSELECT {number}\r\nFLUSHDB\r\n".encode())

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        return cpu_seconds(self.process.pid) if self.process is not None else 0.0


class EverySecond(DurableRedis):
    """May lose the last second when the machine dies."""

    fsync = "everysec"


class Always(DurableRedis):
    """Syncs before it answers."""

    fsync = "always"


@contextlib.contextmanager
def redis_servers() -> Iterator[dict[str, DurableRedis]]:
    """One of each kind. Raises BenchError when they cannot be started."""
    kinds = (EverySecond, Always)
    with contextlib.ExitStack() as stack:
        try:
            require_programs({Redis.package: Redis.programs}, [])
            servers: dict[str, DurableRedis] = {kind.fsync: kind() for kind in kinds}
            for server in servers.values():
                stack.callback(server.stop)
            wait_for({name: server.starting() for name, server in servers.items()})
        except (ServiceUnavailable, FileNotFoundError) as exc:
            raise BenchError(f"Redis: {exc}") from exc
        yield servers
