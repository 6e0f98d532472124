"""What runs on the writing connection: units of the store's own, and single statements of the caller's."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import apsw

from app_kernel.core.errors import InvalidQuery
from app_kernel.db.drivers.base import Row, Unit
from app_kernel.db.drivers.sqlite_connection import FORGET_DROPPED, bump_generation

T = TypeVar("T")


def run_unit(connection: apsw.Connection, unit: Unit[T]) -> T:
    """Sends a unit the rows of each statement that it yields, until it returns."""
    work = unit()
    execute = connection.execute
    try:
        statement = next(work)
        while True:
            rows: list[Row] = execute(*statement).fetchall()
            statement = work.send(rows)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        work.close()


def run_statement(connection: apsw.Connection, sql: str, params: Iterable[Any]) -> tuple[tuple[str, ...], list[Row]]:
    """Runs exactly one statement of the caller's; gives the names of its columns and its rows."""
    names: tuple[str, ...] = ()
    statements = 0

    def trace(cursor: apsw.Cursor, text: str, bindings: Any) -> bool:
        nonlocal statements
        statements += 1
        if statements > 1:
            raise InvalidQuery("execute() runs one statement at a time.")
        return True

    cursor = connection.cursor()
    cursor.exec_trace = trace
    connection.authorizer = _authorize
    try:
        cursor.execute(sql, tuple(params))
        # Asked for once it stands at a row: before that a statement which is kept knows the columns of when it was
        # made, and SQLite makes it anew when one was added. Without a row there are no names to be known.
        with suppress(apsw.ExecutionCompleteError):
            names = tuple(column[0] for column in cursor.get_description())
        rows = cursor.fetchall()
    except apsw.BindingsError as exc:
        raise InvalidQuery("The number of params is not the number of ? in the statement.") from exc
    except apsw.AuthError as exc:
        raise InvalidQuery(
            "execute() may not open transactions, attach databases, make temporary tables or change PRAGMAs:"
            " the connection it runs on is everybody's."
        ) from exc
    finally:
        connection.authorizer = None
    return names, rows


_LASTING = frozenset(
    {
        apsw.SQLITE_ATTACH,
        apsw.SQLITE_DETACH,
        apsw.SQLITE_TRANSACTION,
        apsw.SQLITE_SAVEPOINT,
        apsw.SQLITE_CREATE_TEMP_INDEX,
        apsw.SQLITE_CREATE_TEMP_TABLE,
        apsw.SQLITE_CREATE_TEMP_TRIGGER,
        apsw.SQLITE_CREATE_TEMP_VIEW,
    }
)
_READING_PRAGMAS = frozenset(
    {
        "foreign_key_check", "foreign_key_list", "index_info", "index_list", "index_xinfo", "integrity_check",
        "quick_check", "table_info", "table_list", "table_xinfo",
    }
)  # fmt: skip


def _authorize(operation: int, first: str | None, second: str | None, _: str | None, __: str | None) -> int:
    """Denies what would outlast the statement on a connection that every other unit uses too."""
    if operation in _LASTING or (operation == apsw.SQLITE_INSERT and first == "sqlite_temp_master"):
        return apsw.SQLITE_DENY
    if operation == apsw.SQLITE_PRAGMA and second is not None and (first or "").lower() not in _READING_PRAGMAS:
        return apsw.SQLITE_DENY
    return apsw.SQLITE_OK


def run_raw(connection: apsw.Connection, sql: str, params: Sequence[Any]) -> tuple[tuple[str, ...], list[Row]]:
    """Runs a statement of the caller's inside an open transaction; one that changes the schema moves it on."""
    before = connection.pragma("schema_version")
    answer = run_statement(connection, sql, params)
    if not connection.in_transaction:
        raise InvalidQuery("execute() cannot end the transaction that it runs in.")
    if connection.pragma("schema_version") != before:
        connection.execute(FORGET_DROPPED)
        bump_generation(connection)
    return answer
