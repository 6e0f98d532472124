"""The errors of MySQL and MariaDB as ours; messages name fields and constraints, never values or where the server is.

The server's own texts quote values and parts of the statement, so that only those are passed on which cannot.
"""

import asyncio
import re
import ssl
from collections.abc import Callable

from asyncmy import errors

from app_kernel.core.errors import (
    ConnectionLost,
    ConnectTimeout,
    InvalidQuery,
    QueryTimeout,
    SchemaLimit,
    StorageFull,
    StoreError,
    Unavailable,
    UnsupportedValue,
)
from app_kernel.db.drivers.constraint_errors import (
    check_violation,
    foreign_key_violation,
    missing_value,
    unique_violation,
)
from app_kernel.db.drivers.mysql_error_numbers import (
    DUPLICATES,
    ENDS_TRANSACTION,
    FITS_NOT,
    FOREIGN_KEYS,
    KINDS,
    LOCK_TIMEOUTS,
    LOST,
    LOST_UNSENT,
    TELLABLE,
)
from app_kernel.db.errors import MissingColumn, MissingTable, SchemaFact

FOREIGN = (errors.MySQLError, OSError, asyncio.IncompleteReadError)
"""Whatever asyncmy raises while a connection is used; TimeoutError is an OSError."""
SIGN_IN_ERRORS = (*FOREIGN, RuntimeError)
"""Whatever asyncmy raises while connecting: RuntimeError where a package for a way to sign in is missing."""
CONFLICTS = frozenset({1020, 1213, 1412})
"""A row changed since it was read (MariaDB), a deadlock, a table that changed its shape since the transaction began:
the same again, from the start, may well succeed."""

_NO_SERVER = 2003
"""What asyncmy makes of every OSError while connecting, which is its cause."""
_SIGN_IN_METHODS = frozenset({2059, 2061})
_KEY = "for key '"
_QUOTED = re.compile(r"['`]([^'`]*)['`]")
_AT_LINE = re.compile(r" at line (\d+)$")
_TOO_LONG = 1406
_IDLE = 4031
"""MySQL: the server closed a connection that was idle for long; MariaDB has another error of this number."""
_DISK_FULL = re.compile(r"\b(?:error|errno|errcode):? 28\b", re.IGNORECASE)


def number_of(exc: BaseException) -> int:
    """The number that the server, or asyncmy in its place, gave an error; 0 for one without."""
    number = exc.args[0] if isinstance(exc, errors.MySQLError) and exc.args else 0
    return number if isinstance(number, int) else 0


def to_ours(exc: BaseException) -> StoreError | SchemaFact:
    """The kernel's error for one of FOREIGN."""
    if isinstance(exc, TimeoutError):
        return QueryTimeout()
    number = number_of(exc)
    message = _message(exc)
    if str(getattr(exc, "sqlstate", None)).startswith("45"):
        # What the application's own trigger says, under any number.
        return check_violation(message)
    if number in _READERS:
        return _READERS[number](message)
    if number in KINDS:
        return _kind(number)
    if is_lost(exc):
        return ConnectionLost()
    reason = message if number in TELLABLE else f"error {number}"
    return InvalidQuery(f"MySQL refused the statement: {reason}.")


def connect_error(exc: BaseException) -> StoreError:
    """The kernel's error for what went wrong while connecting, which is one of SIGN_IN_ERRORS."""
    cause = exc.__cause__ if number_of(exc) == _NO_SERVER else exc
    if isinstance(cause, TimeoutError):
        return ConnectTimeout()
    if isinstance(cause, ssl.SSLError):
        return Unavailable(
            "The database server and this process did not agree on TLS, or its certificate is not valid."
        )
    if isinstance(exc, RuntimeError) or number_of(exc) in _SIGN_IN_METHODS:
        return Unavailable("The database user signs in by a method that this process has not.")
    if isinstance(exc, errors.MySQLError) and not is_lost(exc):
        ours = to_ours(exc)
        return ours if isinstance(ours, Unavailable) else Unavailable("The database server refused the connection.")
    return Unavailable("The database server cannot be reached.")


def lacks_tls(exc: BaseException) -> bool:
    """Whether connecting failed since the server does not speak TLS, so that `sslmode=prefer` is to do without."""
    cause = exc.__cause__
    return isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLCertVerificationError)


def is_lost(exc: BaseException) -> bool:
    """Whether the connection is gone, rather than that the server refused something."""
    if isinstance(exc, TimeoutError):
        return False
    number = number_of(exc)
    if number == _IDLE:
        return "disconnected" in _message(exc)
    # Without a number it is asyncmy that refuses, and it does so on a connection that is closed or out of step.
    return number == 0 or number in LOST or 2000 <= number < 3000


def is_reusable(exc: BaseException) -> bool:
    """Whether the connection on which this happened is in a known state."""
    return isinstance(exc, errors.MySQLError) and not is_lost(exc)


