"""Upserts by fields: which live row a save means, and who has to wait for whom meanwhile."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from app_kernel.core.errors import AmbiguousMatch, InvalidQuery
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.dialects.row_sets import select_first
from app_kernel.db.drivers.base import Row, Work
from app_kernel.db.names import check_field_name
from app_kernel.db.table import OWNED_FIELDS, WORKSPACE_FIELD, EntityTable
from app_kernel.db.units import Plan, find_to_save, save_unit
from app_kernel.db.where import compile_where, signature

LOCK_KEYS = 512
"""Upserts of one entity take one of so many locks each, so that a large batch of them does not fill a lock table."""

Match = Mapping[str, Any]
"""The fields that tell which row is meant, with their values."""


def check_match_by(match_by: Any) -> tuple[str, ...] | None:
    """The fields to match by; None when a save goes by id. Raises InvalidName and InvalidQuery."""
    if match_by is None:
        return None
    if not isinstance(match_by, list | tuple) or not match_by:
        raise InvalidQuery('match_by is a list of field names, such as ["email"].')
    for field in match_by:
        check_field_name(field)
        if field == "id" or field in OWNED_FIELDS:
            raise InvalidQuery(f"match_by: [{field}] belongs to the kernel; name fields of your own.")
    if len(set(match_by)) < len(match_by):
        raise InvalidQuery("match_by names a field twice.")
    return tuple(match_by)


def match_of(fields: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an entity that tells which row is meant; raises InvalidQuery when it tells nothing."""
    for field in fields:
        if given.get(field) is None:
            raise InvalidQuery(f"match_by: the entity has no value for [{field}], so nothing says which row is meant.")
        if isinstance(given[field], dict | list):
            raise InvalidQuery(f"match_by: [{field}] is a {type(given[field]).__name__}, by which nothing is found.")
    return {field: given[field] for field in fields}


def lock_keys(matches: Iterable[Match], workspace: str | None = None) -> list[int]:
    """The locks of these matches, in the order in which everybody takes them. Equal values have the same one.

    In a workspace they are those of who matches by the same fields in no workspace, with and without its own.
    """
    named = [tuple(match.values()) for match in matches]
    if workspace is not None:
        own = [tuple(value for field, value in match.items() if field != WORKSPACE_FIELD) for match in matches]
        named = [*own, *((*values, workspace) for values in own)]
    return sorted({zlib.crc32("\x1f".join(map(_spelled, values)).encode()) % LOCK_KEYS for values in named})


def _spelled(value: Any) -> str:
    if isinstance(value, int | float | Decimal):
        return str(hash(value))  # Equal numbers of all types have the same, in every process.
    if isinstance(value, datetime):
        value = value.astimezone(UTC)
    return value.hex() if isinstance(value, bytes) else str(value)


def upsert_unit(dialect: Dialect, table: EntityTable, plan: Plan, match: Match) -> Work[Row]:
    """Changes the one live row that matches, or creates it; returns it whole."""
    lock = dialect.lock_keys(table.name, lock_keys([match], table.workspace))
    if lock is not None:
        # A statement of its own, so that the next one sees what the holder before has committed.
        yield lock
    return (yield from save_match(dialect, table, plan, match))


def save_match(dialect: Dialect, table: EntityTable, plan: Plan, match: Match) -> Work[Row]:
    """As `upsert_unit`, with the lock taken already."""
    found = yield from _find(dialect, table, match)
    if found:
        id = found[0][table.position("id")]
        check_match(plan, match, [row[table.position("id")] for row in found])
        return (yield from save_unit(dialect, table, replace(plan, key=id)))
    if plan.key is not None:
        check_no_other(plan, match, table, (yield from find_to_save(dialect, table, plan.key)))
    return (yield from save_unit(dialect, table, plan))


def check_match(plan: Plan, match: Match, ids: Sequence[Any]) -> None:
    """Refuses several matches, and one that is not the id given."""
    if len(ids) > 1:
        raise AmbiguousMatch(f"match_by: several entities have this {_listed(match)}; give the id of one.")
    if plan.key not in (None, ids[0]):
        raise InvalidQuery(f"match_by: the entity with this {_listed(match)} has another id than the one given.")


def check_no_other(plan: Plan, match: Match, table: EntityTable, existing: Row | None) -> None:
    """Refuses the id of a live row that does not match."""
    if existing is not None and existing[table.position("deleted_at")] is None:
        raise InvalidQuery(f"match_by: the entity with the id given has another {_listed(match)}.")


def _find(dialect: Dialect, table: EntityTable, match: Match) -> Work[list[Row]]:
    values = list(match.values())
    shape = ("match", tuple(match), signature(values))
    compiled = table.statements.get(shape)
    if compiled is None:
        clause = compile_where(" AND ".join(f"[{field}] = ?" for field in match), values, table.columns, dialect)
        compiled = table.keep(shape, (select_first(dialect, table, clause.sql, len(clause.slots), 2), clause))
    sql, clause = compiled
    rows: list[Row] = yield (sql, table.bound(clause.bind(values)))
    return rows


def _listed(match: Match) -> str:
    return ", ".join(f"[{field}]" for field in match)
