"""One connection to MySQL or MariaDB, opened as every part of the store expects it."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import asyncmy
from asyncmy import converters, errors
from asyncmy.constants import FIELD_TYPE
from asyncmy.constants.SERVER_STATUS import SERVER_STATUS_IN_TRANS, SERVER_STATUS_NO_BACKSLASH_ESCAPES

from app_kernel.core.errors import ConnectTimeout, InvalidDatabaseUrl, StoreError, Unavailable
from app_kernel.db.dialects.mysql_storage import BINARY_COLLATION
from app_kernel.db.drivers.mysql_errors import FOREIGN, SIGN_IN_ERRORS, connect_error, lacks_tls
from app_kernel.db.drivers.mysql_options import MySqlOptions
from app_kernel.db.drivers.mysql_text import render
from app_kernel.db.drivers.units import Rows

CLIENT_SECONDS = 1.0
"""How much longer than the server the client waits for a statement: it then gives the connection up."""
FROZEN_SECONDS = 60
"""After this the server ends a transaction whose process has stopped between two statements."""
SQL_MODE = (
    "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,ANSI_QUOTES,NO_BACKSLASH_ESCAPES,"
    "NO_AUTO_VALUE_ON_ZERO,NO_UNSIGNED_SUBTRACTION"
)
CLEAR_TEXT = ("mysql_clear_password", "dialog")
"""Ways to sign in that send the password as it is."""
OLDEST = {True: (10, 6), False: (8, 0, 19)}
"""By whether it is MariaDB."""


def _aware(text: bytes | str) -> Any:
    """An instant of a session in UTC; what Python has no date for, such as a zero, stays as it is."""
    moment = converters.convert_datetime(text)
    return moment.replace(tzinfo=UTC) if isinstance(moment, datetime) else moment


_READERS = {
    **converters.conversions,
    FIELD_TYPE.DATETIME: _aware,
    FIELD_TYPE.TIMESTAMP: _aware,
}


class Connection:
    """Between two uses there is no state in it but the settings of its session."""

    def __init__(self, wire: Any, seconds: float, again: Callable[[], Awaitable[tuple["Connection", bool]]]) -> None:
        self.idle_since = 0.0
        self._wire = wire
        self._seconds = seconds
        self._again = again
        """Makes another one to the same server."""
        self._runs = False
        """Whether the server may be at work for it: it goes on also when nobody waits for the answer any more."""

    @property
    def number(self) -> int:
        """What the server calls this connection."""
        number: int = self._wire.thread_id()
        return number

    def is_closed(self) -> bool:
        """Whether it is known to be gone, on the server's side too."""
        if self._runs:
            return False
        return not self._wire.connected or self._wire._stream_broken  # noqa: SLF001 - asyncmy asks itself so

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open in it."""
        return bool(self._wire.server_status & SERVER_STATUS_IN_TRANS)

    async def fetch(self, sql: str, *params: Any, timeout: float | None = None) -> Rows:
        """The rows of a statement, or of all those that are sent together."""
        return await self._query(render(sql, params), timeout)

    async def execute(self, sql: str, *, timeout: float | None = None) -> Rows:
        """Runs statements of our own, with `;` between them, in one round trip; the first that fails is the last."""
        return await self._query(sql, timeout)

    async def forget_statements(self) -> None:
        """There are none: nothing is prepared."""

    async def close(self, *, timeout: float | None = None) -> None:
        """Says goodbye and closes; has the server stop what it still does for this connection."""
        async with asyncio.timeout(timeout):
            if self._runs:
                await self._kill()
            await self._wire.ensure_closed()

    async def _kill(self) -> None:
        with suppress(StoreError, *FOREIGN):
            other, _ = await self._again()
            try:
                await other.execute(f"KILL CONNECTION {self.number:d}")
            finally:
                other.terminate()

    def terminate(self) -> None:
        """Closes at once."""
        self._wire.close()

    async def _query(self, text: str, timeout: float | None) -> Rows:
        wire = self._wire
        if not wire.server_status & SERVER_STATUS_NO_BACKSLASH_ESCAPES:
            # Whatever took the mode away, texts would no longer end where they seem to.
            wire.close()
            raise errors.InterfaceError(0, "The session lost its settings.")
        self._runs = True
        try:
            rows = await self._answer(text, self._seconds if timeout is None else timeout)
        except FOREIGN as exc:
            self._runs = isinstance(exc, TimeoutError)
            raise
        self._runs = False
        return rows

    async def _answer(self, text: str, timeout: float) -> Rows:
        wire = self._wire
        async with asyncio.timeout(timeout):
            await wire.query(text)
            result = wire._result  # noqa: SLF001 - its cursor reads the same, with much around it
            if not result.has_next:
                return Rows(result.description, result.rows or ())
            rows = Rows(result.description, result.rows or ())
            while result.has_next:
                await wire.next_result()
                result = wire._result  # noqa: SLF001 - as above
                if result.rows is not None:
                    rows.columns = result.description
                    rows.extend(result.rows)
        return rows


async def connect(
    options: MySqlOptions, tls: ssl.SSLContext | None, *, database: bool = True
) -> tuple[Connection, bool]:
    """An open connection, and whether the server is MariaDB; raises Unavailable and its kinds."""
    try:
        async with asyncio.timeout(options.connect_timeout):
            return await _connect(options, tls, database=database)
    except TimeoutError as exc:
        raise ConnectTimeout from exc
    except SIGN_IN_ERRORS as exc:
        if options.sslmode == "prefer" and tls is not None and lacks_tls(exc):
            return await connect(options, None, database=database)
        raise connect_error(exc) from exc


def tls_for(options: MySqlOptions) -> ssl.SSLContext | None:
    """How TLS is spoken; raises InvalidDatabaseUrl when `sslrootcert` cannot be read."""
    if options.sslmode == "disable" or options.unix_socket is not None:
        return None
    if options.sslmode in ("prefer", "require") and options.sslrootcert is None:
        # Nobody's certificate is asked, and to read those of all authorities takes a while.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        context = ssl.create_default_context(cafile=options.sslrootcert)
    except (OSError, ValueError) as exc:
        raise InvalidDatabaseUrl("sslrootcert: there is no such file, or it holds no certificate.") from exc
    context.check_hostname = options.sslmode == "verify-full"
    return context


class _RefuseClearText:
    """Stands for a way to sign in that would send the password as it is over a line that anybody may read."""

    def __init__(self, _connection: Any) -> None:
        return

    def authenticate(self, _packet: Any) -> Any:
        """Refuses; asyncmy does not await it."""
        raise errors.OperationalError(2059, "the server asks for the password in clear text")


async def _connect(options: MySqlOptions, tls: ssl.SSLContext | None, *, database: bool) -> tuple[Connection, bool]:
    wire: Any = await asyncmy.connect(
        host=options.host,
        port=options.port,
        unix_socket=options.unix_socket,
        user=options.user,
        # As bytes, because asyncmy encodes text in Latin-1.
        password=(options.password or "").encode(),
        database=options.database if database else None,
        charset="utf8mb4",
        autocommit=True,
        ssl=tls,
        conv=_READERS,
        connect_timeout=max(1, round(options.connect_timeout)),
        program_name=options.application_name,
        auth_plugin_map=None if tls is not None else dict.fromkeys(CLEAR_TEXT, _RefuseClearText),
    )
    try:
        is_mariadb = check_version(wire.get_server_info())
        await wire.query(_settings(options, is_mariadb=is_mariadb))
        while wire._result.has_next:  # noqa: SLF001 - as in Connection
            await wire.next_result()
    except BaseException:
        wire.close()
        raise

    def again() -> Awaitable[tuple[Connection, bool]]:
        return connect(options, tls)

    return Connection(wire, options.statement_timeout + CLIENT_SECONDS, again), is_mariadb


def check_version(said: str) -> bool:
    """Whether the server is MariaDB, which calls itself 5.5.5-10.11.6-MariaDB for the sake of old clients."""
    is_mariadb = "mariadb" in said.lower()
    text = said.removeprefix("5.5.5-").partition("-")[0]
    numbers = tuple(int(part) for part in text.split(".")[:3] if part.isdigit())
    if numbers < OLDEST[is_mariadb]:
        name = "MariaDB 10.6" if is_mariadb else "MySQL 8.0.19"
        raise Unavailable(f"The database server is older than {name}, which is needed.")
    return is_mariadb


def _settings(options: MySqlOptions, *, is_mariadb: bool) -> str:
    seconds = max(1, round(options.statement_timeout))
    settings = {
        "sql_mode": f"'{SQL_MODE}'",
        "time_zone": "'+00:00'",
        "lock_wait_timeout": str(seconds),
        "innodb_lock_wait_timeout": str(seconds),
    }
    if is_mariadb:
        settings |= {
            "max_statement_time": str(options.statement_timeout),
            "idle_transaction_timeout": str(FROZEN_SECONDS),
        }
    else:
        # It ends connections that do nothing, also those of the pool, which then makes new ones.
        milliseconds = max(1, round(options.statement_timeout * 1000))
        settings |= {"max_execution_time": str(milliseconds), "wait_timeout": str(2 * FROZEN_SECONDS)}
    listed = ", ".join(f"SESSION {name} = {value}" for name, value in settings.items())
    return (
        f"SET NAMES utf8mb4 COLLATE {BINARY_COLLATION[is_mariadb]};"
        # A statement that waited for a change of its table must see the generation after it.
        f" SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET {listed}"
    )
