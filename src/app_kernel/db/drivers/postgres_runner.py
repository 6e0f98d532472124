"""What runs on PostgreSQL alone: settings of each transaction behind a pooler, and builds that belong to none."""

from app_kernel.db.drivers.pool import Pool
from app_kernel.db.drivers.postgres_connection import local_settings
from app_kernel.db.drivers.postgres_options import PostgresOptions
from app_kernel.db.drivers.postgres_wire import PostgresWire
from app_kernel.db.drivers.runner import Runner
from app_kernel.db.drivers.units import one_statement

BUILD_SECONDS = 86400


class PostgresRunner(Runner):
    """Runs single statements and units on the connections of a pool."""

    def __init__(self, pool: Pool, wire: PostgresWire, options: PostgresOptions) -> None:
        # Whatever the server's default is, the look after a lock must see what was committed before it.
        super().__init__(pool, wire, f"BEGIN ISOLATION LEVEL READ COMMITTED{local_settings(options)}")
        self._behind_pooler = options.pgbouncer
        self._wraps = options.pgbouncer and options.schema is not None
        """Whether even a single statement needs settings of its transaction's."""

    def wraps(self, sql: str, *, isolated: bool) -> bool:
        # A pooler keeps no settings of a connection, so that there the isolation is to be said with each transaction.
        return self._wraps or (isolated and self._behind_pooler)

    async def build(self, sql: str) -> None:
        """Runs a statement that belongs to no transaction, with a day's time, on a connection of its own."""
        if self._wraps:
            # Its schema can be named in a transaction only, and there an index stops the writers meanwhile.
            await self.transact("", one_statement(sql.replace(" CONCURRENTLY", "")))
            return
        connection = await self.wire.connect()
        try:
            if not self._behind_pooler:
                await connection.execute("SET statement_timeout = 0")
            await connection.execute(sql, timeout=BUILD_SECONDS)
            await connection.close()
        except self.wire.foreign as exc:
            connection.terminate()
            raise self._cut(exc, undone=True) from exc
        except BaseException:
            connection.terminate()
            raise
