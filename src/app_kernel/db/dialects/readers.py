"""How what a driver gives is read where several databases give the same; an application's own column may hold less."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from app_kernel.db import jsontext
from app_kernel.db.kinds import Kind, as_kind

if TYPE_CHECKING:
    from app_kernel.db.dialects.base import Dialect
    from app_kernel.db.table import Column


def read_int(value: Any) -> Any:
    """A whole number out of a column of Decimals."""
    return int(value) if type(value) is Decimal and value == value.to_integral_value() else value


def read_bool(value: Any) -> Any:
    """Whether, out of a number."""
    return bool(value) if value in (0, 1) else value


def read_datetime(value: Any) -> Any:
    """An instant, which is one in UTC where nothing else is said, or out of text."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def read_date(value: Any) -> Any:
    """A day, also out of text."""
    return value if isinstance(value, date) else date.fromisoformat(value)


def is_same_on_server(dialect: "Dialect", column: "Column", stored: Any, encoded: Any, given: Any) -> bool:
    """`Dialect.is_same` where a driver gives values of Python's own: instants, days, Decimals."""
    if stored is None or given is None:
        return stored is given
    if stored == encoded:
        return True
    if column.kind is Kind.JSON:
        value = dialect.read(Kind.JSON, stored)
        return not isinstance(value, str) and jsontext.dump_plain(value) == encoded
    return bool(dialect.read(column.kind, stored) == as_kind(column.kind, given))
