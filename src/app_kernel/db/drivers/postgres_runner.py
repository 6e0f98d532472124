"""Work that is whole in one call, on a connection of the pool; repeated only where nothing of it can have happened."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]  # it brings no types

from app_kernel.core.errors import ConnectionLost
from app_kernel.db.drivers.base import Unit
from app_kernel.db.drivers.postgres_connection import Connection, local_settings
from app_kernel.db.drivers.postgres_errors import CONFLICTS, FOREIGN, is_lost, is_reusable, may_be_stale, to_ours
from app_kernel.db.drivers.postgres_options import PostgresOptions
from app_kernel.db.drivers.postgres_pool import PostgresPool
from app_kernel.db.drivers.postgres_statements import check_text, one_statement, run_unit
from app_kernel.db.errors import SchemaStale

T = TypeVar("T")

CONFLICT_RETRIES = 5
"""How often work that a deadlock took back is run again."""
LOCK_RETRIES = 2
"""How often a change of the schema that got no lock is tried again; between, those who waited behind it go on."""
BUILD_SECONDS = 86400
LOCK_CODE = "55P03"


class Tries:
    """How often a piece of work may still be repeated, by the reason."""

    __slots__ = ("conflicts", "locks", "lost", "stale")

    def __init__(self) -> None:
        self.conflicts = CONFLICT_RETRIES
        self.locks = LOCK_RETRIES
        self.lost = self.stale = 1

    def again(self, exc: BaseException, *, undone: bool) -> bool:
        """Whether work that failed like this is to be repeated; `undone` says that nothing of it can have happened."""
        if is_lost(exc):
            self.lost -= 1
            # What asyncpg refuses by itself was never sent.
            return (undone or isinstance(exc, asyncpg.InterfaceError)) and self.lost >= 0
        code = getattr(exc, "sqlstate", None)
        if code in CONFLICTS:
            self.conflicts -= 1
            return self.conflicts >= 0
        if code == LOCK_CODE:
            self.locks -= 1
            return self.locks >= 0
        if may_be_stale(exc):
            self.stale -= 1
            return self.stale >= 0
        return False


class PostgresRunner:
    """Runs single statements and units on the connections of a pool."""

    def __init__(self, pool: PostgresPool, options: PostgresOptions) -> None:
        self.pool = pool
        # Whatever the server's default is, the look after a lock must see what was committed before it.
        self.begin = f"BEGIN ISOLATION LEVEL READ COMMITTED{local_settings(options)}"
        self._behind_pooler = options.pgbouncer
        self._wraps = options.pgbouncer and options.schema is not None
        """Whether even a single statement needs settings of its transaction's."""

    async def single(
        self,
        sql: str,
        params: Sequence[Any],
        *,
        reads: bool,
        leaves_state: bool = False,
        isolated: bool = False,
    ) -> list[Any]:
        """The rows of one statement, which is its own transaction.

        With `reads` it may be run twice. With `isolated` it is sure to see what was committed before it got its
        locks, whatever the server's default is.
        """
        check_text(sql)
        tries: Tries | None = None
        # A pooler keeps no settings of a connection, so that there the isolation is to be said with each transaction.
        wraps = self._wraps or (isolated and self._behind_pooler)
        pool = self.pool
        while True:
            connection = await pool.acquire()
            try:
                if wraps:
                    rows = await self._single_wrapped(connection, sql, params)
                else:
                    rows = await connection.fetch(sql, *params)
            except FOREIGN as exc:
                tries = tries or Tries()
                await self.give_back(connection, exc, leaves_state=leaves_state)
                if tries.again(exc, undone=reads):
                    continue
                raise _cut(exc, undone=reads) from exc
            except BaseException:
                pool.discard(connection)
                raise
            (pool.discard if leaves_state else pool.release)(connection)
            return rows  # type: ignore[no-any-return]  # asyncpg brings no types

    async def transact(self, after_begin: str, unit: Unit[T], *, leaves_state: bool = False) -> T:
        """The result of a unit in a transaction of its own; `after_begin` goes to the server together with BEGIN."""
        tries = Tries()
        pool = self.pool
        while True:
            connection = await pool.acquire()
            committing = False
            try:
                await self._start(connection, after_begin)
                result = await run_unit(unit, connection.fetch)
                committing = True
                await commit(connection)
            except FOREIGN as exc:
                await self.give_back(connection, exc, leaves_state=leaves_state)
                if not tries.again(exc, undone=not committing):
                    raise _cut(exc, undone=not committing) from exc
                await asyncio.sleep(random.uniform(0, 0.02))  # noqa: S311 - spreads retries, hides nothing
            except Exception:
                await self.give_back(connection, None, leaves_state=leaves_state)
                raise
            except BaseException:
                pool.discard(connection)
                raise
            else:
                (pool.discard if leaves_state else pool.release)(connection)
                return result

    async def script(self, sql: str) -> None:
        """Runs several statements of our own in one round trip; they bring their own transaction."""
        connection = await self.pool.acquire()
        try:
            await connection.execute(sql)
        except FOREIGN as exc:
            await self.give_back(connection, exc)
            raise _cut(exc, undone=False) from exc
        except BaseException:
            self.pool.discard(connection)
            raise
        self.pool.release(connection)

    async def build(self, sql: str) -> None:
        """Runs a statement that belongs to no transaction, with a day's time, on a connection of its own."""
        if self._wraps:
            # Its schema can be named in a transaction only, and there an index stops the writers meanwhile.
            await self.transact("", one_statement(sql.replace(" CONCURRENTLY", "")))
            return
        connection = await self.pool.connect_alone()
        try:
            if not self._behind_pooler:
                await connection.execute("SET statement_timeout = 0")
            await connection.execute(sql, timeout=BUILD_SECONDS)
            await connection.close()
        except FOREIGN as exc:
            connection.terminate()
            raise _cut(exc, undone=True) from exc
        except BaseException:
            connection.terminate()
            raise

    async def _start(self, connection: Connection, after_begin: str) -> None:
        try:
            await connection.execute(self.begin + after_begin)
        except asyncpg.DivisionByZeroError as exc:
            raise SchemaStale from exc

    async def _single_wrapped(self, connection: Connection, sql: str, params: Sequence[Any]) -> Any:
        await connection.execute(self.begin)
        rows = await connection.fetch(sql, *params)
        await commit(connection)
        return rows

    async def give_back(self, connection: Connection, exc: BaseException | None, *, leaves_state: bool = False) -> None:
        """Gives a connection back on which something failed, its transaction rolled back; closes it where in doubt."""
        pool = self.pool
        if exc is not None and is_lost(exc):
            pool.suspect_idle()
        if leaves_state or (exc is not None and not is_reusable(exc)):
            pool.discard(connection)
            return
        try:
            if exc is not None and may_be_stale(exc):
                await connection.forget_statements()
            if connection.is_in_transaction():
                await connection.execute("ROLLBACK")
        except FOREIGN:
            pool.discard(connection)
        except BaseException:
            pool.discard(connection)
            raise
        else:
            pool.release(connection)


async def commit(connection: Connection) -> None:
    """Commits; raises ConnectionLost when nobody can know whether that happened."""
    try:
        status = await connection.execute("COMMIT")
    except TimeoutError as exc:
        raise asyncpg.ConnectionDoesNotExistError("no answer to COMMIT") from exc
    if status != "COMMIT":
        raise asyncpg.InFailedSQLTransactionError("the server rolled back instead")


def _cut(exc: BaseException, *, undone: bool) -> Exception:
    """Our error; a write whose end nobody heard of may have happened, and then no other error would be true."""
    if not undone and isinstance(exc, TimeoutError):
        return ConnectionLost()
    return to_ours(exc)
