"""The verbs that make fields and indexes before they are needed."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

from app_kernel.core.errors import (
    DatabaseBusy,
    InvalidQuery,
    ReservedField,
    Unavailable,
    UniqueViolation,
    UnsupportedValue,
)
from app_kernel.core.tables import Index
from app_kernel.db.handle import Handle
from app_kernel.db.kinds import Kind, kind_of_type
from app_kernel.db.models import entity_name
from app_kernel.db.names import check_entity_name, check_field_name
from app_kernel.db.scope import Scope
from app_kernel.db.table import OWNED_FIELDS, EntityTable

MAX_INDEX_FIELDS = 16
"""What an index of MySQL takes; the others take more."""
_WITHOUT_ORDER = frozenset({Kind.JSON, Kind.VARIANT})
_SPELLED_IN_MANY_WAYS = frozenset({Kind.DECIMAL, Kind.BIGINT})
"""1.0 and 1.00 are equal, but not to an index of every database."""
_BUILDS = 30
"""How often a build begins anew: of two that wait for each other PostgreSQL ends one, after a second."""


class DefinitionVerbs(Handle):
    """Declaring what would otherwise make itself with the first save, and what never does."""

    async def ensure_fields(self, name: str | type[Any], fields: Mapping[str, type]) -> None:
        """Makes the table and these fields, each for values of a Python type; does nothing where all is there.

        The types are those of the values that can be saved: str, int, float, bool, Decimal, dict, list, datetime,
        date, bytes and UUID. A field of a kind that holds these values too stays as it is, and one that can be
        widened without loss is. Raises InvalidName, ReservedField, SchemaLimit, and UnsupportedValue for another
        type, and for a field that holds something else.
        """
        entity = entity_name(name)
        check_entity_name(entity, writing=True, privileged=self._privileged)
        if not isinstance(fields, Mapping):
            raise InvalidQuery('fields is a dict of names and types, such as {"email": str}.')
        for field, python_type in fields.items():
            if field == "id" or field in OWNED_FIELDS:
                raise ReservedField(f"[{field}] belongs to the kernel, which makes it.")
            check_field_name(field)
            if not isinstance(python_type, type):
                raise UnsupportedValue(f"[{field}]: the type of its values is expected, such as str.")
            kind_of_type(python_type)
        await self._scope().schema.declare(entity, fields)

    async def ensure_index(self, name: str | type[Any], fields: Sequence[str], unique: bool = False) -> None:
        """Makes an index over fields, in this order, unless there is one; it survives a change of their kinds.

        A unique one refuses a second live entity with the same values; deleted ones and None do not count. The fields
        exist, because they were saved or made by `ensure_fields`. Outside of a transaction, PostgreSQL builds it
        while others write. Raises InvalidName, InvalidQuery for a field that is unknown or cannot be indexed, and
        UniqueViolation when entities have the same values already.
        """
        entity = entity_name(name)
        check_entity_name(entity, writing=True, privileged=self._privileged)
        index = _index(fields, unique)
        scope = self._scope()
        table = await self._table(scope, entity)
        if table.exists and not table.ready:
            await scope.schema.ensure(entity, {})
            table = await self._table(scope, entity)
        _check_indexable(table, index)
        try:
            if scope is self._outside and self._dialect.builds_aside:
                await self._build_aside(scope, entity, index)
            else:
                await scope.schema.indexes.ensure(entity, index)
        except UniqueViolation as exc:
            listed = ", ".join(index.fields)
            raise UniqueViolation(
                f"Entities of {entity!r} have the same [{listed}] already, so it cannot be unique.", field=listed
            ) from exc

    async def _build_aside(self, scope: Scope, entity: str, index: Index) -> None:
        """Builds an index in no transaction, which does not stop others from writing."""
        indexes = scope.schema.indexes
        for attempt in range(_BUILDS):
            if attempt:
                # At a random moment, or those that met would meet again.
                await asyncio.sleep(random.uniform(0, min(0.1 * attempt, 1)))  # noqa: S311 - it hides nothing
            name = await indexes.missing(entity, index)
            if name is None:
                return
            # What an earlier build left behind; and another process may be building it now.
            await indexes.drop_failed(entity, name)
            if await indexes.missing(entity, index) is None:
                return
            sql = self._dialect.create_index(name, entity, index.fields, unique=index.unique, aside=True)
            try:
                await self._driver.build(sql)
            except UniqueViolation:
                await indexes.drop_failed(entity, name)
                raise
            except DatabaseBusy:
                continue  # Another process builds it too, and one of the two had to give way.
            # Somebody may have given its name to something else at that moment, and then nothing was built.
            if await indexes.missing(entity, index) is None:
                return
        raise Unavailable("The index could not be built while others change the table; try again.")


def _index(fields: Any, unique: Any) -> Index:
    if not isinstance(fields, list | tuple) or not 1 <= len(fields) <= MAX_INDEX_FIELDS:
        raise InvalidQuery(f'The fields of an index are a list of 1 to {MAX_INDEX_FIELDS} names, such as ["email"].')
    for field in fields:
        if type(field) is not str or field not in OWNED_FIELDS:
            check_field_name(field)
    if len(set(fields)) < len(fields):
        raise InvalidQuery("An index has each field once.")
    if type(unique) is not bool:
        raise InvalidQuery("unique is True or False.")
    return Index(tuple(fields), unique)


def _check_indexable(table: EntityTable, index: Index) -> None:
    for field in index.fields:
        column = table.columns.get(field)
        if column is None or not column.physical:
            raise InvalidQuery(f"[{field}] is no field of {table.name!r} yet; make it with ensure_fields().")
        if column.kind in _WITHOUT_ORDER:
            raise InvalidQuery(f"[{field}] holds {column.kind}, which no index orders.")
        if index.unique and column.kind in _SPELLED_IN_MANY_WAYS:
            raise InvalidQuery(
                f"[{field}] holds {column.kind}, of which equal values are written in many ways: it cannot be unique."
            )
