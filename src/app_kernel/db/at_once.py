"""A save as one statement, on databases where that is faster than a unit of work and says as much."""

from collections.abc import Iterable, Sequence
from typing import Any

from app_kernel.core import clock
from app_kernel.core.errors import UniqueViolation
from app_kernel.core.outbox import Message
from app_kernel.db.drivers.base import Row, Session
from app_kernel.db.errors import SchemaStale
from app_kernel.db.kinds import Kind, as_kind
from app_kernel.db.origin import message_values
from app_kernel.db.table import EntityTable
from app_kernel.db.units import Change, Plan

_OWNED = ("created_at", "updated_at", "created_by", "updated_by", "_version")


async def save_at_once(session: Session, table: EntityTable, plan: Plan) -> Row | None:
    """The saved row; None when nothing was done, because a unit of work is needed to say what is to be done.

    Raises SchemaStale when the schema moved on.
    """
    # A column of the application's own may alter a value, which only a unit of work notices.
    if not session.dialect.saves_at_once or plan.deletes or table.adopted or table.has_adopted_columns:
        return None
    if _is_large(session, plan.values.values()):
        return None
    hears = plan.origin.hears(table)
    if plan.key is not None:
        # What a change did is told from what the row was before, which only a unit of work reads.
        return None if hears else await _upsert(session, table, plan)
    if hears and await _has_triggers(session, table):
        return None
    return await _create(session, table, plan)


def _is_large(session: Session, values: Iterable[Any]) -> bool:
    most = session.dialect.most_at_once
    return most is not None and sum(len(value) for value in values if isinstance(value, (str, bytes))) > most


async def _has_triggers(session: Session, table: EntityTable) -> bool:
    """Whether the application may change a row on its way in, so that only the row itself tells what became of it."""
    known: bool | None = table.statements.get("triggers")
    if known is None:
        rows = await session.fetch(*session.dialect.find_triggers(table.name))
        known = table.keep("triggers", bool(rows))
    return known


async def _create(session: Session, table: EntityTable, plan: Plan) -> Row | None:
    if plan.expected_version not in (None, 0) or table.assigns_id or table.id_kind is not Kind.STR:
        return None
    now, id, origin = clock.timestamp(), clock.new_id(), plan.origin
    messages = _messages(table, plan, id, now) if origin.hears(table) else ()
    said = message_values(messages)
    if _is_large(session, said):
        return None
    names = ("id", *plan.values, *_OWNED)
    sql = _statement(session, table, ("create", names, len(messages)))
    if sql is None:
        return None
    owned = (now, now, origin.actor, origin.actor, 1)
    kept = (Change.CREATE.value, now, origin.actor, origin.comment, table.generation)
    origin.has_messages = bool(messages)
    rows = await session.run(sql, (id, *plan.values.values(), *owned, *kept, *said))
    if not rows:
        raise SchemaStale
    return rows[0]


async def _upsert(session: Session, table: EntityTable, plan: Plan) -> Row | None:
    expected = plan.expected_version
    if not plan.values or expected == 0:
        return None
    sql = _statement(session, table, ("upsert", tuple(plan.values), expected is not None))
    if sql is None:
        return None
    origin = plan.origin
    kept = (clock.timestamp(), origin.actor, origin.comment, table.generation)
    last = () if expected is None else (expected,)
    try:
        rows = await session.run(sql, (plan.key, *plan.values.values(), *kept, *last))
    except UniqueViolation:
        # Of another field, or of a row that was removed at this moment: the unit of work tells them apart.
        return None
    return rows[0] if rows else None


def _statement(session: Session, table: EntityTable, shape: tuple[Any, ...]) -> str | None:
    if shape in table.statements:
        found: str | None = table.statements[shape]
        return found
    what, names, more = shape
    dialect = session.dialect
    if what == "create":
        return table.keep(shape, dialect.create_statement(table, names, more))
    return table.keep(shape, dialect.upsert_statement(table, names, expected=more))


def _messages(table: EntityTable, plan: Plan, id: str, now: str) -> Sequence[Message]:
    """What the recorders say of a row that is about to be made."""
    origin = plan.origin
    after: dict[str, Any] = dict.fromkeys(table.columns)
    for name in plan.values:
        value = plan.given[name]
        after[name] = None if value is None else as_kind(table.columns[name].kind, value)
    after |= {"id": id, "created_at": now, "updated_at": now, "_version": 1}
    after |= {"created_by": origin.actor, "updated_by": origin.actor}
    return origin.said(table, Change.CREATE, now, id, 1, None, after)
