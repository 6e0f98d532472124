"""The PostgreSQL server of a group: one started for it, or that of TEST_POSTGRES_URL; a new database for each side."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import BenchError, child
from benchmarks.peers.store_rows import POOL
from tools.debian import ServiceUnavailable
from tools.services import services

SQL_SECONDS = 600.0


class Postgres:
    """A server and the databases made on it; what it is asked here, a child asks, which alone loads a driver."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self._folder = url, folder
        self._made: list[str] = []

    def databases(self, names: Iterable[str]) -> dict[str, str]:
        """The URLs of new, empty databases, by these names."""
        made = {name: f"bench_{os.urandom(4).hex()}_{name}" for name in names}
        self._made += made.values()
        self.execute(self.url, *(f"CREATE DATABASE {name} TEMPLATE template0" for name in made.values()))
        address, mark, query = self.url.partition("?")
        return {name: f"{address.rpartition('/')[0]}/{unique}{mark}{query}" for name, unique in made.items()}

    def execute(self, url: str, *statements: str) -> list[list[Any]]:
        """The rows of the last of these statements, each a transaction of its own."""
        spec = {"url": url, "statements": statements}
        rows: list[list[Any]] = child("benchmarks.postgres_child", spec, self._folder, limit=SQL_SECONDS)
        return rows

    def about(self) -> str:
        """Version and durability of the server, for the notes of a group."""
        names = ("server_version", "fsync", "synchronous_commit", "shared_buffers")
        (found,) = self.execute(self.url, "SELECT " + ", ".join(f"current_setting('{name}')" for name in names))
        said = ", ".join(f"{name} {value}" for name, value in zip(names[1:], found[1:], strict=True))
        return f"PostgreSQL {found[0]} over TCP on this machine: {said}."

    def drop(self) -> None:
        """Removes the databases that were made here."""
        if self._made:
            self.execute(self.url, *(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)" for name in self._made))


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """A server for the length of the block. Raises BenchError when none can be started."""
    with contextlib.ExitStack() as running:
        try:
            urls = running.enter_context(services("postgres"))
        except (ServiceUnavailable, FileNotFoundError) as exc:
            raise BenchError(f"PostgreSQL: {exc}") from exc
        server = Postgres(next(iter(urls.values())), folder / "postgres")
        running.callback(server.drop)
        yield server


def with_pool(url: str) -> str:
    """The kernel's URL for a database, with as many connections as the peers have."""
    return f"{url}{'&' if '?' in url else '?'}pool_size={POOL}"
