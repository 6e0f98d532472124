"""PostgreSQL's errors as ours; messages name fields and constraints, never values, and never where the server is."""

import re
import ssl

import asyncpg  # type: ignore[import-untyped]  # it brings no types

from app_kernel.core.errors import (
    ConnectionLost,
    ConnectTimeout,
    DatabaseBusy,
    InvalidQuery,
    QueryTimeout,
    SchemaLimit,
    StorageFull,
    StorageReadOnly,
    StoreError,
    TransactionInOtherTask,
    TransactionTimeout,
    Unavailable,
    UnsupportedValue,
)
from app_kernel.db.drivers.constraint_errors import (
    check_violation,
    foreign_key_violation,
    missing_value,
    unique_violation,
)
from app_kernel.db.errors import MissingColumn, MissingTable, SchemaFact

FOREIGN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""Whatever asyncpg raises; TimeoutError is an OSError."""
CONFLICTS = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: the same again, from the start, may well succeed."""

_STALE = frozenset({"26000", "42804", "42883"})
"""What a server says of a prepared statement that it has lost, or whose columns have got another type since."""
_KEY = re.compile(r"\((.+?)\)=\(")
_PARAMETER = re.compile(r"argument (\$\d+)")
_TYPES: dict[str, tuple[type[StoreError], str | None]] = {
    "22003": (InvalidQuery, "A number does not fit the type of its column or of the result."),
    "22012": (InvalidQuery, "The statement divides by zero."),
    "22021": (UnsupportedValue, "PostgreSQL cannot store this text: it has a NUL or is no Unicode."),
    "22P05": (UnsupportedValue, "PostgreSQL cannot store this text: it has a NUL or is no Unicode."),
    "22001": (UnsupportedValue, "A text is longer than its column allows."),
    "25006": (StorageReadOnly, "The database cannot be written: the server or the transaction is read-only."),
    "25P03": (TransactionTimeout, None),
    "25P04": (TransactionTimeout, None),
    "28000": (Unavailable, "The database server refused the user."),
    "28P01": (Unavailable, "The database server refused the user or the password."),
    "3D000": (Unavailable, "The database server has no database of this name."),
    "40001": (DatabaseBusy, "Another transaction changed the same rows at the same time; try again."),
    "40P01": (DatabaseBusy, "Two transactions waited for each other, and this one was taken back; try again."),
    "42501": (Unavailable, "The database user may not do this."),
    "53100": (StorageFull, None),
    "53300": (Unavailable, "The database server has no connection left."),
    "54000": (UnsupportedValue, "A value is too large for PostgreSQL or for an index on its field."),
    "54011": (SchemaLimit, "PostgreSQL allows no further column in this table."),
    "55P03": (DatabaseBusy, "Another transaction held a lock on the table for too long; try again."),
    "57014": (QueryTimeout, None),
    "57P01": (ConnectionLost, None),
    "57P02": (ConnectionLost, None),
    "57P03": (Unavailable, "The database server is starting up or shutting down."),
    "57P05": (ConnectionLost, None),
}
_CLASSES: dict[str, tuple[type[StoreError], str | None]] = {
    "08": (ConnectionLost, None),
    "22": (InvalidQuery, "A value does not fit the type that is needed where it stands."),
    "53": (Unavailable, "The database server is out of resources."),
    "57": (Unavailable, "The database server is not available."),
    "58": (Unavailable, "The database server has trouble with its disk."),
    "XX": (Unavailable, "The database server has an internal problem."),
}


def to_ours(exc: BaseException) -> StoreError | SchemaFact:
    """The kernel's error for one of FOREIGN."""
    if isinstance(exc, TimeoutError):
        return QueryTimeout()
    if _is_from_codec(exc):
        found = _PARAMETER.search(str(exc))
        which = f"The parameter {found[1]}" if found else "A parameter"
        return InvalidQuery(f"{which} does not fit the type that is needed where it stands.")
    if isinstance(exc, asyncpg.PostgresError):
        return _from_server(exc)
    if isinstance(exc, asyncpg.InterfaceError):
        text = str(exc)
        if "server expects" in text:
            return InvalidQuery("The number of params is not the number of ? in the statement.")
        if "another operation" in text:
            return TransactionInOtherTask("Two tasks use one transaction at the same time.")
    return ConnectionLost()


