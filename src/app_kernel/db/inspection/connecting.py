"""From a database URL to a connection that only looks."""

import importlib
from dataclasses import replace

from app_kernel.core.database_urls import MYSQL_SCHEMES, POSTGRES_SCHEMES, backend_of
from app_kernel.core.errors import InvalidDatabaseUrl
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.drivers.mysql_options import parse_mysql_url
from app_kernel.db.drivers.onlooker import Onlooker, ServerOnlooker, SqliteOnlooker
from app_kernel.db.drivers.postgres_options import parse_postgres_url
from app_kernel.db.url import make_driver, split_sqlite

STATEMENT_SECONDS = 3600.0
"""How long one statement may take: to count the rows of a large table takes a while, and holds up nobody."""


def make_onlooker(url: str, *, synchronous: str = "FULL") -> Onlooker:
    """The onlooker for a URL, not open yet; raises InvalidDatabaseUrl."""
    dialect = make_driver(url, synchronous=synchronous).dialect
    backend = backend_of(url)
    if backend in POSTGRES_SCHEMES:
        return _postgres(url, dialect)
    if backend in MYSQL_SCHEMES:
        return _mysql(url, dialect)
    path, options = split_sqlite(url)
    if path == ":memory:":
        raise InvalidDatabaseUrl("a database in memory is seen by the process alone that opened it.")
    return SqliteOnlooker(dialect, path, options.get("synchronous", synchronous).upper())


def _postgres(url: str, dialect: Dialect) -> Onlooker:
    options = replace(parse_postgres_url(url), statement_timeout=STATEMENT_SECONDS)
    # Loaded only now, because asyncpg is an extra.
    wire = importlib.import_module("app_kernel.db.drivers.postgres_wire").PostgresWire(options)
    settings = importlib.import_module("app_kernel.db.drivers.postgres_connection").local_settings(options)
    return ServerOnlooker(
        dialect,
        wire,
        read_only="SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        begin=f"BEGIN READ ONLY{settings}" if options.pgbouncer else None,
    )


def _mysql(url: str, dialect: Dialect) -> Onlooker:
    options = replace(parse_mysql_url(url), statement_timeout=STATEMENT_SECONDS)
    wire = importlib.import_module("app_kernel.db.drivers.mysql_wire").MySqlWire(options, dialect)
    return ServerOnlooker(dialect, wire, read_only="SET SESSION TRANSACTION READ ONLY", begin=None)
