"""Where the databases and Redis are, checked without connecting: one sentence a problem, and never a password in it."""

import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from app_kernel.core.config import ServiceConfig, environment_name
from app_kernel.core.database_urls import MYSQL_PORT, MYSQL_SCHEMES, POSTGRES_PORT, POSTGRES_SCHEMES, backend_of
from app_kernel.core.errors import InvalidDatabaseUrl
from app_kernel.db import create_database

DRIVERS = {
    **dict.fromkeys(POSTGRES_SCHEMES, ("asyncpg", "postgres")),
    **dict.fromkeys(MYSQL_SCHEMES, ("asyncmy", "mysql")),
}
"""The package that each kind of server needs, and the extra that brings it."""
REDIS_SCHEMES = ("redis", "rediss", "unix")
REDIS_OPTIONS = frozenset(
    {
        "db",
        "protocol",
        "socket_timeout",
        "socket_connect_timeout",
        "socket_keepalive",
        "health_check_interval",
        "max_connections",
        "timeout",
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
    }
)
"""What a Redis URL may set; redis-py would find an unknown one with the first connection only."""
NUMBER_OPTIONS = frozenset({option for option in REDIS_OPTIONS if not option.startswith(("ssl_", "socket_keep"))})
_host = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9]+)?"
).fullmatch
_number = re.compile(r"\d{1,6}(?:\.\d{1,6})?").fullmatch


def label_of(field_name: str) -> str:
    """A setting as messages name it: by its field and its environment variable."""
    return f"{field_name} ({environment_name(field_name, ServiceConfig.model_fields[field_name])})"


def labelled(problem: str) -> str:
    """A problem that begins with a field or an environment variable alone, with both of them."""
    place, colon, rest = problem.partition(":")
    name, dot, part = place.partition(".")
    if name == "name":
        return problem  # the argument of create_service
    for field_name, field in ServiceConfig.model_fields.items():
        if colon and name in (field_name, environment_name(field_name, field)):
            return f"{label_of(field_name)}{dot}{part}:{rest}"
    return problem


def find_address_problems(config: ServiceConfig) -> list[str]:
    """What is wrong with the addresses of the databases and of Redis."""
    problems = find_database_problems(config)
    if config.admin_db_url is not None:
        problems += find_admin_problems(config)
    if config.redis_url is not None:
        problems += [f"{label_of('redis_url')}: {problem}" for problem in find_redis_problems(config.redis_url)]
    return problems


def find_database_problems(config: ServiceConfig) -> list[str]:
    """What keeps the app database from being opened, as far as its settings say."""
    if not config.names_url:
        problems = [f"{label_of(field_name)}: {problem}" for field_name, problem in _part_problems(config)]
        if problems:
            return problems
    return [f"{label_of('database_name')}: {problem}" for problem in _url_problems(config.database_url)]


def find_admin_problems(config: ServiceConfig) -> list[str]:
    """What keeps the admin database from being opened, as far as its settings say."""
    label, url = label_of("admin_db_url"), config.resolved_admin_db_url
    if config.admin_db_url is None:
        beside = "is not set, and the one beside the app database cannot be used"
        return [f"{label}: {beside}: {problem}" for problem in _url_problems(url)]
    problems = [f"{label}: {problem}" for problem in _url_problems(url)]
    if problems or find_database_problems(config):
        return problems
    if _place(url) == _place(config.database_url):
        problems.append(f"{label}: is the app database itself; leave it out, and one beside that is used")
    return problems


def _part_problems(config: ServiceConfig) -> Iterator[tuple[str, str]]:
    if config.database_type == "sqlite":
        for field_name in ("database_host", "database_port", "database_user", "database_password"):
            if field_name in config.model_fields_set:
                yield field_name, "is for a server, and database_type (DATABASE_TYPE) is sqlite; set it to the server's"
        return
    if config.database_name is None or not config.database_name.strip():
        yield "database_name", "missing; give the name of the database on the server, or set DATABASE_URL"
    elif "\0" in config.database_name:
        yield "database_name", "has a NUL in it"
    elif "/" in config.database_name:
        kind = config.database_type
        yield "database_name", f"the database's name has a slash in it, as a path, and database_type is {kind}"
    if not config.database_host.startswith("/") and _host(config.database_host) is None:
        yield "database_host", "is neither a host name, an address nor the directory of a socket"
    if config.database_password is not None and config.database_user is None:
        yield "database_password", "is set without database_user (DATABASE_USER)"


