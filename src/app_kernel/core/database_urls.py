"""Database URLs as they follow from settings: of the parts of a server's address, and of the database beside one."""

from pathlib import PurePosixPath
from urllib.parse import parse_qsl, quote, unquote

ADMIN_SCHEMA = "kernel_admin"
"""The schema of the admin database inside the app's own PostgreSQL database."""

ADMIN_POOL_SIZE = 3
"""Its connections come on top of the app's own, and no request waits for them but one that asks it."""

POSTGRES_SCHEMES = frozenset({"postgres", "postgresql"})


def backend_of(url: str) -> str:
    """What a URL's scheme names, in lower case and without a driver: `postgresql` for postgresql+asyncpg."""
    scheme, separator, _ = url.partition("://")
    return scheme.lower().partition("+")[0] if separator else ""


def postgres_url(*, host: str, port: int, name: str, user: str | None, password: str | None) -> str:
    """The URL of a PostgreSQL database; a host that is an absolute path is the directory of a Unix socket."""
    login = "" if user is None else quote(user, safe="")
    if password is not None:
        login += f":{quote(password, safe='')}"
    login = f"{login}@" if login else ""
    if host.startswith("/"):
        return f"postgres://{login}/{quote(name, safe='')}?host={quote(host, safe='')}&port={port}"
    shown = f"[{host}]" if ":" in host else quote(host, safe=".-_")
    return f"postgres://{login}{shown}:{port}/{quote(name, safe='')}"


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
    """The admin database that belongs to an app database: app_admin.db beside app.db, or the schema kernel_admin."""
    if backend_of(url) in POSTGRES_SCHEMES:
        return with_option(with_option(url, "pool_size", str(ADMIN_POOL_SIZE)), "schema", ADMIN_SCHEMA)
    address, mark, query = url.partition("?")
    scheme, _, rest = address.partition("://")
    if unquote(rest) in ("", "/", ":memory:", "/:memory:"):
        return url
    folder, slash, file = rest.rpartition("/")
    known = PurePosixPath(unquote(file))
    beside = quote(f"{known.stem}_admin{known.suffix}", safe="")
    return f"{scheme}://{folder}{slash}{beside}{mark}{query}"
