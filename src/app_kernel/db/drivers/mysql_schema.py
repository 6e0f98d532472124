"""Changes of the schema on MySQL, where each one commits by itself and whatever is open in its session.

Two connections of their own: one makes the tables, the other writes of them into the catalog, in one transaction
that commits last. What kills a change in between leaves columns that say themselves what they hold.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from app_kernel.core.errors import DatabaseBusy, SchemaChangeInTransaction
from app_kernel.db.dialects.mysql_catalog import BUMP_GENERATION, GENERATION, MARKED_GENERATION
from app_kernel.db.dialects.mysql_marks import mark
from app_kernel.db.drivers.base import Unit, Work
from app_kernel.db.drivers.mysql_connection import Connection
from app_kernel.db.drivers.mysql_options import MySqlOptions
from app_kernel.db.drivers.mysql_runner import BEGIN
from app_kernel.db.drivers.mysql_statements import (
    DDL_LOCK_SECONDS,
    SCHEMA_LOCK_SECONDS,
    check_sendable,
    defined_tables,
    entity_of,
    first_word,
    generation_in,
    is_marked,
    mark_change,
    schema_lock,
)
from app_kernel.db.drivers.mysql_wire import MySqlWire
from app_kernel.db.drivers.runner import Tries
from app_kernel.db.drivers.units import run_unit

T = TypeVar("T")

KEPT_SECONDS = 2.0
"""How long the connections stay open for the next change."""
BUILD_SECONDS = 86400
_CATALOG = re.compile(r"\bkernel_(?:meta|catalog)\b")
_DDL = frozenset({"ALTER", "CREATE", "DROP", "LOCK", "RENAME", "TRUNCATE"})


class MySqlSchema:
    """Changes the schema of one database, one change at a time."""

    def __init__(self, wire: MySqlWire, options: MySqlOptions, moved_on: Callable[[int], None]) -> None:
        self._wire = wire
        self._seconds = options.statement_timeout
        self._lock_name = schema_lock(options.database)
        self._moved_on = moved_on
        self._turn = asyncio.Lock()
        self._kept: tuple[Connection, Connection] | None = None
        self._closer: asyncio.TimerHandle | None = None

    async def change(self, unit: Unit[T], used: frozenset[str] = frozenset(), *, repeats: bool = True) -> T:
        """The result of a unit; raises SchemaChangeInTransaction where it would change one of the tables in `used`.

        Without `repeats` it is run once, also when its connection was lost and nobody knows what it did.
        """
        try:
            async with asyncio.timeout(self._seconds):
                await self._turn.acquire()
        except TimeoutError as exc:
            raise DatabaseBusy("The schema of the database is being changed all the time; try again.") from exc
        try:
            return await self._try(unit, used, repeats=repeats)
        finally:
            self._turn.release()

    async def mend(self) -> None:
        """Has everybody look at the schema again, if a change of it was broken off by the end of its process."""
        if self._turn.locked():
            return

        async with self._turn:
            try:
                tables, _ = await self._connections()
                free = await tables.fetch(f"SELECT IS_FREE_LOCK({mark(1)})", self._lock_name)
            except self._wire.foreign as exc:
                self.close()
                raise self._wire.to_ours(exc) from exc
            self._keep()
            if free[0][0] == 1:
                await self._try(_tell_everybody, frozenset())

    async def settle(self, seen: int, tables: Iterable[str]) -> int:
        """The generation, of which a statement over these tables saw the number.

        Where that is marked for one of them, their columns may be no longer as anybody knows them: whoever changed them
        did not come to its end. Everybody is told so first, as soon as nobody changes the schema; may raise
        DatabaseBusy.
        """
        if is_marked(seen, tables):
            return await self.change(_tell_everybody)
        return generation_in(seen)

    def close(self) -> None:
        """Closes the connections."""
        if self._closer is not None:
            self._closer.cancel()
        for connection in self._kept or ():
            connection.terminate()
        self._kept = None

    async def _try(self, unit: Unit[T], used: frozenset[str], *, repeats: bool = True) -> T:
        tries = Tries(self._wire)
        while True:
            began = committing = False
            try:
                tables, catalog = await self._connections()
                await self._lock(tables)
                await catalog.execute(BEGIN)
                route = _Route(tables, catalog, used)
                began = not repeats
                result = await run_unit(unit, route.fetch, check_sendable)
                generation: int = (await catalog.fetch(GENERATION))[0][0]
                committing = True
                await self._wire.commit(catalog)
                await route.unlock()
                if repeats:
                    await tables.fetch(f"SELECT RELEASE_LOCK({mark(1)})", self._lock_name)
            except self._wire.foreign as exc:
                # The server lets go of every lock of theirs.
                self.close()
                if began or not tries.again(exc, undone=not committing):
                    raise self._wire.to_ours(exc) from exc
            except BaseException:
                self.close()
                raise
            else:
                if repeats:
                    self._keep()
                else:
                    # A statement of the caller's may have left something in the session; its end lets go of the lock.
                    self.close()
                self._moved_on(generation)
                return result

    async def _lock(self, tables: Connection) -> None:
        """Taken by the connection that changes tables: the server keeps it for as long as a change of it still runs."""
        wait = f"SELECT GET_LOCK({mark(1)}, {SCHEMA_LOCK_SECONDS})"
        if (await tables.fetch(wait, self._lock_name))[0][0] != 1:
            raise DatabaseBusy("Another process has been changing the schema for too long; try again.")

    async def _connections(self) -> tuple[Connection, Connection]:
        if self._closer is not None:
            self._closer.cancel()
        if self._kept is None or any(connection.is_closed() for connection in self._kept):
            self.close()
            tables = await self._wire.connect()
            try:
                # A change of a big table takes its time; and while it waits for one, everybody else waits behind it.
                limit = "; SET SESSION max_statement_time = 0" if self._wire.is_mariadb else ""
                await tables.execute(f"SET SESSION lock_wait_timeout = {DDL_LOCK_SECONDS}{limit}")
                self._kept = tables, await self._wire.connect()
            except BaseException:
                tables.terminate()
                raise
        return self._kept

    def _keep(self) -> None:
        self._closer = asyncio.get_running_loop().call_later(KEPT_SECONDS, self.close)


def _tell_everybody() -> Work[int]:
    """A generation that nobody knows yet, in place of a number with a mark; the generation."""
    seen = (yield (MARKED_GENERATION, ()))[0][0]
    if seen == generation_in(seen):
        # Somebody else did so first.
        return generation_in(seen)
    yield (BUMP_GENERATION, ())
    return generation_in(seen) + 1


class _Route:
    """Which of the two connections a statement goes to."""

    def __init__(self, tables: Connection, catalog: Connection, used: frozenset[str]) -> None:
        self._tables = tables
        self._catalog = catalog
        self._used = used
        self._locked: frozenset[str] = frozenset()
        """Tables that nobody else can use, because their columns are being changed."""

    async def fetch(self, sql: str, *params: Any) -> Any:
        """The rows of a statement."""
        word = first_word(sql)
        if word not in _DDL:
            is_catalog = _CATALOG.search(sql) is not None
            return await (self._catalog if is_catalog else self._tables).fetch(sql, *params, timeout=BUILD_SECONDS)
        if not self._used.isdisjoint(defined_tables(sql)):
            raise SchemaChangeInTransaction
        if word == "LOCK":
            if defined_tables(sql) <= self._locked:
                # Taken again, it would be let go for a moment, in the middle of a change.
                return []
            await self._tables.fetch(sql, *params, timeout=BUILD_SECONDS)
            # Only now that nobody can read the tables: who sees the mark with their rows knows that this one is gone.
            self._locked = defined_tables(sql)
            entity = entity_of(min(self._locked, key=len))
            await self._catalog.execute(f"COMMIT; {mark_change(entity)}; {BEGIN}")
            return []
        return await self._tables.fetch(sql, *params, timeout=BUILD_SECONDS)

    async def unlock(self) -> None:
        """Lets everybody at the tables again, after the catalog knows of them."""
        if self._locked:
            await self._tables.execute("UNLOCK TABLES")