def connect_error(exc: BaseException) -> StoreError:
    """The kernel's error for what went wrong while connecting."""
    if isinstance(exc, TimeoutError):
        return ConnectTimeout()
    if isinstance(exc, ssl.SSLError | asyncpg.ClientConfigurationError):
        return Unavailable(
            "The database server and this process did not agree on TLS, or its certificate is not valid."
        )
    if isinstance(exc, asyncpg.ProtocolViolationError):
        return Unavailable(
            "The database server takes no settings with a connection; if it is pgbouncer, add pgbouncer=true."
        )
    if isinstance(exc, asyncpg.PostgresError):
        ours = to_ours(exc)
        if isinstance(ours, StoreError) and not isinstance(ours, ConnectionLost):
            return ours
    if isinstance(exc, ConnectionError) and "SSL" in str(exc):
        return Unavailable("The database server does not offer TLS, which sslmode asks for.")
    return Unavailable("The database server cannot be reached.")


def is_lost(exc: BaseException) -> bool:
    """Whether the connection is gone, rather than that the server refused something."""
    if isinstance(exc, TimeoutError):
        return False
    if isinstance(exc, asyncpg.PostgresError):
        return exc.severity in ("FATAL", "PANIC") or str(exc.sqlstate).startswith(("08", "57P"))
    return not isinstance(exc, asyncpg.InterfaceError) or "closed" in str(exc)


def is_reusable(exc: BaseException) -> bool:
    """Whether the connection on which this happened is in a known state."""
    return isinstance(exc, asyncpg.PostgresError | asyncpg.InterfaceError) and not is_lost(exc)


def may_be_stale(exc: BaseException) -> bool:
    """Whether a statement that was prepared before a column changed its type would fail like this."""
    if isinstance(exc, asyncpg.InvalidCachedStatementError | asyncpg.OutdatedSchemaCacheError):
        return True
    return _is_from_codec(exc) or getattr(exc, "sqlstate", None) in _STALE


def _is_from_codec(exc: BaseException) -> bool:
    """Whether asyncpg itself refused a parameter: then the error has no severity, which every server tells."""
    return type(exc) is asyncpg.DataError and getattr(exc, "severity", None) is None


def _from_server(exc: asyncpg.PostgresError) -> StoreError | SchemaFact:
    code: str = exc.sqlstate or "XX000"
    if code.startswith("23"):
        return _constraint(exc, code)
    if code == "42P01":
        return MissingTable(_message(exc))
    if code == "42703":
        return MissingColumn(_message(exc))
    if code == "42601" and exc.server_source_function == "exec_parse_message":
        return InvalidQuery("execute() runs one statement at a time.")
    if code == "P0001":
        # What the application's own trigger says.
        return check_violation(_message(exc))
    kind, message = _TYPES.get(code) or _CLASSES.get(code[:2]) or (InvalidQuery, None)
    if kind is InvalidQuery and message is None:
        message = f"PostgreSQL refused the statement: {_message(exc)}."
    return kind(message)


def _constraint(exc: asyncpg.PostgresError, code: str) -> StoreError:
    if code == "23505":
        return unique_violation(_fields(exc))
    if code == "23502":
        return missing_value(exc.column_name)
    if code in ("23503", "23001"):
        return foreign_key_violation()
    return check_violation(exc.constraint_name or "unnamed")


def _fields(exc: asyncpg.PostgresError) -> str | None:
    """From "Key (email, "Case")=(a, b) already exists." to "email, Case"; the detail is there in any language."""
    found = _KEY.search(exc.detail or "")
    if found is None:
        return None
    return ", ".join(part.strip().strip('"') for part in found[1].split(","))


def _message(exc: asyncpg.PostgresError) -> str:
    return str(exc.args[0])
