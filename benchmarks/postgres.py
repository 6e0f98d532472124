"""PostgreSQL as the server of a group."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar

from benchmarks.servers import DatabaseServer, serving


class Postgres(DatabaseServer):
    """Asked over asyncpg."""

    service: ClassVar[str] = "postgres"
    asked_by: ClassVar[str] = "benchmarks.postgres_child"

    def create(self, name: str) -> str:
        return f"CREATE DATABASE {name} TEMPLATE template0"

    def remove(self, name: str) -> str:
        return f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"

    def about(self) -> str:
        names = ("server_version", "fsync", "synchronous_commit", "shared_buffers")
        (found,) = self.execute(self.url, "SELECT " + ", ".join(f"current_setting('{name}')" for name in names))
        said = ", ".join(f"{name} {value}" for name, value in zip(names[1:], found[1:], strict=True))
        return f"PostgreSQL {found[0]} over TCP on this machine: {said}."


def postgres(folder: Path) -> AbstractContextManager[Postgres]:
    """A server for the length of the block. Raises BenchError when none can be started."""
    return serving(Postgres, folder)
