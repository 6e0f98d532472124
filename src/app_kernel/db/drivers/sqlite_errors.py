"""SQLite's errors as ours."""

import re

import apsw

from app_kernel.core.errors import (
    ConstraintViolation,
    DatabaseBusy,
    InvalidQuery,
    QueryTimeout,
    StorageFull,
    StorageReadOnly,
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
from app_kernel.db.errors import MissingColumn, MissingTable, SchemaFact

_FAILED = re.compile(r"constraint failed: (.+)$")


def to_ours(exc: apsw.Error) -> StoreError | SchemaFact:
    """The kernel's error for SQLite's, by its result code; messages name fields, never values."""
    text = str(exc)
    if isinstance(exc, apsw.ConstraintError):
        return _constraint(exc, text)
    if isinstance(exc, apsw.SQLError):
        return _sql(text)
    for foreign, ours in _BY_TYPE:
        if isinstance(exc, foreign):
            return ours()
    return Unavailable(f"The database failed: {text}")


def as_ours(exc: BaseException) -> BaseException:
    """The kernel's error for SQLite's, with its cause; any other as it is."""
    if isinstance(exc, apsw.Error):
        ours = to_ours(exc)
        ours.__cause__ = exc
        return ours
    return exc


_BY_TYPE: tuple[tuple[type[apsw.Error], type[StoreError]], ...] = (
    (apsw.BusyError, DatabaseBusy),
    (apsw.LockedError, DatabaseBusy),
    (apsw.FullError, StorageFull),
    (apsw.ReadOnlyError, StorageReadOnly),
    (apsw.InterruptError, QueryTimeout),
    (apsw.TooBigError, UnsupportedValue),
    (apsw.MismatchError, ConstraintViolation),
)


def _sql(text: str) -> StoreError | SchemaFact:
    if "no such table" in text:
        return MissingTable(text)
    if "no such column" in text or "has no column named" in text:
        return MissingColumn(text)
    if "integer overflow" in text:
        return InvalidQuery("The result of an integer operation does not fit 64 bits.")
    if "LIKE or GLOB pattern too complex" in text:
        return InvalidQuery("The LIKE pattern is too long.")
    return InvalidQuery(f"SQLite refused the statement: {text}")


def _constraint(exc: apsw.ConstraintError, text: str) -> ConstraintViolation:
    field = _fields(text)
    code: int = exc.extendedresult  # type: ignore[attr-defined]  # the stubs do not know it
    if code in (apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY, apsw.SQLITE_CONSTRAINT_ROWID):
        return unique_violation(field)
    if code == apsw.SQLITE_CONSTRAINT_NOTNULL:
        return missing_value(field)
    if code == apsw.SQLITE_CONSTRAINT_FOREIGNKEY:
        return foreign_key_violation()
    if code == apsw.SQLITE_CONSTRAINT_DATATYPE:
        column = text.rpartition(".")[2]
        return ConstraintViolation(f"[{column}] cannot hold this type of value.", field=column)
    # Of a CHECK, SQLite tells the name or the expression; of RAISE in a trigger, what the application says there.
    return check_violation(field or text)


def _fields(text: str) -> str | None:
    """From "UNIQUE constraint failed: widgets.name, widgets.color" to "name, color"."""
    found = _FAILED.search(text)
    if found is None:
        return None
    return ", ".join(part.strip().rpartition(".")[2] for part in found.group(1).split(","))