def _url_problems(url: str) -> Iterator[str]:
    """What is wrong with a database URL; it is never repeated, for it may hold a password."""
    backend = backend_of(url)
    if backend != "sqlite" and backend not in DRIVERS:
        yield (
            "its scheme is none that app_kernel knows; use sqlite:///path, postgres://user:password@host/name or "
            "mysql:// likewise"
        )
        return
    package, extra = DRIVERS.get(backend, (None, None))
    if package is not None and find_spec(package) is None:
        yield f"the package {package} is not installed; pip install 'app-kernel[{extra}]'"
    else:
        yield from _driver_problems(url, backend)


def _driver_problems(url: str, backend: str) -> Iterator[str]:
    try:
        create_database(url)
    except InvalidDatabaseUrl as exc:
        yield exc.message
        return
    if backend == "sqlite":
        text = _sqlite_path(url)
        if text in ("", "/", ":memory:", "/:memory:"):
            return
        problem = _path_problem(Path(text[1:])) if "\0" not in text else "the path has a NUL in it"
        if problem is not None:
            yield problem


def _sqlite_path(url: str) -> str:
    return unquote(url.partition("://")[2].partition("?")[0])


def _place(url: str) -> object:
    """What two URLs have in common that open the same tables; a private database is the same as no other."""
    if backend_of(url) == "sqlite":
        path = _sqlite_path(url)
        return object() if path in ("", "/", ":memory:", "/:memory:") else str(Path(path[1:]).resolve())
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    postgres = backend_of(url) in POSTGRES_SCHEMES
    host = options.get("unix_socket") or parts.hostname or options.get("host")
    port = parts.port or int(options.get("port", POSTGRES_PORT if postgres else MYSQL_PORT))
    return postgres, host, port, unquote(parts.path), options.get("schema")


def _path_problem(file: Path) -> str | None:
    """What keeps a database file from being opened or made, found without making anything."""
    if file.is_dir():
        return "names a directory; name a file in it"
    if file.exists():
        return None if os.access(file, os.R_OK | os.W_OK) else "the file cannot be read and written by this user"
    existing = file.absolute().parent
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        return "a part of its path is a file, not a directory"
    return None if os.access(existing, os.W_OK | os.X_OK) else "the directory cannot be written by this user"


def find_redis_problems(url: str) -> Iterator[str]:
    """What is wrong with a Redis URL; it is never repeated, for it may hold a password."""
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme not in REDIS_SCHEMES:
        yield "is no Redis URL; use redis://host:6379/0, rediss:// for TLS, or unix:///path"
        return
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        yield "its port or host cannot be read; write redis://user:password@host:6379/0, specials percent-encoded"
        return
    path = unquote(parts.path)
    if scheme == "unix":
        if path in ("", "/"):
            yield "names no socket; use unix:///path/of/the.sock"
    elif parts.hostname is None or _host(parts.hostname) is None or port == 0:
        yield "its host or port is missing or malformed; use redis://host:6379/0"
    elif path.strip("/") and not _is_database(path.strip("/")):
        yield "its path is no number of a database; use redis://host:6379/0"
    if parts.fragment:
        yield "has a # in it, which belongs percent-encoded (%23) in a password"
    yield from _redis_option_problems(parts.query)
    if find_spec("redis") is None:
        yield "the package redis is not installed; pip install 'app-kernel[redis]'"


def _redis_option_problems(query: str) -> Iterator[str]:
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in REDIS_OPTIONS:
            yield f"has an option that app_kernel does not know; it knows {', '.join(sorted(REDIS_OPTIONS))}"
            return
        if name in NUMBER_OPTIONS and _number(value) is None:
            yield f"its option {name} must be a number"


def _is_database(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6
