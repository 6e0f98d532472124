"""What tests of drivers over any server need: a place of their own, units of work, statements in its words."""

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

from app_kernel.db.dialects.mysql_marks import mark
from app_kernel.db.drivers.base import Driver, Session, Unit, Work
from app_kernel.db.url import make_driver

_PARAMETER = re.compile(r"\$([0-9])")


def with_options(url: str, **options: Any) -> str:
    """The URL with these options."""
    return url + "?" + "&".join(f"{name}={value}" for name, value in options.items())


class ServerPlace(ABC):
    """A database or schema of its own on a server; `look` sees it on a connection beside those of the drivers."""

    backend: str

    def __init__(self, url: str, name: str) -> None:
        self.plain_url = url
        self.name = name
        self._drivers: list[Driver] = []

    @abstractmethod
    def url(self, **options: Any) -> str:
        """The URL of this place."""

    @abstractmethod
    async def look(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        """Rows as somebody else sees them."""

    @abstractmethod
    async def backends(self) -> list[tuple[int, str]]:
        """Number and state of every connection of the drivers of this place, the latter `idle` between two uses."""

    @abstractmethod
    async def terminate(self) -> int:
        """Ends every connection of the drivers from the server's side; how many there were."""

    @abstractmethod
    async def columns(self, table: str) -> dict[str, str]:
        """Names and types of a table's columns; empty where there is no table."""

    @abstractmethod
    def same(self, one: str, other: str) -> str:
        """An expression: whether two are equal, or both NULL."""

    @abstractmethod
    async def remove(self) -> None:
        """Removes what is left of it."""

    async def open(self, **options: Any) -> Any:
        """Another driver, as of another process."""
        driver = make_driver(self.url(**options))
        await driver.open()
        self._drivers.append(driver)
        return driver

    async def lay_out(self) -> None:
        """Makes the kernel's tables, for which tests wait in turn, before a driver that has little time."""
        await (await self.open()).close()

    async def close(self) -> None:
        """Closes the drivers and removes the place."""
        for driver in self._drivers:
            await driver.close()
        await self.remove()


def spelled(session: Session | ServerPlace, sql: str) -> str:
    """A statement in PostgreSQL's words as the session's server has it: parameters, and the function that sleeps."""
    name = session.backend if isinstance(session, ServerPlace) else session.dialect.name
    if name != "mysql":
        return sql
    return _PARAMETER.sub(lambda found: mark(int(found[1])), sql.replace("pg_sleep", "SLEEP"))


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 5) -> None:
    """Waits for something that only the server can tell."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - no event comes from the server
            await asyncio.sleep(0.01)


def unit(*statements: tuple[Any, ...]) -> Unit[list[Any]]:
    """A unit of these statements, each SQL and its params; the rows of the last one."""

    def work() -> Work[list[Any]]:
        rows: list[Any] = []
        for sql, *params in statements:
            rows = yield (sql, params)
        return [tuple(row) for row in rows]

    return work


def failing_unit(error: BaseException, *statements: tuple[Any, ...]) -> Unit[None]:
    """A unit that raises after these statements."""

    def work() -> Work[None]:
        for sql, *params in statements:
            yield (sql, params)
        raise error

    return work