def was_never_sent(exc: BaseException) -> bool:
    """Whether the server has not heard of the statement, as where asyncmy refused by itself."""
    # The server that closed an idle connection had not read from it any more.
    idle = number_of(exc) == _IDLE and is_lost(exc)
    return isinstance(exc, errors.InterfaceError) or number_of(exc) == LOST_UNSENT or idle


def is_conflict(exc: BaseException) -> bool:
    """Whether the same again, from the start, may well succeed."""
    return number_of(exc) in CONFLICTS


def is_lock_timeout(exc: BaseException) -> bool:
    """Whether somebody else held a lock for too long."""
    return number_of(exc) in LOCK_TIMEOUTS


def may_be_stale(exc: BaseException) -> bool:
    """Never: nothing is prepared, so that no statement outlives a change of the schema."""
    del exc
    return False


def is_about_values(exc: BaseException) -> bool:
    """Whether a value does not fit where it stands."""
    return number_of(exc) in FITS_NOT


def ended_transaction(exc: BaseException) -> bool:
    """Whether the server has rolled back the whole transaction with this error."""
    return number_of(exc) in ENDS_TRANSACTION


def key_of(exc: BaseException) -> str | None:
    """The name of the index that a duplicate violates, `PRIMARY` for the primary key; None where it is not said."""
    head, found, rest = _message(exc).rpartition(_KEY)
    if not found or not head:
        return None
    # MySQL 8 says the table too: for key 'widgets.PRIMARY'.
    name = rest.rstrip("'")
    return name.partition(".")[2] or name


def long_field(exc: BaseException) -> str | None:
    """The field for which a text or bytes are too long; None where it is another error."""
    return _first_name(_message(exc)) if number_of(exc) == _TOO_LONG else None


def _message(exc: BaseException) -> str:
    return str(exc.args[1]) if len(exc.args) > 1 else str(exc)


def _kind(number: int) -> StoreError:
    kind, text = KINDS[number]
    return kind(text)


def _unique(message: str) -> StoreError:
    # An entity's primary key is its id.
    return unique_violation("id" if key_of(errors.IntegrityError(0, message)) == "PRIMARY" else None)


def _missing_value(message: str) -> StoreError:
    return missing_value(_first_name(message))


def _check(message: str) -> StoreError:
    """CONSTRAINT `name` failed for `database`.`table`; one that belongs to a column is called `table.column`."""
    name = _first_name(message) or "unnamed"
    return check_violation(name, field=name.partition(".")[2] or None)


def _missing_table(message: str) -> SchemaFact:
    name = (_first_name(message) or "").rpartition(".")[2]
    return MissingTable(f"There is no table {name}")


def _missing_column(message: str) -> SchemaFact:
    name = (_first_name(message) or "").rpartition(".")[2]
    return MissingColumn(f"There is no column {name}")


def _syntax(message: str) -> StoreError:
    line = _AT_LINE.search(message)
    where = f" in line {line[1]}" if line else ""
    return InvalidQuery(f"MySQL refused the statement: there is an error in its syntax{where}.")


def _storage(message: str) -> StoreError:
    if _DISK_FULL.search(message):
        return StorageFull()
    return Unavailable("The database server has trouble with its disk.")


def _table_shape(message: str) -> StoreError:
    """Can't create table `database`.`table` (errno: 185 "Too many columns")."""
    if "Too many columns" in message:
        return _kind(1117)
    return _storage(message) if _DISK_FULL.search(message) else InvalidQuery("MySQL cannot make this table.")


def _row_size(message: str) -> StoreError:
    if "65535" in message:
        return SchemaLimit("The fields of this table are too long together: MySQL allows 65535 bytes in a row.")
    return UnsupportedValue("The row is too large for MySQL: all its short values together take more than it allows.")


def _option(message: str) -> StoreError:
    """The server is running with the --read-only option so it cannot execute this statement, or another option."""
    if "read-only" in message or "read_only" in message:
        return _kind(1792)
    return Unavailable("An option of the database server does not allow this statement.")


def _value_for_field(message: str) -> StoreError:
    if message.startswith("Incorrect string value"):
        return _kind(1300)
    return _kind(1265)


def _first_name(message: str) -> str | None:
    """What stands first in quotes: of `database`.`table` the database."""
    found = _QUOTED.search(message)
    return found[1] if found else None


_READERS: dict[int, Callable[[str], StoreError | SchemaFact]] = {
    3: _storage,
    1005: _table_shape,
    1030: _storage,
    1048: _missing_value,
    1051: _missing_table,
    1054: _missing_column,
    1064: _syntax,
    1118: _row_size,
    1146: _missing_table,
    1149: _syntax,
    1263: _missing_value,
    1290: _option,
    1364: _missing_value,
    1366: _value_for_field,
    1644: check_violation,
    3819: _check,
    4025: _check,
    **dict.fromkeys(DUPLICATES, _unique),
    **dict.fromkeys(FOREIGN_KEYS, lambda _: foreign_key_violation()),
}
