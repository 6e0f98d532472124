"""What is asked of one kind of database; each brings its words, and what can be wrong with it alone."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from app_kernel.core.errors import KernelError
from app_kernel.db.drivers.base import Row
from app_kernel.db.drivers.onlooker import Onlooker, SqliteOnlooker
from app_kernel.db.errors import SchemaFact
from app_kernel.db.inspection.report import ColumnFacts, Finding, IndexFacts, TableFacts
from app_kernel.db.portable import compile_raw

REFUSED = (KernelError, SchemaFact)
"""What a statement may raise that the database refuses."""


class Looks(ABC):
    """One database, looked at through one connection."""

    def __init__(self, onlooker: Onlooker) -> None:
        self.onlooker = onlooker
        self.dialect = onlooker.dialect

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """The rows of a statement in portable spelling."""
        return await self.onlooker.fetch(compile_raw(sql, self.dialect), params)

    @abstractmethod
    async def server(self) -> dict[str, Any]:
        """Facts of the backend's own; `version` is among them."""

    @abstractmethod
    async def indexes(self) -> list[IndexFacts]:
        """The indexes of all tables, primary keys left out."""

    @abstractmethod
    async def findings(self, server: dict[str, Any], tables: Sequence[TableFacts], *, deep: bool) -> list[Finding]:
        """What is wrong with this kind of database alone."""

    @abstractmethod
    def differ(self, left: str, right: str, column: ColumnFacts) -> str:
        """The condition that two values of a column differ, to the byte, NULL being a value."""


def looks_for(onlooker: Onlooker) -> Looks:
    """The words for what a connection is open to."""
    if isinstance(onlooker, SqliteOnlooker):
        made: Looks = importlib.import_module("app_kernel.db.inspection.sqlite").SqliteLooks(onlooker)
        return made
    found: Looks = importlib.import_module(f"app_kernel.db.inspection.{onlooker.dialect.name}").ServerLooks(onlooker)
    return found


def as_fields(text: str | None) -> tuple[str, ...]:
    """Names with commas between, one after the other."""
    return tuple(text.split(",")) if text else ()
