"""Adding to a number that is stored: read and written in one unit of work, exact or refused."""

import math
from collections.abc import Mapping
from decimal import Context, Decimal, Inexact
from typing import Any

from app_kernel.core.errors import ReservedField, UnsupportedValue
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.drivers.base import Row, Work
from app_kernel.db.kinds import INT64_MAX, INT64_MIN, MAX_DIGITS, Kind, as_kind, kind_of, merged
from app_kernel.db.names import check_field_name
from app_kernel.db.origin import Origin
from app_kernel.db.table import OWNED_FIELDS, Column, EntityTable
from app_kernel.db.units import Change, Plan, change_row, find_to_write

_NUMBERS = frozenset({Kind.INT, Kind.BIGINT, Kind.FLOAT, Kind.DECIMAL})
_EXACT = Context(prec=2 * MAX_DIGITS + 10, Emax=3 * MAX_DIGITS, Emin=-3 * MAX_DIGITS, traps=[Inexact])


def check_step(field: Any, by: Any) -> None:
    """Refuses what cannot be added to a field; raises InvalidName, ReservedField and UnsupportedValue."""
    if type(field) is str and (field == "id" or field in OWNED_FIELDS):
        raise ReservedField(f"[{field}] belongs to the kernel; increment a field of your own.")
    check_field_name(field)
    if type(by) not in (int, float, Decimal):
        raise UnsupportedValue(f"by is an int, a float or a Decimal, not {type(by).__name__}.")
    if kind_of("by", by) is Kind.BIGINT:
        raise UnsupportedValue("by does not fit 64 bits.")


def check_adds(column: Column | None, field: str, by: Any) -> None:
    """Refuses to add to a field of another kind; raises UnsupportedValue."""
    kind, step = column.kind if column is not None else Kind.UNKNOWN, kind_of("by", by)
    if kind is not Kind.UNKNOWN and not {kind, merged(kind, step, by)} <= _NUMBERS:
        raise UnsupportedValue(f"[{field}] holds {kind}, to which {type(by).__name__} {by} cannot be added.")


def increment_unit(
    dialect: Dialect, table: EntityTable, key: Any, field: str, by: Any, origin: Origin
) -> Work[Row | None]:
    """Adds to a field of a live row; the row as it is now, None when there is none."""
    existing = yield from find_to_write(dialect, table, key)
    if existing is None or existing[table.position("deleted_at")] is not None:
        return None
    column = table.columns[field]
    check_adds(column, field, by)
    stored = existing[table.position(field)]
    old = 0 if stored is None else dialect.read(column.kind, stored)
    if type(old) not in (int, float, Decimal):
        raise UnsupportedValue(f"[{field}] holds text here, which is no number.")
    new = as_kind(column.kind, _sum(field, column.kind, old, by))
    if stored is not None and new == old:
        return existing
    values: Mapping[str, Any] = {field: dialect.encode(column.kind, new)}
    plan = Plan(existing[table.position("id")], values, {field: new}, origin, None, deletes=False)
    return (yield from change_row(dialect, table, existing, values, Change.UPDATE, origin, plan))


def _sum(field: str, kind: Kind, old: Any, by: Any) -> Any:
    if kind is Kind.FLOAT:
        total = float(old) + float(by)
        if not math.isfinite(total):
            raise UnsupportedValue(f"[{field}]: the sum is beyond what a float can hold.")
        return total
    if kind is Kind.DECIMAL:
        exact = _EXACT.add(Decimal(old), Decimal(by))
        kind_of(field, exact)
        return exact
    total = old + by
    if kind is Kind.INT and not INT64_MIN <= total <= INT64_MAX:
        raise UnsupportedValue(f"[{field}]: the sum does not fit 64 bits.")
    kind_of(field, total)
    return total
