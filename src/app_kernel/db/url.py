"""Database URLs: which backend, and where."""

import importlib
from urllib.parse import parse_qsl, unquote

from app_kernel.core.errors import InvalidDatabaseUrl
from app_kernel.db.drivers.base import Driver
from app_kernel.db.drivers.postgres_options import parse_postgres_url
from app_kernel.db.drivers.sqlite import SqliteDriver

SYNCHRONOUS = ("FULL", "NORMAL")
_PREFIX = "sqlite://"


def make_driver(url: str, *, synchronous: str = "FULL") -> Driver:
    """The driver for a URL; raises InvalidDatabaseUrl, which never repeats the URL, for it may hold a password."""
    scheme = url.partition("://")[0].lower()
    if scheme in ("postgres", "postgresql"):
        return _make_postgres(url)
    if scheme in ("mysql", "mariadb"):
        raise InvalidDatabaseUrl(f"{scheme} is not built in this version; use sqlite:///path or postgres://.")
    if not url.lower().startswith(_PREFIX):
        raise InvalidDatabaseUrl(
            "this is no database URL; use sqlite:///path or postgres://user:password@host/database."
        )
    path, options = split_sqlite(url)
    chosen = options.pop("synchronous", synchronous).upper()
    if options:
        raise InvalidDatabaseUrl(f"unknown option {', '.join(sorted(options))} in the database URL.")
    if chosen not in SYNCHRONOUS:
        raise InvalidDatabaseUrl(f"synchronous: use {' or '.join(SYNCHRONOUS)}.")
    return SqliteDriver(path, synchronous=chosen)


def split_sqlite(url: str) -> tuple[str, dict[str, str]]:
    """Path and options of a SQLite URL; three slashes begin a relative path, four an absolute one."""
    rest, _, query = url[len(_PREFIX) :].partition("?")
    rest = unquote(rest)
    if rest in ("", "/", ":memory:", "/:memory:"):
        return ":memory:", dict(parse_qsl(query))
    if not rest.startswith("/"):
        raise InvalidDatabaseUrl("a SQLite URL has three slashes before a path: sqlite:///path.")
    return rest[1:], dict(parse_qsl(query))


def _make_postgres(url: str) -> Driver:
    """Loads the driver only now, because asyncpg is an extra and costs every other user time at start."""
    options = parse_postgres_url(url)
    try:
        module = importlib.import_module("app_kernel.db.drivers.postgres")
    except ModuleNotFoundError as exc:
        if exc.name != "asyncpg":
            raise
        raise InvalidDatabaseUrl("PostgreSQL needs the package asyncpg: pip install app-kernel[postgres]") from exc
    driver: Driver = module.PostgresDriver(options)
    return driver
