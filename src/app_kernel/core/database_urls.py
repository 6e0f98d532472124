"""Database URLs as they follow from settings: of the parts of a server's address, and of the database beside one."""

from pathlib import PurePosixPath
from urllib.parse import parse_qsl, quote, unquote

ADMIN_SCHEMA = "kernel_admin"
"""The schema of the admin database inside the app's own PostgreSQL database."""

ADMIN_SUFFIX = "_admin"
"""What the name of the admin database adds to the app's, as a file beside a file or a database on its server."""

ADMIN_POOL_SIZE = 3
"""Its connections come on top of the app's own, and no request waits for them but one that asks it."""

POSTGRES_SCHEMES = frozenset({"postgres", "postgresql"})
MYSQL_SCHEMES = frozenset({"mysql", "mariadb"})
SERVER_SCHEMES = POSTGRES_SCHEMES | MYSQL_SCHEMES
"""The databases that run on a server, over a pool of connections."""
POSTGRES_PORT = 5432
MYSQL_PORT = 3306


def backend_of(url: str) -> str:
    """What a URL's scheme names, in lower case and without a driver: `postgresql` for postgresql+asyncpg."""
    scheme, separator, _ = url.partition("://")
    return scheme.lower().partition("+")[0] if separator else ""


def postgres_url(*, host: str, port: int | None, name: str, user: str | None, password: str | None) -> str:
    """The URL of a PostgreSQL database; a host that is an absolute path is the directory of a Unix socket."""
    port = port or POSTGRES_PORT
    if host.startswith("/"):
        address = f"postgres://{_login(user, password)}/{quote(name, safe='')}"
        return f"{address}?host={quote(host, safe='')}&port={port}"
    return f"postgres://{_login(user, password)}{_shown(host)}:{port}/{quote(name, safe='')}"


def mysql_url(*, host: str, port: int | None, name: str, user: str | None, password: str | None) -> str:
    """The URL of a MySQL or MariaDB database; a host that is an absolute path is a Unix socket, which has no port."""
    if host.startswith("/"):
        return f"mysql://{_login(user, password)}/{quote(name, safe='')}?unix_socket={quote(host, safe='')}"
    return f"mysql://{_login(user, password)}{_shown(host)}:{port or MYSQL_PORT}/{quote(name, safe='')}"


def _login(user: str | None, password: str | None) -> str:
    login = "" if user is None else quote(user, safe="")
    if password is not None:
        login += f":{quote(password, safe='')}"
    return f"{login}@" if login else ""


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else quote(host, safe=".-_")


def option_of(url: str, name: str) -> str | None:
    """The value of an option such as `?schema=`; None where the URL has none of that name."""
    return dict(parse_qsl(url.partition("?")[2], keep_blank_values=True)).get(name)


def with_option(url: str, name: str, value: str) -> str:
    """The URL with this option, in the place of one of the same name."""
    address, _, query = url.partition("?")
    kept = [part for part in query.split("&") if part and unquote(part.partition("=")[0]) != name]
    query = "&".join([*kept, f"{name}={quote(value, safe='')}"])
    return f"{address}?{query}"


def admin_url_beside(url: str) -> str:
    """The admin database that belongs to an app database.

    `app_admin.db` beside `app.db`, the schema kernel_admin of a PostgreSQL database, and on a server of MySQL or
    MariaDB, where a schema is a database, the one of the same name and `_admin`, which is made where it is missing.
    """
    backend = backend_of(url)
    if backend in POSTGRES_SCHEMES:
        return with_option(with_option(url, "pool_size", str(ADMIN_POOL_SIZE)), "schema", ADMIN_SCHEMA)
    address, mark, query = url.partition("?")
    scheme, _, rest = address.partition("://")
    if backend in MYSQL_SCHEMES:
        if not rest.partition("/")[2]:
            return url
        beside = f"{address}{ADMIN_SUFFIX}{mark}{query}"
        return with_option(with_option(beside, "pool_size", str(ADMIN_POOL_SIZE)), "create", "true")
    if unquote(rest) in ("", "/", ":memory:", "/:memory:"):
        return url
    folder, slash, file = rest.rpartition("/")
    known = PurePosixPath(unquote(file))
    beside = quote(f"{known.stem}{ADMIN_SUFFIX}{known.suffix}", safe="")
    return f"{scheme}://{folder}{slash}{beside}{mark}{query}"
