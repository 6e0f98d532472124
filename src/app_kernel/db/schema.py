"""What tables and columns there are, and how they grow: DDL runs only when a write needs what is not there.

The catalog table remembers the kind of every field. A generation number moves on with every change of it, so that
every process notices: a statement compiled for an older generation is compiled anew.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

from app_kernel.core.errors import DatabaseBusy, Unavailable
from app_kernel.core.tables import Table
from app_kernel.db import catalog
from app_kernel.db.catalog import load_table, read_work
from app_kernel.db.dialects.queries import Queries
from app_kernel.db.drivers.base import Session
from app_kernel.db.growth import Growth, Kinds
from app_kernel.db.indexes import Indexes
from app_kernel.db.kinds import Kind, kind_of_type, merged
from app_kernel.db.table import HISTORY_SUFFIX, OWNED_FIELDS, EntityTable

RETRIES = 50
"""How often something is done anew because the schema moved on under it; each time somebody else made progress."""
_WAIT_SECONDS = 30
"""How long a change waits for those of the same table that others in this process make."""
_MAX_CACHED = 20_000
"""Tables remembered at most, existing or not, so that names out of requests cannot fill the memory."""


class _Turn:
    """Whose turn it is to change a table, in this process."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.failures = 0
        """How often the database was unavailable to whoever had the turn."""
        self.failure: Unavailable | None = None


