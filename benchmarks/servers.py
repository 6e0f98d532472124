"""The database server of a group: one started for it, or that of the environment; a new database for each side."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from benchmarks.harness import BenchError, child
from benchmarks.peers.store_rows import POOL
from tools.debian import ServiceUnavailable
from tools.services import services

SQL_SECONDS = 600.0


class DatabaseServer(ABC):
    """A server and the databases made on it; what it is asked here, a child asks, which alone loads a driver."""

    service: ClassVar[str]
    """Its name among `tools.services`."""
    asked_by: ClassVar[str]
    """The module of that child."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self._folder = url, folder
        self._made: list[str] = []

    def databases(self, names: Iterable[str]) -> dict[str, str]:
        """The URLs of new, empty databases, by these names."""
        made = {name: f"bench_{os.urandom(4).hex()}_{name}" for name in names}
        self._made += made.values()
        self.execute(self.url, *(self.create(name) for name in made.values()))
        address, mark, query = self.url.partition("?")
        return {name: f"{address.rpartition('/')[0]}/{unique}{mark}{query}" for name, unique in made.items()}

    def execute(self, url: str, *statements: str) -> list[list[Any]]:
        """The rows of the last of these statements, each a transaction of its own."""
        spec = {"url": url, "statements": statements}
        rows: list[list[Any]] = child(self.asked_by, spec, self._folder, limit=SQL_SECONDS)
        return rows

    def drop(self) -> None:
        """Removes the databases that were made here."""
        if self._made:
            self.execute(self.url, *(self.remove(name) for name in self._made))

    @abstractmethod
    def create(self, name: str) -> str:
        """The statement that makes a database."""

    @abstractmethod
    def remove(self, name: str) -> str:
        """The statement that removes a database, should it be there."""

    @abstractmethod
    def about(self) -> str:
        """Version and durability of the server, for the notes of a group."""


S = TypeVar("S", bound=DatabaseServer)


@contextlib.contextmanager
def serving(kind: type[S], folder: Path) -> Iterator[S]:
    """A server for the length of the block. Raises BenchError when none can be started."""
    with contextlib.ExitStack() as running:
        try:
            urls = running.enter_context(services(kind.service))
        except (ServiceUnavailable, FileNotFoundError) as exc:
            raise BenchError(f"{kind.service}: {exc}") from exc
        server = kind(next(iter(urls.values())), folder / kind.service)
        running.callback(server.drop)
        yield server


def with_pool(url: str) -> str:
    """The kernel's URL for a database, with as many connections as the peers have."""
    return f"{url}{'&' if '?' in url else '?'}pool_size={POOL}"
