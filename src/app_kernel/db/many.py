"""The verbs over many entities at once, and those that one statement of another process must not come between."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, overload

from app_kernel.core.errors import InvalidQuery, UnsupportedValue
from app_kernel.core.models import M
from app_kernel.db.bulk import IDS_AT_ONCE, parts
from app_kernel.db.counting import check_step
from app_kernel.db.dialects.row_sets import select_among
from app_kernel.db.drivers.base import Row
from app_kernel.db.errors import SchemaFact
from app_kernel.db.handle import unread
from app_kernel.db.many_writes import MANY_ROWS, for_row
from app_kernel.db.matching import check_match_by
from app_kernel.db.models import entity_name, from_row, model_class, to_entity
from app_kernel.db.names import check_entity_name, read_id
from app_kernel.db.pages import find_pages
from app_kernel.db.saves import SaveVerbs, check_save_options
from app_kernel.db.schema import RETRIES
from app_kernel.db.scope import Scope
from app_kernel.db.table import HISTORY_SUFFIX, EntityTable
from app_kernel.db.units import Change

MAX_BATCH = 10_000
"""Rows of one page at most."""


class ManyVerbs(SaveVerbs):
    """Saving, reading, deleting and walking through many entities, and counting up."""

    @overload
    async def save_entities(
        self,
        name: str,
        entities: Iterable[Mapping[str, Any]],
        *,
        match_by: Sequence[str] | None = None,
        comment: str | None = None,
    ) -> list[dict[str, Any]]: ...

    @overload
    async def save_entities(
        self,
        name: type[M],
        entities: Iterable[M],
        *,
        match_by: Sequence[str] | None = None,
        comment: str | None = None,
    ) -> list[M]: ...

    async def save_entities(
        self,
        name: Any,
        entities: Iterable[Any],
        *,
        match_by: Sequence[str] | None = None,
        comment: str | None = None,
    ) -> list[Any]:
        """Saves every entity as `save_entity` does, all or none in one commit; returns the rows in the same order.

        Entities of one id, or of the same values of the `match_by` fields, are saved one after the other. An error
        names the entity at fault by its place, from 0; what it raises is what `save_entity` raises. Where they are
        instances of a dataclass, which is then the `name` or not, so is what is returned.
        """
        entity = entity_name(name)
        check_entity_name(entity, writing=True, privileged=self._privileged)
        fields = check_match_by(match_by)
        check_save_options(comment, None)
        given = _listed("entities", entities)
        if not given:
            return []
        cls = model_class(name) or model_class(type(given[0]))
        if cls is None:
            return await self._scope().writes.save_many(entity, given, fields, comment)
        for index, instance in enumerate(given):
            # Found out after the commit, a row that is no such instance could not be given back.
            if not isinstance(instance, cls):
                kind = f"{type(instance).__name__}, not {cls.__name__}"
                raise UnsupportedValue(f"entities[{index}]: is {kind}; save dicts under the name {entity!r}.")
        given = [for_row(index, to_entity, instance) for index, instance in enumerate(given)]
        scope = self._scope()
        await self._ensure_model(scope, cls, entity)
        return [from_row(cls, row) for row in await scope.writes.save_many(entity, given, fields, comment)]

    @overload
    async def get_entities(
        self, name: str, ids: Iterable[Any], include_deleted: bool = False
    ) -> list[dict[str, Any]]: ...

    @overload
    async def get_entities(self, name: type[M], ids: Iterable[Any], include_deleted: bool = False) -> list[M]: ...

    async def get_entities(self, name: Any, ids: Iterable[Any], include_deleted: bool = False) -> list[Any]:
        """The entities with these ids in the order of the ids; those that are not there are left out.

        An id that is given twice counts once. There may be any number of ids. Raises InvalidName.
        """
        if (cls := model_class(name)) is not None:
            return [from_row(cls, row) for row in await self.get_entities(entity_name(name), ids, include_deleted)]
        given = _listed("ids", ids)
        found: dict[Any, Row] | SchemaFact = {}
        for _ in range(RETRIES):
            scope = self._scope()
            table = await self._table(scope, name)
            if name.lower().endswith(HISTORY_SUFFIX):
                raise InvalidQuery("A history has many rows for one id; use find_entities() with '[id] = ?'.")
            keys = dict.fromkeys(key for key in (read_id(id, table.id_kind) for id in given) if key is not None)
            if not table.exists or not keys:
                return []
            found = await self._rows_among(scope, table, keys, bool(include_deleted))
            if isinstance(found, SchemaFact):
                continue
            rows = _in_order(keys, found)
            if len(rows) > MANY_ROWS:
                return await asyncio.to_thread(table.to_dicts, rows)
            return table.to_dicts(rows)
        raise unread(found)

    async def delete_entities(self, name: str | type[Any], ids: Iterable[Any], permanent: bool = False) -> int:
        """Deletes entities as `delete_entity` does, all in one commit; returns how many there were to delete."""
        entity = entity_name(name)
        check_entity_name(entity, writing=True, privileged=self._privileged)
        given = _listed("ids", ids)
        return await self._scope().writes.delete_many(entity, given, Change.PURGE if permanent else Change.DELETE)

    @overload
    async def increment(self, name: str, id: Any, field: str, by: Any = 1) -> dict[str, Any] | None: ...

    @overload
    async def increment(self, name: type[M], id: Any, field: str, by: Any = 1) -> M | None: ...

    async def increment(self, name: Any, id: Any, field: str, by: Any = 1) -> Any:
        """Adds `by`, an int, float or Decimal, to a number, however many do so at once; returns the row as it is now.

        A field that is missing or None counts from 0. None when there is no such entity, or it is deleted. Raises
        InvalidName, ReservedField, and UnsupportedValue for a field that holds no number, for kinds that do not add
        (a float and a Decimal), and for a sum that the field cannot hold.
        """
        entity = entity_name(name)
        check_entity_name(entity, writing=True, privileged=self._privileged)
        check_step(field, by)
        row = await self._scope().writes.increment(entity, id, field, by)
        cls = model_class(name)
        return row if cls is None or row is None else from_row(cls, row)

    @overload
    def iterate_entities(
        self,
        name: str,
        where_clause: str | None = None,
        params: Sequence[Any] | None = None,
        batch_size: int = 500,
    ) -> AsyncIterator[dict[str, Any]]: ...

    @overload
    def iterate_entities(
        self,
        name: type[M],
        where_clause: str | None = None,
        params: Sequence[Any] | None = None,
        batch_size: int = 500,
    ) -> AsyncIterator[M]: ...

    def iterate_entities(
        self,
        name: Any,
        where_clause: str | None = None,
        params: Sequence[Any] | None = None,
        batch_size: int = 500,
    ) -> AsyncIterator[Any]:
        """Every entity that matches, one by one in the order of ids, `batch_size` of them (1 to 10,000) in memory.

        No entity comes twice; one that is saved meanwhile may come or not. Nothing is held open between pages, so the
        loop may write, and may be left at any time. Raises as `find_entities` does.
        """
        entity = entity_name(name)
        check_entity_name(entity, privileged=self._privileged)
        if type(batch_size) is not int or not 1 <= batch_size <= MAX_BATCH:
            raise InvalidQuery(f"batch_size is a whole number from 1 to {MAX_BATCH}.")
        return self._walk(entity, model_class(name), where_clause, params, batch_size)

    async def _walk(
        self, name: str, cls: type[Any] | None, where_clause: str | None, params: Sequence[Any] | None, size: int
    ) -> AsyncIterator[Any]:
        last: tuple[Any, ...] | None = None
        tries = RETRIES
        while True:
            scope = self._scope()
            table = await self._table(scope, name)
            pages = find_pages(table, self._dialect, where_clause, params, size)
            if not table.exists:
                return
            sql, values = pages.bind(table, params or (), last)
            rows = await self._fetch(scope, table, sql, values)
            if isinstance(rows, SchemaFact):
                tries -= 1
                if not tries:
                    raise unread(rows)
                continue
            tries = RETRIES
            for entity in table.to_dicts(rows):
                yield entity if cls is None else from_row(cls, entity)
            if len(rows) < size:
                return
            last = tuple(rows[-1][table.position(key)] for key in pages.keys)

    async def _rows_among(
        self, scope: Scope, table: EntityTable, keys: Iterable[Any], include_deleted: bool
    ) -> dict[Any, Row] | SchemaFact:
        """The rows by id, or why they are to be asked for anew."""
        shape = ("among", include_deleted)
        sql = table.statements.get(shape)
        if sql is None:
            sql = table.keep(shape, select_among(self._dialect, table, include_deleted=include_deleted))
        found: dict[Any, Row] = {}
        position = table.position("id")
        for part in parts(keys, IDS_AT_ONCE):
            rows = await self._fetch(scope, table, sql, (self._dialect.encode_ids(part),))
            if isinstance(rows, SchemaFact):
                return rows
            found.update((row[position], row) for row in rows)
        return found


def _in_order(keys: Iterable[Any], found: Mapping[Any, Row]) -> list[Row]:
    rows = [found[key] for key in keys if key in found]
    if len(rows) == len(found):
        return rows
    # A UUID of an application's own column is found however it is spelled, and comes back in one way.
    spelled = {_plain(id): row for id, row in found.items()}
    return [spelled[plain] for plain in dict.fromkeys(map(_plain, keys)) if plain in spelled]


def _plain(id: Any) -> str:
    return str(id).replace("-", "").lower()


def _listed(what: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidQuery(f"{what} is a list, not {type(values).__name__}.")
    return list(values)
