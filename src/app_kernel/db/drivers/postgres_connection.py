"""One PostgreSQL connection, opened as every part of the store expects it."""

import ssl
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it brings no types

from app_kernel.core.errors import InvalidDatabaseUrl
from app_kernel.db.drivers.postgres_errors import FOREIGN, connect_error
from app_kernel.db.drivers.postgres_options import PostgresOptions

STATEMENT_CACHE = 256
CLIENT_SECONDS = 1.0
"""How much longer than the server the client waits for a statement: it then gives the connection up."""
FROZEN_SECONDS = 60
"""After this the server ends a unit of work whose process has stopped between two statements."""


class Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg brings no types
    """A connection of ours. Between two uses there is no state in it but prepared statements."""

    __slots__ = ("idle_since",)

    idle_since: float
    """The event loop's time at which it was last given back."""

    async def forget_statements(self) -> None:
        """Prepares every statement anew from now on, after a column has got another type."""
        await self.reload_schema_state()


def tls_for(options: PostgresOptions) -> Any:
    """What asyncpg takes as `ssl`; raises InvalidDatabaseUrl when `sslrootcert` cannot be read."""
    if options.sslmode == "disable":
        return False
    if options.sslmode == "prefer":
        return "prefer"
    try:
        context = ssl.create_default_context(cafile=options.sslrootcert)
    except (OSError, ValueError) as exc:
        raise InvalidDatabaseUrl("sslrootcert: there is no such file, or it holds no certificate.") from exc
    context.check_hostname = options.sslmode == "verify-full"
    # As in libpq, an authority that is given is also asked.
    if options.sslmode == "require" and options.sslrootcert is None:
        context.verify_mode = ssl.CERT_NONE
    return context


async def connect(options: PostgresOptions, tls: Any) -> Connection:
    """An open connection; raises Unavailable and its kinds."""
    try:
        connection: Connection = await asyncpg.connect(
            host=options.host,
            port=options.port,
            user=options.user,
            password=options.password,
            database=options.database,
            timeout=options.connect_timeout,
            command_timeout=options.statement_timeout + CLIENT_SECONDS,
            # A pooler in transaction mode gives each statement another server, which has not prepared it.
            statement_cache_size=0 if options.pgbouncer else STATEMENT_CACHE,
            ssl=tls,
            server_settings=_server_settings(options),
            connection_class=Connection,
        )
    except FOREIGN as exc:
        raise connect_error(exc) from exc
    connection.idle_since = 0.0
    return connection


def local_settings(options: PostgresOptions) -> str:
    """What each transaction must set for itself because a pooler keeps no settings of a connection; often nothing."""
    if not options.pgbouncer:
        return ""
    text = (
        f"; SET LOCAL statement_timeout = {_milliseconds(options.statement_timeout)}"
        f"; SET LOCAL idle_in_transaction_session_timeout = {FROZEN_SECONDS * 1000}"
    )
    return text if options.schema is None else f'{text}; SET LOCAL search_path = "{options.schema}"'


def _server_settings(options: PostgresOptions) -> dict[str, str]:
    settings = {"application_name": options.application_name}
    if options.pgbouncer:
        return settings
    settings |= {
        "statement_timeout": str(_milliseconds(options.statement_timeout)),
        "idle_in_transaction_session_timeout": str(FROZEN_SECONDS * 1000),
        # A statement that waited for a change of its table must see the generation after it.
        "default_transaction_isolation": "read committed",
        "timezone": "UTC",
        # Compiling short statements takes longer than running them.
        "jit": "off",
    }
    if options.schema is not None:
        settings["search_path"] = f'"{options.schema}"'
    return settings


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
