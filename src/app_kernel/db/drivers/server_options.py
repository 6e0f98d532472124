"""What the URLs of database servers have in common; an error never repeats a part of one, which may be a password."""

import math
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from app_kernel.core.errors import InvalidDatabaseUrl

MAX_POOL_SIZE = 1000
MAX_SECONDS = 86_400
SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
_SWITCH = {"true": True, "1": True, "on": True, "yes": True, "false": False, "0": False, "off": False, "no": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Where a database on a server is and how it is used; times are in seconds."""

    host: str = field(repr=False)
    port: int
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    database: str
    pool_size: int = 10
    connect_timeout: float = 5.0
    pool_timeout: float = 5.0
    statement_timeout: float = 30.0
    sslmode: str = "prefer"
    sslrootcert: str | None = field(default=None, repr=False)
    application_name: str = "app_kernel"


@dataclass(frozen=True, slots=True)
class Address:
    """What stands before the question mark of a URL; an empty text or None is what is not there."""

    host: str
    port: int | None
    user: str | None
    password: str | None
    database: str


def read_address(url: str) -> tuple[Address, str]:
    """The address of a URL, percent-decoded, and its query as it stands; raises InvalidDatabaseUrl."""
    parts, port = _split(url)
    address = Address(
        host=_text(parts.hostname or ""),
        port=port,
        user=None if parts.username is None else _text(parts.username),
        password=None if parts.password is None else _text(parts.password),
        database=_text(parts.path.removeprefix("/")),
    )
    return address, parts.query


def read_query(query: str, known: frozenset[str], aliases: dict[str, str] | None = None) -> dict[str, str]:
    """The options of a query by the names in `known`; raises InvalidDatabaseUrl for any other, and for empty ones."""
    pairs = [((aliases or {}).get(name, name), value) for name, value in parse_qsl(query, keep_blank_values=True)]
    options = dict(pairs)
    unknown = sorted(name[:40] for name in options.keys() - known)
    if unknown:
        raise InvalidDatabaseUrl(f"unknown option {', '.join(unknown)} in the database URL.")
    if len(options) < len(pairs):
        raise InvalidDatabaseUrl("an option stands twice in the database URL.")
    empty = sorted(name for name, value in options.items() if not value or "\0" in value)
    if empty:
        raise InvalidDatabaseUrl(f"the option {', '.join(empty)} in the database URL has no value.")
    return options


def one_host(address: Address, options: dict[str, str]) -> str:
    """The host before the path, or the option, which is taken out of the options; empty where there is neither."""
    if "host" in options and address.host:
        raise InvalidDatabaseUrl("the database URL names two hosts; use the one before the path or the option host.")
    return options.pop("host", address.host)


def one_port(address: Address, options: dict[str, str], default: int) -> int:
    """The port after the host, or the option, which is taken out of the options, or the default."""
    if "port" in options and address.port is not None:
        raise InvalidDatabaseUrl("the database URL names two ports; use the one after the host or the option port.")
    return address.port if address.port is not None else read_whole(options.pop("port", str(default)), "port", 65_535)


def read_common(options: dict[str, str]) -> dict[str, Any]:
    """The options with those of every server as what they mean; the others stay text."""
    read: dict[str, Any] = dict(options)
    for name, value in options.items():
        if name.endswith("_timeout"):
            read[name] = _seconds(value, name)
    if "pool_size" in options:
        read["pool_size"] = read_whole(options["pool_size"], "pool_size", MAX_POOL_SIZE)
    if options.get("sslmode", "prefer") not in SSL_MODES:
        raise InvalidDatabaseUrl(f"sslmode: use {', '.join(SSL_MODES)}.")
    return read


def read_switch(text: str, name: str) -> bool:
    """Whether an option is on."""
    if text.lower() not in _SWITCH:
        raise InvalidDatabaseUrl(f"{name}: use true or false.")
    return _SWITCH[text.lower()]


def read_whole(text: str, name: str, most: int) -> int:
    """A whole number from 1 to `most`."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0
    if not 1 <= number <= most:
        raise InvalidDatabaseUrl(f"{name}: use a whole number from 1 to {most}.")
    return number


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


def _seconds(text: str, name: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.001 <= seconds <= MAX_SECONDS:
        raise InvalidDatabaseUrl(f"{name}: use seconds, more than 0 and at most {MAX_SECONDS}.")
    return seconds
