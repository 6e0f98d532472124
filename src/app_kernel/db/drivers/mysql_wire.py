"""MySQL as the parts that every server shares see it."""

from contextlib import suppress
from typing import Any

from asyncmy import errors

from app_kernel.core.errors import StoreError
from app_kernel.db.dialects.mysql import MySqlDialect
from app_kernel.db.drivers import mysql_errors
from app_kernel.db.drivers.mysql_connection import Connection, connect, tls_for
from app_kernel.db.drivers.mysql_options import MySqlOptions
from app_kernel.db.drivers.wire import Wire
from app_kernel.db.errors import SchemaFact

SUBQUERY_HAS_ROWS = 1242
"""What a guard fails with."""


class MySqlWire(Wire):
    """One server and database, over asyncmy; it tells the dialect which server it is."""

    foreign = mysql_errors.FOREIGN

    def __init__(self, options: MySqlOptions, dialect: MySqlDialect) -> None:
        self._options = options
        self._dialect = dialect
        self._tls = tls_for(options)
        self.pool_size = options.pool_size
        self.pool_timeout = options.pool_timeout
        self.statement_timeout = options.statement_timeout

    @property
    def is_mariadb(self) -> bool:
        """Whether the server is MariaDB, once connected."""
        return self._dialect.is_mariadb

    async def connect(self) -> Connection:
        return await self.connect_to(database=True)

    async def connect_to(self, *, database: bool) -> Connection:
        """As `connect`; without `database`, to the server alone."""
        connection, is_mariadb = await connect(self._options, self._tls, database=database)
        if is_mariadb is not self._dialect.is_mariadb:
            self._dialect.use(is_mariadb=is_mariadb)
        return connection

    async def stop(self, connection: Connection) -> None:
        """Has the server stop the statement that a connection waits for; best effort."""
        with suppress(StoreError, *self.foreign):
            other = await self.connect()
            try:
                await other.execute(f"KILL QUERY {connection.number:d}")
            finally:
                other.terminate()

    def to_ours(self, exc: BaseException) -> StoreError | SchemaFact:
        return mysql_errors.to_ours(exc)

    def is_lost(self, exc: BaseException) -> bool:
        return mysql_errors.is_lost(exc)

    def is_reusable(self, exc: BaseException) -> bool:
        return mysql_errors.is_reusable(exc)

    def was_never_sent(self, exc: BaseException) -> bool:
        return mysql_errors.was_never_sent(exc)

    def is_conflict(self, exc: BaseException) -> bool:
        return mysql_errors.is_conflict(exc)

    def is_lock_timeout(self, exc: BaseException) -> bool:
        return mysql_errors.is_lock_timeout(exc)

    def may_be_stale(self, exc: BaseException) -> bool:
        return mysql_errors.may_be_stale(exc)

    def is_about_values(self, exc: BaseException) -> bool:
        return mysql_errors.is_about_values(exc)

    def is_other_generation(self, exc: BaseException) -> bool:
        return mysql_errors.number_of(exc) == SUBQUERY_HAS_ROWS

    def ended_transaction(self, exc: BaseException) -> bool:
        return mysql_errors.ended_transaction(exc)

    async def commit(self, connection: Any, before: str = "") -> None:
        """`before` has statements that go with it."""
        try:
            await connection.execute(f"{before}COMMIT")
        except TimeoutError as exc:
            raise errors.OperationalError(2013, "no answer to COMMIT") from exc
