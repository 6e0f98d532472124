"""What a PostgreSQL URL says."""

import re
from dataclasses import dataclass, fields
from typing import Any

from app_kernel.core.database_urls import POSTGRES_PORT
from app_kernel.core.errors import InvalidDatabaseUrl
from app_kernel.db.drivers.server_options import (
    ServerOptions,
    one_host,
    one_port,
    read_address,
    read_common,
    read_query,
    read_switch,
)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresOptions(ServerOptions):
    """The host is a name, an address, or the directory of a Unix socket, which begins with a slash."""

    port: int = POSTGRES_PORT
    pgbouncer: bool = False
    """Whether a pooler in transaction mode stands between: then no session state, and no LISTEN."""
    schema: str | None = None
    """The schema that holds all tables, made where it is missing; None for the server's own choice."""


_OPTIONS = frozenset(entry.name for entry in fields(PostgresOptions)) - {"user", "password", "database"}


def parse_postgres_url(url: str) -> PostgresOptions:
    """The options of postgres://user:password@host:port/database?option=value; raises InvalidDatabaseUrl."""
    address, query = read_address(url)
    options = read_query(query, _OPTIONS)
    host = one_host(address, options)
    port = one_port(address, options, POSTGRES_PORT)
    if not host:
        raise InvalidDatabaseUrl("the database URL names no host; use postgres://user:password@host/database.")
    if not address.database:
        raise InvalidDatabaseUrl("the database URL names no database; use postgres://user:password@host/database.")
    return PostgresOptions(
        host=host,
        port=port,
        user=address.user,
        password=address.password,
        database=address.database,
        **_read(options),
    )


def _read(options: dict[str, str]) -> dict[str, Any]:
    read = read_common(options)
    if "pgbouncer" in options:
        read["pgbouncer"] = read_switch(options["pgbouncer"], "pgbouncer")
    if "schema" in options and _NAME.fullmatch(options["schema"]) is None:
        raise InvalidDatabaseUrl("schema: use a name of letters, digits and underscores.")
    return read