class Schema:
    """The tables as this process knows them; inside a transaction, as they are there."""

    def __init__(
        self,
        session: Session,
        *,
        max_entities: int = 2000,
        max_fields: int = 500,
        outer: "Schema | None" = None,
        growth: Growth | None = None,
    ) -> None:
        self._session = session
        self.dialect = self._dialect = session.dialect
        self._queries: Queries = catalog.queries_for(session.dialect)
        # One for all, because it knows which tables were declared without a history.
        self._growth: Growth = growth or Growth(
            session.dialect, self._queries, max_entities=max_entities, max_fields=max_fields
        )
        self.indexes = Indexes(session, self._queries)
        self._tables: dict[str, EntityTable] = {}
        self._outer = outer
        """What was known before the transaction, and is true in it as long as it changes no table."""
        self._changing: WeakValueDictionary[str, _Turn] = WeakValueDictionary()
        """By table, held by the task that makes what it lacks; gone with the last one that waits."""

    @property
    def everybodys(self) -> "Schema":
        """The same tables as no workspace alone sees them."""
        return self

    def workspace_of(self, name: str) -> str | None:
        """Whose rows alone are seen and written of a table; None as everybody sees them all."""
        return None

    def known(self, name: str) -> EntityTable | None:
        """The table, if this process has seen it at the current generation."""
        table = self._tables.get(name)
        if table is None and self._outer is not None:
            table = self._outer._tables.get(name)  # noqa: SLF001 - of the same class
        return table if table is not None and table.generation == self._session.generation else None

    def inside(self, session: Session) -> "Schema":
        """The schema as a transaction has it: what is known here holds there until it changes something."""
        return Schema(session, outer=self, growth=self._growth)

    async def table(self, name: str) -> EntityTable:
        """The table at the current generation; one without columns when the database has none of this name."""
        table = self.known(name)
        if table is not None:
            return table
        for _ in range(RETRIES):
            await self._session.fetch(*self._queries.find_generation(name), observed=True)
            generation = self._session.generation
            loaded = await read_work(self._session, load_table(self._queries, self._dialect, name))
            await self._session.fetch(*self._queries.find_generation(name), observed=True)
            if self._session.generation == generation:
                return self._remember(replace(loaded, generation=generation, ready=self._is_ready(loaded)))
        raise Unavailable("The schema of the database kept changing while it was read.")

    async def ensure(self, name: str, kinds: Kinds) -> None:
        """Makes the table and the columns that a write of these values needs; `kinds` maps a field to kind and value.

        Another process may do the same at the same instant: everything is looked at again under the schema's lock.
        """
        async with self._change(name) as waited:
            if not waited or _lacks(await self.table(name), kinds):
                await self._session.define(lambda: self._growth.grow(name, kinds))

    async def declare(self, name: str, types: Mapping[str, type]) -> None:
        """Makes the table and the columns for values of these types; does nothing where all is there.

        Raises UnsupportedValue when a field holds another kind, which cannot hold these values as well unaltered.
        """
        # Any column that can hold integers can hold this one.
        kinds = {
            field: (kind_of_type(python_type), 0 if python_type is int else None)
            for field, python_type in types.items()
        }
        if _holds_all(await self.table(name), kinds):
            return
        async with self._change(name) as waited:
            if not waited or not _holds_all(await self.table(name), kinds):
                await self._session.define(lambda: self._growth.declare(name, kinds))

    async def ensure_table(self, table: Table) -> None:
        """Makes a declared table with its columns and indexes; does nothing where all is there."""
        if not table.history:
            self._growth.make_without_history(table.name)
        kinds: dict[str, tuple[Kind, Any]] = {name: (kind_of_type(kind), None) for name, kind in table.fields.items()}
        known = await self.table(table.name)
        if any(not known.has(name) for name in (*kinds, "id", *OWNED_FIELDS)):
            await self.ensure(table.name, kinds)
        for index in table.indexes:
            await self.indexes.ensure(table.name, index, table.lengths)

    async def analyze(self, name: str, rows: int) -> None:
        """Has the database look at a table that so many rows were just written to, unless it knows it already."""
        names = [each for each in (name, name + HISTORY_SUFFIX) if await self._is_unknown(each, rows)]
        sql = self._dialect.analyze(names) if names else None
        if sql is not None:
            await self._session.run(sql, ())

    def wants_history(self, table: EntityTable) -> bool:
        """Whether a table has a history, or gets one with its first write."""
        return self._growth.wants_history(table)

    def forget(self) -> None:
        """Forgets every table, after the database turned out to be different from what was known."""
        self._tables.clear()
        self._outer = None

    def _remember(self, table: EntityTable) -> EntityTable:
        if not table.exists:
            # Reading one that is not there runs no statement which would tell that another process made it.
            return table.prepare(self._dialect.decoder)
        if len(self._tables) >= _MAX_CACHED:
            self._tables.clear()
        self._tables[table.name] = table.prepare(self._dialect.decoder)
        return table

    @asynccontextmanager
    async def _change(self, name: str) -> AsyncIterator[bool]:
        """One change of a table at a time; whether another one came before, and may have made the same."""
        turn = self._changing.setdefault(name, _Turn())
        waited, failures = turn.lock.locked(), turn.failures
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await turn.lock.acquire()
        except TimeoutError as exc:
            raise DatabaseBusy("The schema of the database is being changed all the time; try again.") from exc
        try:
            if turn.failures != failures and turn.failure is not None:
                # Whoever came before found nobody there for a whole timeout, and so would each of those who waited.
                raise type(turn.failure)(turn.failure.message)
            yield waited
        except Unavailable as exc:
            turn.failures, turn.failure = turn.failures + 1, exc
            raise
        finally:
            turn.lock.release()

    async def _is_unknown(self, table: str, rows: int) -> bool:
        query = self._queries.find_unknown(table, rows)
        return query is not None and bool(await self._session.fetch(*query))

    def _is_ready(self, table: EntityTable) -> bool:
        if table.history_lacks or table.history_differs or not all(table.has(field) for field in OWNED_FIELDS):
            return False
        return table.keeps_history or not self.wants_history(table)


def _lacks(table: EntityTable, kinds: Kinds) -> bool:
    """Whether anything is to be made before values of these kinds can be written."""
    if table.refusal or not (table.exists and table.ready):
        return True
    for field, (kind, value) in kinds.items():
        column = table.columns.get(field)
        if column is None:
            return True
        fits = column.physical and merged(column.kind, kind, value) is column.kind
        if kind is not Kind.UNKNOWN and not fits:
            return True
    return False


def _holds_all(table: EntityTable, kinds: Kinds) -> bool:
    """Whether every field is there, and holds values of its kind."""
    return table.ready and table.exists and all(_holds(table, field, *kinds[field]) for field in kinds)


def _holds(table: EntityTable, field: str, kind: Kind, value: Any) -> bool:
    """Whether a column holds values of a kind already."""
    column = table.columns.get(field)
    if column is None or not column.physical or column.kind in (Kind.UNKNOWN, Kind.VARIANT):
        return False
    return merged(column.kind, kind, value) is column.kind
