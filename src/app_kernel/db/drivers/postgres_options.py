"""What a PostgreSQL URL says; nothing of it is ever repeated in an error, for it may hold a password."""

import math
import re
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from app_kernel.core.errors import InvalidDatabaseUrl

DEFAULT_PORT = 5432
MAX_POOL_SIZE = 1000
MAX_SECONDS = 86_400
SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
_SWITCH = {"true": True, "1": True, "on": True, "yes": True, "false": False, "0": False, "off": False, "no": False}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresOptions:
    """Where the database is and how it is used; times are in seconds."""

    host: str = field(repr=False)
    """A name, an address, or the directory of a Unix socket, which begins with a slash."""
    port: int = DEFAULT_PORT
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    database: str
    pool_size: int = 10
    connect_timeout: float = 5.0
    pool_timeout: float = 5.0
    statement_timeout: float = 30.0
    sslmode: str = "prefer"
    sslrootcert: str | None = field(default=None, repr=False)
    pgbouncer: bool = False
    """Whether a pooler in transaction mode stands between: then no session state, and no LISTEN."""
    application_name: str = "app_kernel"
    schema: str | None = None
    """The schema that holds all tables, made where it is missing; None for the server's own choice."""


_OPTIONS = frozenset(entry.name for entry in fields(PostgresOptions)) - {"user", "password", "database"}


def parse_postgres_url(url: str) -> PostgresOptions:
    """The options of postgres://user:password@host:port/database?option=value; raises InvalidDatabaseUrl."""
    parts, port = _split(url)
    options = _options(parts.query)
    host = _text(parts.hostname or "")
    if "host" in options and host:
        raise InvalidDatabaseUrl("the database URL names two hosts; use the one before the path or the option host.")
    if "port" in options and port is not None:
        raise InvalidDatabaseUrl("the database URL names two ports; use the one after the host or the option port.")
    host = options.pop("host", host)
    if not host:
        raise InvalidDatabaseUrl("the database URL names no host; use postgres://user:password@host/database.")
    database = _text(parts.path.removeprefix("/"))
    if not database:
        raise InvalidDatabaseUrl("the database URL names no database; use postgres://user:password@host/database.")
    return PostgresOptions(
        host=host,
        port=port if port is not None else _whole(options.pop("port", str(DEFAULT_PORT)), "port", 65_535),
        user=None if parts.username is None else _text(parts.username),
        password=None if parts.password is None else _text(parts.password),
        database=database,
        **_read(options),
    )


def _split(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # Without its cause, which repeats a part of the URL.
        raise InvalidDatabaseUrl(
            "the host or port of the database URL cannot be read; special characters in user and password are to be"
            " percent-encoded."
        ) from None
    if parts.fragment or "#" in url:
        raise InvalidDatabaseUrl("a # in the database URL is to be percent-encoded (%23).")
    if port == 0:
        raise InvalidDatabaseUrl("port: use a whole number from 1 to 65535.")
    if "," in parts.netloc.rpartition("@")[2]:
        raise InvalidDatabaseUrl("the database URL names several hosts; use one.")
    return parts, port


def _text(quoted: str) -> str:
    try:
        text = unquote(quoted, errors="strict")
    except UnicodeDecodeError:
        raise InvalidDatabaseUrl("a percent-encoded part of the database URL is not UTF-8.") from None
    if "\0" in text:
        raise InvalidDatabaseUrl("the database URL has a NUL in it.")
    return text


def _options(query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    unknown = sorted(name[:40] for name in options.keys() - _OPTIONS)
    if unknown:
        raise InvalidDatabaseUrl(f"unknown option {', '.join(unknown)} in the database URL.")
    if len(options) < len(pairs):
        raise InvalidDatabaseUrl("an option stands twice in the database URL.")
    empty = sorted(name for name, value in options.items() if not value or "\0" in value)
    if empty:
        raise InvalidDatabaseUrl(f"the option {', '.join(empty)} in the database URL has no value.")
    return options


def _read(options: dict[str, str]) -> dict[str, Any]:
    read: dict[str, Any] = dict(options)
    for name, value in options.items():
        if name.endswith("_timeout"):
            read[name] = _seconds(value, name)
    if "pool_size" in options:
        read["pool_size"] = _whole(options["pool_size"], "pool_size", MAX_POOL_SIZE)
    if "pgbouncer" in options:
        if options["pgbouncer"].lower() not in _SWITCH:
            raise InvalidDatabaseUrl("pgbouncer: use true or false.")
        read["pgbouncer"] = _SWITCH[options["pgbouncer"].lower()]
    if options.get("sslmode", "prefer") not in SSL_MODES:
        raise InvalidDatabaseUrl(f"sslmode: use {', '.join(SSL_MODES)}.")
    if "schema" in options and _NAME.fullmatch(options["schema"]) is None:
        raise InvalidDatabaseUrl("schema: use a name of letters, digits and underscores.")
    return read


def _whole(text: str, name: str, most: int) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0
    if not 1 <= number <= most:
        raise InvalidDatabaseUrl(f"{name}: use a whole number from 1 to {most}.")
    return number


def _seconds(text: str, name: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.001 <= seconds <= MAX_SECONDS:
        raise InvalidDatabaseUrl(f"{name}: use seconds, more than 0 and at most {MAX_SECONDS}.")
    return seconds
