"""One SQLite connection, set up as every part of the store expects it."""

import random
import time
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

import apsw

from app_kernel.core.errors import Unavailable
from app_kernel.db.dialects.sqlite import CONVERT_FUNCTION, NUMERIC_COLLATION, SqliteDialect, convert
from app_kernel.db.drivers.base import FORMAT
from app_kernel.db.kinds import Kind

GENERATION = "SELECT value FROM kernel_meta WHERE key = 'generation'"
BUMP_GENERATION = "UPDATE kernel_meta SET value = value + 1 WHERE key = 'generation' RETURNING value"
FORGET_DROPPED = (
    "UPDATE kernel_catalog SET adopted = 1 WHERE adopted = 0"
    " AND entity NOT IN (SELECT name FROM sqlite_master WHERE type = 'table')"
)
"""A table that the application makes in place of a dropped one is its own; the kinds stay, for the history's sake."""
STATEMENT_CACHE = 512
PROGRESS_STEPS = 2000
"""Steps of SQLite's machine between two looks at what a statement has used up: about 0.2 ms."""
CACHE_KIB = 16000

_CATALOG = (
    "CREATE TABLE IF NOT EXISTS kernel_meta (key TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS kernel_catalog (entity TEXT NOT NULL, field TEXT NOT NULL, kind TEXT NOT NULL,"
    " adopted INTEGER NOT NULL, PRIMARY KEY (entity, field)) WITHOUT ROWID",
)
_FIRST_META = "INSERT INTO kernel_meta (key, value) VALUES ('format', ?), ('generation', 1) ON CONFLICT DO NOTHING"


def connect(path: str, *, read_only: bool, synchronous: str, busy_seconds: float) -> apsw.Connection:
    """Opens the file; raises apsw.Error when it cannot be opened or is no database."""
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(path, flags=flags, statementcachesize=STATEMENT_CACHE)
    connection.set_busy_handler(_wait_for_lock(busy_seconds) if busy_seconds else None)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
    if not read_only:
        _use_write_ahead_log(connection, busy_seconds)
    for pragma in (
        f"synchronous = {synchronous}",
        f"cache_size = -{CACHE_KIB}",
        "foreign_keys = ON",
        "temp_store = MEMORY",
        "case_sensitive_like = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")
    connection.create_collation(NUMERIC_COLLATION, _compare_numbers)
    if not read_only:
        connection.create_scalar_function(CONVERT_FUNCTION, _convert, 3, deterministic=True)
    return connection


def _use_write_ahead_log(connection: apsw.Connection, busy_seconds: float) -> None:
    """Turns the file to WAL; where several connections do that to a new file at once, SQLite does not wait."""
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except apsw.BusyError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.002)
        else:
            return


def read_generation(connection: apsw.Connection) -> int:
    """The schema's generation, as the connection sees it now."""
    generation: Any = connection.execute(GENERATION).fetchall()[0][0]
    return int(generation)


def bump_generation(connection: apsw.Connection) -> int:
    """Moves the schema's generation on; every process compiles its statements anew."""
    generation: Any = connection.execute(BUMP_GENERATION).fetchall()[0][0]
    return int(generation)


def create_catalog(connection: apsw.Connection) -> None:
    """Makes the catalog where it is missing; several processes may do so at once.

    Raises Unavailable for a database that a newer version of app_kernel made.
    """
    found = connection.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('kernel_meta', 'kernel_relay')")
    if found.fetchall() != [(2,)]:
        connection.execute("BEGIN IMMEDIATE")
        for statement in (*_CATALOG, *_dialect.create_outbox()):
            connection.execute(statement)
        connection.execute(_FIRST_META, (FORMAT,))
        connection.execute("COMMIT")
    laid_out: Any = connection.execute("SELECT value FROM kernel_meta WHERE key = 'format'").fetchall()[0][0]
    if laid_out > FORMAT:
        raise Unavailable("This database was made by a newer version of app_kernel; use that version to open it.")


def _wait_for_lock(seconds: float) -> Callable[[int], bool]:
    """A busy handler whose short random waits give every process its turn, up to `seconds`."""
    deadline = 0.0

    def wait(tries: int) -> bool:
        nonlocal deadline
        if tries == 0:
            deadline = time.monotonic() + seconds
        if time.monotonic() >= deadline:
            return False
        time.sleep(random.uniform(0.0005, min(0.001 * (tries + 1), 0.01)))  # noqa: S311 - spreads waits, hides nothing
        return True

    return wait


def _compare_numbers(left: str, right: str) -> int:
    """Numbers by value, before any text that is none, which compares as text: a total order, as SQLite needs it."""
    a, b = _number(left), _number(right)
    if a is None or b is None:
        return (a is None) - (b is None) or (left > right) - (left < right)
    return (a > b) - (a < b)


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


_dialect = SqliteDialect()


def _convert(*args: Any) -> Any:
    old, new, stored = args
    return convert(_dialect, Kind(old), Kind(new), stored)


def deadline_handler(seconds: float) -> Callable[[], bool]:
    """A progress handler that ends the statement once `seconds` are over."""
    return partial(_is_over, time.monotonic() + seconds)


def _is_over(deadline: float) -> bool:
    return time.monotonic() > deadline
