"""What the store asks of a driver.

A unit of work is a generator: it yields statements, is sent the rows of each, and returns its result. So the store's
logic is written once, without await: one driver runs a unit in a thread that owns the connection, another awaits
each statement. A unit that raises leaves nothing behind.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from typing import Any, ClassVar, TypeAlias, TypeVar

from app_kernel.db.dialects.base import Dialect

T = TypeVar("T")

Row: TypeAlias = tuple[Any, ...]
Statement: TypeAlias = tuple[str, Sequence[Any]]
Work: TypeAlias = Generator[Statement, list[Row], T]
Unit: TypeAlias = Callable[[], Work[T]]
"""Makes the work anew, because a driver may have to run it again."""


class Driver(ABC):
    """An open database. Its methods raise the errors of `core.errors`, and SchemaFact for the store to answer."""

    dialect: ClassVar[Dialect]

    generation: int = 0
    """The schema's generation as of the latest statement; another process may have moved it on."""

    @abstractmethod
    async def open(self) -> None:
        """Connects and makes the catalog where it is missing."""

    @abstractmethod
    async def close(self) -> None:
        """Finishes the work under way and disconnects."""

    @abstractmethod
    async def fetch(self, sql: str, params: Sequence[Any]) -> list[Row]:
        """The rows of one reading statement; afterwards `generation` is at least what that statement saw."""

    @abstractmethod
    async def write(self, unit: Unit[T], generation: int) -> T:
        """Runs a unit in a transaction; raises SchemaStale, before anything happens, if the schema moved on."""

    @abstractmethod
    async def define(self, unit: Unit[T]) -> T:
        """Runs a unit that changes the schema, alone and under its lock; it moves the generation on itself."""

    @abstractmethod
    async def execute(self, sql: str, params: Sequence[Any]) -> tuple[tuple[str, ...], list[Row]]:
        """Runs one statement of the caller's: the names of its columns and its rows."""
