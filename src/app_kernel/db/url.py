"""Database URLs: which backend, and where."""

import importlib
from urllib.parse import parse_qsl, unquote

from app_kernel.core.database_urls import MYSQL_SCHEMES, POSTGRES_SCHEMES, backend_of
from app_kernel.core.errors import InvalidDatabaseUrl
from app_kernel.db.drivers.base import Driver
from app_kernel.db.drivers.mysql_options import parse_mysql_url
from app_kernel.db.drivers.postgres_options import parse_postgres_url
from app_kernel.db.drivers.server_options import ServerOptions
from app_kernel.db.drivers.sqlite import SqliteDriver

SYNCHRONOUS = ("FULL", "NORMAL")
_PREFIX = "sqlite://"
_PACKAGES = {"postgres": ("PostgreSQL", "asyncpg"), "mysql": ("MySQL", "asyncmy")}
"""By the name of a driver's module, which is also the name of the extra: what it is for, and what it needs."""


def make_driver(url: str, *, synchronous: str = "FULL") -> Driver:
    """The driver for a URL; raises InvalidDatabaseUrl, which never repeats the URL, for it may hold a password."""
    backend = backend_of(url)
    if backend in POSTGRES_SCHEMES:
        return _load("postgres", "PostgresDriver", parse_postgres_url(url))
    if backend in MYSQL_SCHEMES:
        return _load("mysql", "MySqlDriver", parse_mysql_url(url))
    if not url.lower().startswith(_PREFIX):
        raise InvalidDatabaseUrl(
            "this is no database URL; use sqlite:///path, postgres://user:password@host/database or mysql:// likewise."
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


def _load(module_name: str, driver_name: str, options: ServerOptions) -> Driver:
    """Loads the driver only now, because its package is an extra and costs every other user time at start."""
    product, package = _PACKAGES[module_name]
    try:
        module = importlib.import_module(f"app_kernel.db.drivers.{module_name}")
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] != package:
            raise
        raise InvalidDatabaseUrl(
            f"{product} needs the package {package}: pip install app-kernel[{module_name}]"
        ) from exc
    driver: Driver = getattr(module, driver_name)(options)
    return driver
