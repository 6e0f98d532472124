"""What a URL of MySQL or MariaDB says."""

from dataclasses import dataclass, field, fields
from typing import Any

from app_kernel.core.database_urls import MYSQL_PORT
from app_kernel.core.errors import InvalidDatabaseUrl
from app_kernel.db.drivers.server_options import (
    Address,
    ServerOptions,
    one_host,
    one_port,
    read_address,
    read_common,
    read_query,
    read_switch,
)

MAX_NAME = 64
"""Characters of a database's name, which the server refuses to make longer."""

_EXAMPLE = "mysql://user:password@host/database"
_SPELLINGS = {"ssl-mode": "sslmode", "ssl_mode": "sslmode", "ssl-ca": "sslrootcert", "ssl_ca": "sslrootcert"}
"""Options as MySQL's own programs and other libraries call them."""
_SSL_WORDS = {
    "disabled": "disable",
    "preferred": "prefer",
    "required": "require",
    "verify_ca": "verify-ca",
    "verify_identity": "verify-full",
}
_CHARSET = "utf8mb4"


@dataclass(frozen=True, slots=True, kw_only=True)
class MySqlOptions(ServerOptions):
    """With a socket, host and port do not count."""

    port: int = MYSQL_PORT
    unix_socket: str | None = field(default=None, repr=False)
    """The path of the server's Unix socket."""
    create: bool = False
    """Whether the database is made where it is missing."""


_OPTIONS = frozenset(entry.name for entry in fields(MySqlOptions)) - {"user", "password", "database"} | {"charset"}


def parse_mysql_url(url: str) -> MySqlOptions:
    """The options of mysql://user:password@host:port/database?option=value; raises InvalidDatabaseUrl.

    `mariadb://` says the same. The options of MySQL's own programs `ssl-mode` and `ssl-ca` are taken too, and
    `charset=utf8mb4`, which is always so.
    """
    address, query = read_address(url)
    options = read_query(query, _OPTIONS, _SPELLINGS)
    if options.pop("charset", _CHARSET).lower() != _CHARSET:
        raise InvalidDatabaseUrl(f"charset: text is always {_CHARSET}; leave it out.")
    host, socket = _place(address, options)
    port = one_port(address, options, MYSQL_PORT)
    return MySqlOptions(
        host=host,
        port=port,
        unix_socket=socket,
        user=address.user,
        password=address.password,
        database=_database(address),
        **_read(options),
    )


def _place(address: Address, options: dict[str, str]) -> tuple[str, str | None]:
    """Host and socket; a host that is an absolute path is a socket, as for PostgreSQL."""
    host = one_host(address, options)
    socket = options.pop("unix_socket", None)
    if host.startswith("/") and socket is None:
        host, socket = "", host
    if socket is None and not host:
        raise InvalidDatabaseUrl(f"the database URL names no host; use {_EXAMPLE}.")
    if socket is not None and not socket.startswith("/"):
        raise InvalidDatabaseUrl("unix_socket: use an absolute path.")
    if socket is not None and host not in ("", "localhost"):
        raise InvalidDatabaseUrl("the database URL names a host and a socket; use one of them.")
    return host or "localhost", socket


def _database(address: Address) -> str:
    name = address.database
    if not name:
        raise InvalidDatabaseUrl(f"the database URL names no database; use {_EXAMPLE}.")
    if "/" in name:
        raise InvalidDatabaseUrl("the database's name has a slash in it.")
    if len(name) > MAX_NAME:
        raise InvalidDatabaseUrl(f"the database's name is longer than {MAX_NAME} characters.")
    return name


def _read(options: dict[str, str]) -> dict[str, Any]:
    if "sslmode" in options:
        options["sslmode"] = _SSL_WORDS.get(options["sslmode"].lower(), options["sslmode"])
    if "sslrootcert" in options:
        # An authority that is given is also asked, as for PostgreSQL.
        mode = options.get("sslmode", "require")
        if mode in ("disable", "prefer"):
            raise InvalidDatabaseUrl("sslrootcert: is not asked with this sslmode; use verify-ca or verify-full.")
        options["sslmode"] = "verify-ca" if mode == "require" else mode
    read = read_common(options)
    if "create" in options:
        read["create"] = read_switch(options["create"], "create")
    return read
