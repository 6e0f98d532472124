"""The reading verbs: one entity, those that match, how many; as they are, or as they were."""

import asyncio
from collections.abc import Sequence
from typing import Any, overload

from app_kernel.core.errors import InvalidQuery
from app_kernel.core.models import Instant, M
from app_kernel.db.errors import SchemaFact
from app_kernel.db.handle import unread
from app_kernel.db.kinds import INT64_MAX
from app_kernel.db.models import from_row, model_class, model_of
from app_kernel.db.names import read_id
from app_kernel.db.query import find_query
from app_kernel.db.schema import RETRIES
from app_kernel.db.scope import Scope
from app_kernel.db.table import HISTORY_SUFFIX, EntityTable
from app_kernel.db.time_travel import TimeTravel, read_instant

MANY_ROWS = 1000
"""Rows whose decoding would hold the event loop for some milliseconds, so that a thread does it."""


class ReadVerbs(TimeTravel):
    """Reading. Nothing here opens a writing transaction or changes a table."""

    @overload
    async def get_entity(
        self, name: str, id: Any, include_deleted: bool = False, *, as_of: Instant | None = None
    ) -> dict[str, Any] | None: ...

    @overload
    async def get_entity(
        self, name: type[M], id: Any, include_deleted: bool = False, *, as_of: Instant | None = None
    ) -> M | None: ...

    async def get_entity(
        self, name: Any, id: Any, include_deleted: bool = False, *, as_of: Instant | None = None
    ) -> Any:
        """One entity by id as a plain dict; None when there is none, or it is deleted, or there is no such table.

        With `include_deleted`, a soft-deleted one too; with `as_of` (an aware datetime, or ISO 8601 text with an
        offset), as its history has it for that instant. A dataclass as `name` gives an instance of it. Raises
        InvalidName, and InvalidQuery for an instant that is none.
        """
        if type(name) is not str and (cls := model_class(name)) is not None:
            row = await self.get_entity(model_of(cls).entity, id, include_deleted, as_of=as_of)
            return None if row is None else from_row(cls, row)
        if as_of is not None:
            return await self._entity_then(name, id, include_deleted, read_instant(as_of))
        scope = self._scope()
        table = await self._table(scope, name)
        if name.lower().endswith(HISTORY_SUFFIX):
            raise InvalidQuery(f"A history has many rows for one id; use find_entities({name!r}, '[id] = ?', (id,)).")
        rows: list[Any] | SchemaFact = []
        for _ in range(RETRIES):
            if not table.exists:
                return None
            sql = self._point_query(table, bool(include_deleted))
            plain = type(id) is str and id.isascii() and id.isprintable() and table.id_kind == "str"
            key = id if plain else read_id(id, table.id_kind)
            rows = await self._fetch(scope, table, sql, (key,))
            if not isinstance(rows, SchemaFact):
                return table.to_dict(rows[0]) if rows else None
            table = await self._table(scope, name)
        raise unread(rows)

    @overload
    async def find_entities(
        self,
        name: str,
        where_clause: str | None = None,
        params: Sequence[Any] | None = None,
        order_by: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
        include_deleted: bool = False,
        *,
        as_of: Instant | None = None,
    ) -> list[dict[str, Any]]: ...

    @overload
    async def find_entities(
        self,
        name: type[M],
        where_clause: str | None = None,
        params: Sequence[Any] | None = None,
        order_by: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
        include_deleted: bool = False,
        *,
        as_of: Instant | None = None,
    ) -> list[M]: ...

    async def find_entities(
        self,
        name: str | type[Any],
        where_clause: str | None = None,
        params: Sequence[Any] | None = None,
        order_by: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
        include_deleted: bool = False,
        *,
        as_of: Instant | None = None,
    ) -> Any:
        """The entities that match, as plain dicts; ties of the order are broken by id, so pages are stable.

        The clause is portable SQL with [field] and ?; an unknown field is NULL. An empty list when the table does not
        exist. `as_of` and a dataclass as `name` are as in `get_entity`. Raises InvalidName, and InvalidQuery which
        names the place.
        """
        check_page(limit, offset)
        cls = None if type(name) is str else model_class(name)
        entity = name if cls is None else model_of(cls).entity
        scope = self._scope()
        instant = None if as_of is None else read_instant(as_of)
        rows: list[Any] | SchemaFact = []
        for _ in range(RETRIES):
            table = await self._table_at(scope, entity, instant)
            query = find_query(table, self._dialect, where_clause, params, order_by, include_deleted, instant)
            if not table.exists or limit == 0:
                return []
            if limit is None and not offset and query.whole_sql:
                rows, sorts = await self._fetch(scope, table, query.whole_sql, query.params), True
            else:
                sql = query.select_sql + self._dialect.page(limit, offset)
                rows, sorts = await self._fetch(scope, table, sql, query.params), False
            if isinstance(rows, SchemaFact):
                continue
            if len(rows) > MANY_ROWS:
                found = await asyncio.to_thread(table.to_dicts, rows, sort=sorts)
            else:
                found = table.to_dicts(rows, sort=sorts)
            return found if cls is None else [from_row(cls, row) for row in found]
        raise unread(rows)

    async def count_entities(
        self,
        name: str | type[Any],
        where_clause: str | None = None,
        params: Sequence[Any] | None = None,
        include_deleted: bool = False,
        *,
        as_of: Instant | None = None,
    ) -> int:
        """How many entities match; 0 when the table does not exist. Takes and raises what `find_entities` does."""
        cls = None if type(name) is str else model_class(name)
        entity = name if cls is None else model_of(cls).entity
        scope = self._scope()
        instant = None if as_of is None else read_instant(as_of)
        rows: list[Any] | SchemaFact = []
        for _ in range(RETRIES):
            table = await self._table_at(scope, entity, instant)
            query = find_query(table, self._dialect, where_clause, params, None, include_deleted, instant)
            if not table.exists:
                return 0
            rows = await self._fetch(scope, table, query.count_sql, query.params)
            if not isinstance(rows, SchemaFact):
                return int(rows[0][0])
        raise unread(rows)

    async def _table_at(self, scope: Scope, name: Any, instant: str | None) -> EntityTable:
        """What a find looks at: the table, or for an instant its history."""
        if instant is None:
            return await self._table(scope, name)
        past = await self._past(scope, name)
        return EntityTable(name, 0, {}) if past is None else past.table

    async def _entity_then(self, name: str, id: Any, include_deleted: bool, instant: str) -> dict[str, Any] | None:
        found = await self._version(name, id, at=instant)
        if found is None or found.purged or (found.entity["deleted_at"] is not None and not include_deleted):
            return None
        return found.entity

    def _point_query(self, table: EntityTable, include_deleted: bool) -> str:
        key = ("get", include_deleted)
        sql = table.statements.get(key)
        if sql is None:
            sql = table.statements[key] = self._dialect.select_by_id(table, include_deleted=include_deleted)
        return str(sql)


def check_page(limit: Any, offset: Any) -> None:
    """Refuses a limit or offset that is not a whole number from 0 to what a database can count; raises InvalidQuery."""
    for what, value in (("limit", limit), ("offset", offset)):
        if value is not None and (type(value) is not int or not 0 <= value <= INT64_MAX):
            raise InvalidQuery(f"{what} is a whole number from 0, or None.")
