"""Saving, deleting and restoring: what a write needs is planned first, then done as one unit of work."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self, TypeVar

from app_kernel.core.errors import (
    OutsideWorkspace,
    ReservedField,
    Unavailable,
    UniqueViolation,
    UnsupportedTable,
    UnsupportedValue,
)
from app_kernel.core.outbox import Message
from app_kernel.db.at_once import save_at_once
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.drivers.base import ANY_GENERATION, Session, Unit
from app_kernel.db.errors import SchemaFact, SchemaStale
from app_kernel.db.kinds import Kind, as_kind, merged
from app_kernel.db.names import check_field_name, check_id, read_id
from app_kernel.db.origin import Origin
from app_kernel.db.outgoing import Outgoing
from app_kernel.db.schema import Schema
from app_kernel.db.table import OWNED_FIELDS, WORKSPACE_FIELD, EntityTable
from app_kernel.db.units import Change, Plan, mark_unit, purge_unit, revert_unit, save_unit
from app_kernel.db.workspace import WorkspaceSchema

R = TypeVar("R")

RETRIES = 50
"""How often a write is planned anew because the schema moved on under it; each time somebody else made progress."""


class Writes:
    """The writing verbs over one session and its schema."""

    def __init__(self, session: Session, schema: Schema | WorkspaceSchema, outgoing: Outgoing) -> None:
        self._session = session
        self._schema = schema
        self._outgoing = outgoing

    def within(self, schema: WorkspaceSchema) -> Self:
        """The same verbs over the tables as one workspace sees them."""
        return type(self)(self._session, schema, self._outgoing)

    async def save(
        self, name: str, entity: Mapping[str, Any], *, comment: str | None, expected_version: int | None
    ) -> dict[str, Any]:
        """Creates or changes an entity; returns the whole row."""
        given = self._given(name, entity)
        dialect = self._session.dialect

        async def attempt() -> dict[str, Any]:
            table = await self._table(name)
            needs = missing_kinds(dialect, table, given)
            if needs is not None:
                if entity.get("id") is not None:
                    check_id(entity["id"], table.id_kind)
                if "deleted_at" in given and (entity.get("id") is None or not table.exists):
                    raise ReservedField(DELETED_AT)
                await self._schema.ensure(name, needs)
                table = await self._table(name)
            plan = self._plan(table, entity, given, Origin(self._outgoing.recorders, comment), expected_version)
            try:
                row = await save_at_once(self._session, table, plan)
            finally:
                self._announce(plan.origin)
            if row is None:
                row = await self._write(lambda: save_unit(dialect, table, plan), table, plan.origin)
            return table.to_dict(row)

        return await self._retry(attempt)

    async def delete(self, name: str, id: Any, change: Change, *, purge_history: bool) -> bool:
        """Deletes an entity, softly or for good; False when there is none to delete."""
        dialect = self._session.dialect

        async def attempt() -> bool:
            table = await self._adopted_table(name)
            key = read_id(id, table.id_kind) if table.exists else None
            if key is None:
                return False
            origin = Origin(self._outgoing.recorders)
            if change is Change.PURGE:
                return await self._write(
                    lambda: purge_unit(dialect, table, key, origin, purge_history=purge_history), table, origin
                )
            row = await self._write(lambda: mark_unit(dialect, table, key, change, origin), table, origin)
            return row is not None and row[1]

        return await self._retry(attempt)

    async def restore(self, name: str, id: Any) -> dict[str, Any] | None:
        """Undoes a soft delete; None when there is no such entity."""

        async def attempt() -> dict[str, Any] | None:
            table = await self._adopted_table(name)
            key = read_id(id, table.id_kind) if table.exists else None
            if key is None:
                return None
            origin = Origin(self._outgoing.recorders)
            found = await self._write(
                lambda: mark_unit(self._session.dialect, table, key, Change.RESTORE, origin), table, origin
            )
            return None if found is None else table.to_dict(found[0])

        return await self._retry(attempt)

    async def revert(
        self, name: str, entity: Mapping[str, Any], *, comment: str | None, expected_version: int | None
    ) -> dict[str, Any]:
        """Saves an entity as it once was, restored first where it is deleted; returns the whole row."""
        given = self._given(name, entity)
        dialect = self._session.dialect

        async def attempt() -> dict[str, Any]:
            table = await self._table(name)
            needs = missing_kinds(dialect, table, given)
            if needs is not None:
                await self._schema.ensure(name, needs)
                table = await self._table(name)
            plan = self._plan(table, entity, given, Origin(self._outgoing.recorders, comment), expected_version)
            return table.to_dict(await self._write(lambda: revert_unit(dialect, table, plan), table, plan.origin))

        return await self._retry(attempt)

    async def send(self, messages: Sequence[Message]) -> None:
        """Writes messages into the outbox."""
        origin = Origin(())
        dialect = self._session.dialect
        try:
            await self._session.write(lambda: origin.send(dialect, messages), ANY_GENERATION, "kernel_outbox")
        finally:
            self._announce(origin)

    def _given(self, name: str, entity: Any) -> dict[str, Any]:
        """The fields to save; in a workspace, its own among them. Raises OutsideWorkspace for those of another one."""
        given = check_entity(entity)
        workspace = self._schema.workspace_of(name)
        if workspace is not None:
            if given.get(WORKSPACE_FIELD) not in (None, workspace):
                raise OutsideWorkspace
            given[WORKSPACE_FIELD] = workspace
        return given

    async def _write(self, unit: Unit[R], table: EntityTable, origin: Origin) -> R:
        try:
            return await self._session.write(unit, table.generation, table.name)
        finally:
            self._announce(origin)

    def _announce(self, origin: Origin) -> None:
        # Also when the task was cancelled: the write may have been done all the same.
        if origin.has_messages:
            self._outgoing.announce()

    async def _table(self, name: str) -> EntityTable:
        table = self._schema.known(name) or await self._schema.table(name)
        if table.refusal:
            raise UnsupportedTable(table.refusal)
        return table

    async def _adopted_table(self, name: str) -> EntityTable:
        """The table, with what the store needs on one that the application made."""
        table = await self._table(name)
        if table.exists and not table.ready:
            await self._schema.ensure(name, {})
            table = await self._table(name)
        return table

    async def _retry(self, attempt: Callable[[], Awaitable[R]]) -> R:
        fact: SchemaFact = SchemaStale()
        raced = False
        for _ in range(RETRIES):
            try:
                return await attempt()
            except SchemaFact as exc:
                fact = exc
                self._schema.forget()
            except UniqueViolation as exc:
                # Another session made the row between this one's look and its insert: next time it is found.
                if exc.field != "id" or raced:
                    raise
                raced = True
        if isinstance(fact, SchemaStale):
            raise Unavailable("The schema of the database kept changing while this was written; nothing was changed.")
        # Not the schema that the store knows: a trigger or a view of the application's asks for what is not there.
        raise Unavailable(f"The database refuses this write; nothing was changed: {fact}.") from fact

    def _plan(
        self,
        table: EntityTable,
        entity: Mapping[str, Any],
        given: Mapping[str, Any],
        origin: Origin,
        expected_version: int | None,
    ) -> Plan:
        if table.workspace is not None and given.get(WORKSPACE_FIELD) != table.workspace:
            raise OutsideWorkspace
        raw_id = entity.get("id")
        values: dict[str, Any] = {}
        encoders = self._session.dialect.encoders
        for field, value in given.items():
            column = table.columns.get(field)
            if field == "deleted_at" or (column is not None and column.generated):
                continue
            if column is None or not column.physical:
                if value is None:
                    continue
                raise SchemaStale
            if value is None:
                values[field] = None
                continue
            stored = as_kind(column.kind, value)
            encode = encoders.get(column.kind)
            values[field] = stored if encode is None else encode(stored)
        return Plan(
            key=None if raw_id is None else check_id(raw_id, table.id_kind),
            values=values,
            given=given,
            origin=origin,
            expected_version=expected_version,
            deletes=given.get("deleted_at") is not None,
        )


DELETED_AT = "[deleted_at] is set by delete_entity() and cleared by restore_entity()."


def check_entity(entity: Any) -> dict[str, Any]:
    """The fields to save without those that the kernel owns; a `deleted_at` stays, to be judged beside the row."""
    if not isinstance(entity, Mapping):
        raise UnsupportedValue(f"An entity is a dict, not {type(entity).__name__}.")
    given: dict[str, Any] = {}
    for field, value in entity.items():
        if field in OWNED_FIELDS:
            if field == "deleted_at" and value is not None:
                given[field] = value
        elif field != "id":
            check_field_name(field)
            given[field] = value
    return given


def missing_kinds(dialect: Dialect, table: EntityTable, given: Mapping[str, Any]) -> dict[str, tuple[Kind, Any]] | None:
    """What the table lacks for these values, as field to kind and value; None when it lacks nothing.

    Every value is checked on the way; raises UnsupportedValue.
    """
    needs: dict[str, tuple[Kind, Any]] = {}
    columns = table.columns
    for field, value in given.items():
        if field == "deleted_at":
            continue
        column = columns.get(field)
        if value is None:
            if column is None:
                needs[field] = (Kind.UNKNOWN, None)
            continue
        kind = dialect.kind_of(field, value)
        fits = column is not None and column.physical and merged(column.kind, kind, value) is column.kind
        if column is None or not (fits or column.generated):
            needs[field] = (kind, value)
    return needs if needs or not table.ready else None
