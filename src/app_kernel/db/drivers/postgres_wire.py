"""PostgreSQL as the parts that every server shares see it."""

from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it brings no types

from app_kernel.core.errors import StoreError
from app_kernel.db.drivers import postgres_errors
from app_kernel.db.drivers.postgres_connection import Connection, connect, tls_for
from app_kernel.db.drivers.postgres_options import PostgresOptions
from app_kernel.db.drivers.wire import Wire
from app_kernel.db.errors import SchemaFact

LOCK_CODE = "55P03"


class PostgresWire(Wire):
    """One server and database, over asyncpg."""

    foreign = postgres_errors.FOREIGN

    def __init__(self, options: PostgresOptions) -> None:
        self._options = options
        self._tls = tls_for(options)
        self.pool_size = options.pool_size
        self.pool_timeout = options.pool_timeout
        self.statement_timeout = options.statement_timeout

    async def connect(self) -> Connection:
        return await connect(self._options, self._tls)

    def to_ours(self, exc: BaseException) -> StoreError | SchemaFact:
        return postgres_errors.to_ours(exc)

    def is_lost(self, exc: BaseException) -> bool:
        return postgres_errors.is_lost(exc)

    def is_reusable(self, exc: BaseException) -> bool:
        return postgres_errors.is_reusable(exc)

    def was_never_sent(self, exc: BaseException) -> bool:
        return isinstance(exc, asyncpg.InterfaceError)

    def is_conflict(self, exc: BaseException) -> bool:
        return getattr(exc, "sqlstate", None) in postgres_errors.CONFLICTS

    def is_lock_timeout(self, exc: BaseException) -> bool:
        return getattr(exc, "sqlstate", None) == LOCK_CODE

    def may_be_stale(self, exc: BaseException) -> bool:
        return postgres_errors.may_be_stale(exc)

    def is_about_values(self, exc: BaseException) -> bool:
        return isinstance(exc, asyncpg.DataError)

    def is_other_generation(self, exc: BaseException) -> bool:
        return isinstance(exc, asyncpg.DivisionByZeroError)

    def ended_transaction(self, exc: BaseException) -> bool:
        return False

    async def commit(self, connection: Any) -> None:
        try:
            status = await connection.execute("COMMIT")
        except TimeoutError as exc:
            raise asyncpg.ConnectionDoesNotExistError("no answer to COMMIT") from exc
        if status != "COMMIT":
            raise asyncpg.InFailedSQLTransactionError("the server rolled back instead")
