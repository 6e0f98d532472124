"""MariaDB, or whatever TEST_MYSQL_URL leads to, as the server of a group."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar

from benchmarks.servers import DatabaseServer, serving


class Mariadb(DatabaseServer):
    """Asked over asyncmy."""

    service: ClassVar[str] = "mysql"
    asked_by: ClassVar[str] = "benchmarks.mariadb_child"

    def create(self, name: str) -> str:
        return f"CREATE DATABASE {name} CHARACTER SET utf8mb4"

    def remove(self, name: str) -> str:
        return f"DROP DATABASE IF EXISTS {name}"

    def about(self) -> str:
        names = ("version", "innodb_flush_log_at_trx_commit", "log_bin", "innodb_buffer_pool_size")
        (found,) = self.execute(self.url, "SELECT " + ", ".join(f"@@{name}" for name in names))
        said = ", ".join(f"{name} {value}" for name, value in zip(names[1:], found[1:], strict=True))
        return f"{found[0]} over TCP on this machine: {said}."


def mariadb(folder: Path) -> AbstractContextManager[Mariadb]:
    """A server for the length of the block. Raises BenchError when none can be started."""
    return serving(Mariadb, folder)
