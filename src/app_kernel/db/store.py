"""The entity verbs: what `Depends(db_connection)`, `get_db_connection()` and `connect(url)` give."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from app_kernel.core.errors import InvalidQuery, ReservedName, UnsupportedValue
from app_kernel.core.outbox import Message, Recorder
from app_kernel.core.ports import EntityStore
from app_kernel.core.tables import Table
from app_kernel.core.transaction import joined_transaction
from app_kernel.db.drivers.base import TRANSACTION_SECONDS, Driver
from app_kernel.db.errors import SchemaFact
from app_kernel.db.handle import Handle
from app_kernel.db.kinds import INT64_MAX, check_text
from app_kernel.db.names import check_entity_name, read_id
from app_kernel.db.portable import compile_raw, encode_raw
from app_kernel.db.query import check_params, find_query
from app_kernel.db.row import ResultRow
from app_kernel.db.scope import Scope
from app_kernel.db.table import HISTORY_SUFFIX, EntityTable
from app_kernel.db.transactions import StoreTransaction, check_seconds, open_transaction
from app_kernel.db.units import Change

MANY_ROWS = 1000
"""Rows whose decoding would hold the event loop for some milliseconds, so that a thread does it."""


class Store(Handle, EntityStore):
    """A handle on a database. It holds no connection between verbs, so tasks may share it."""

    def __init__(
        self,
        driver: Driver,
        recorders: Sequence[Recorder] = (),
        *,
        outside: Scope | None = None,
        privileged: bool = False,
    ) -> None:
        super().__init__(driver, recorders, outside=outside, privileged=privileged)
        self._twin = None if privileged else Store(driver, recorders, outside=self._outside, privileged=True)

    @property
    def privileged(self) -> "Store":
        """The same database with the kernel's own tables open to it; for the kernel's features only."""
        return self if self._twin is None else self._twin

    @asynccontextmanager
    async def transaction(self, *, seconds: float = TRANSACTION_SECONDS) -> AsyncIterator["Store"]:
        """One commit for all that this task does in the block, through any handle of this database.

        It commits at the end of the block and rolls back when the block raises. Inside another one it is a part that
        is taken back alone. Verbs in it see its own writes, and one that fails takes back only itself. It lasts
        `seconds` at most. Raises TransactionTimeout, TransactionInOtherTask, DatabaseBusy, ConnectionLost.
        """
        limit = check_seconds(seconds)
        joined = joined_transaction(self._driver)
        if isinstance(joined, StoreTransaction):
            async with joined.nested():
                yield self
        else:
            async with open_transaction(self._driver, self._outside.schema, self._recorders, limit):
                yield self

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Calls back once the open transaction is committed, and never if it is rolled back; at once outside of one.

        The callback is plain, quick and does not raise.
        """
        joined = joined_transaction(self._driver)
        if joined is None:
            callback()
        else:
            joined.after_commit(callback)

    async def send_messages(self, messages: Sequence[Message]) -> None:
        """Puts messages into the outbox, with the open transaction or in one of their own; privileged handles only."""
        if not self._privileged:
            raise ReservedName("The outbox belongs to the kernel's features.")
        if messages:
            await self._scope().writes.send(messages)

    async def get_entity(self, name: str, id: Any, include_deleted: bool = False) -> dict[str, Any] | None:
        """One entity by id as a plain dict; None when there is none, or it is deleted, or there is no such table.

        With `include_deleted`, a soft-deleted one too. Raises InvalidName.
        """
        scope = self._scope()
        table = await self._table(scope, name)
        if name.lower().endswith(HISTORY_SUFFIX):
            raise InvalidQuery(f"A history has many rows for one id; use find_entities({name!r}, '[id] = ?', (id,)).")
        while table.exists:
            sql = self._point_query(table, include_deleted)
            plain = type(id) is str and id.isascii() and table.id_kind == "str"
            key = id if plain else read_id(id, table.id_kind)
            rows = await self._fetch(scope, table, sql, (key,))
            if rows is not None:
                return table.to_dict(rows[0]) if rows else None
            table = await self._table(scope, name)
        return None

    async def find_entities(
        self,
        name: str,
        where_clause: str | None = None,
        params: Sequence[Any] | None = None,
        order_by: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
        include_deleted: bool = False,
    ) -> list[dict[str, Any]]:
        """The entities that match, as plain dicts; ties of the order are broken by id, so pages are stable.

        The clause is portable SQL with [field] and ?; an unknown field is NULL. An empty list when the table does not
        exist. Raises InvalidName, and InvalidQuery which names the place.
        """
        check_page(limit, offset)
        scope = self._scope()
        while True:
            table = await self._table(scope, name)
            query = find_query(table, self._dialect, where_clause, params, order_by, include_deleted)
            if not table.exists or limit == 0:
                return []
            if limit is None and not offset and query.whole_sql:
                rows, sorts = await self._fetch(scope, table, query.whole_sql, query.params), True
            else:
                sql = query.select_sql + self._dialect.page(limit, offset)
                rows, sorts = await self._fetch(scope, table, sql, query.params), False
            if rows is None:
                continue
            if len(rows) > MANY_ROWS:
                return await asyncio.to_thread(table.to_dicts, rows, sort=sorts)
            return table.to_dicts(rows, sort=sorts)

    async def count_entities(
        self,
        name: str,
        where_clause: str | None = None,
        params: Sequence[Any] | None = None,
        include_deleted: bool = False,
    ) -> int:
        """How many entities match; 0 when the table does not exist. Raises as `find_entities` does."""
        scope = self._scope()
        while True:
            table = await self._table(scope, name)
            query = find_query(table, self._dialect, where_clause, params, None, include_deleted)
            if not table.exists:
                return 0
            rows = await self._fetch(scope, table, query.count_sql, query.params)
            if rows is not None:
                return int(rows[0][0])

    async def save_entity(
        self,
        name: str,
        entity: Mapping[str, Any],
        *,
        comment: str | None = None,
        expected_version: int | None = None,
    ) -> dict[str, Any]:
        """Creates an entity, or changes the given fields of the one with this id; returns the whole row.

        Fields left out stay as they are, an explicit None clears one. The fields that the kernel owns are ignored in
        the input. A table or column that is missing is made. `comment` goes into the history; with `expected_version`
        the save happens only if the entity still has that `_version` (0: only if it does not exist yet).
        Raises InvalidName, UnsupportedValue, ReservedField, EntityDeleted, VersionConflict, UniqueViolation,
        MissingValue, SchemaLimit, Unavailable.
        """
        check_entity_name(name, writing=True, privileged=self._privileged)
        check_save_options(comment, expected_version)
        return await self._scope().writes.save(name, entity, comment=comment, expected_version=expected_version)

    async def delete_entity(self, name: str, id: Any, permanent: bool = False, *, purge_history: bool = False) -> bool:
        """Deletes an entity: softly, so that `restore_entity` can bring it back, or for good with `permanent`.

        False when there is none, or when it is deleted already. The history stays unless `purge_history` is set too.
        """
        check_entity_name(name, writing=True, privileged=self._privileged)
        if purge_history and not permanent:
            raise InvalidQuery("purge_history needs permanent=True: a soft-deleted entity keeps its history.")
        change = Change.PURGE if permanent else Change.DELETE
        return await self._scope().writes.delete(name, id, change, purge_history=purge_history)

    async def restore_entity(self, name: str, id: Any) -> dict[str, Any] | None:
        """Undoes a soft delete and returns the row; None when there is no such entity.

        An entity that is not deleted is returned as it is. Raises UniqueViolation when another one took its place.
        """
        check_entity_name(name, writing=True, privileged=self._privileged)
        return await self._scope().writes.restore(name, id)

    async def execute(self, sql: str, params: Sequence[Any] | None = None) -> list[ResultRow]:  # type: ignore[override]
        """Runs one raw SQL statement, DDL included, and returns its rows, which read by name and by position.

        [name] is an identifier and ? a parameter on every backend; ?? is a literal question mark. Values come back as
        the database stores them. A raw write bypasses history and audit. Raises InvalidQuery, UniqueViolation, ...
        """
        if type(sql) is not str or not sql.strip():
            raise InvalidQuery("execute() needs an SQL statement.")
        statement = compile_raw(sql, self._dialect)
        values = [encode_raw(value, self._dialect) for value in check_params(params)]
        try:
            names, rows = await self._scope().session.execute(statement, values)
        except SchemaFact as exc:
            raise InvalidQuery(f"SQL: {exc}") from exc
        return ResultRow.make(names, rows)

    async def ensure_tables(self, tables: Iterable[Table]) -> None:
        """Creates the tables, columns and indexes that are missing; does nothing where all is there.

        For features and scripts that need tables before a service runs. Raises InvalidName.
        """
        for table in tables:
            check_entity_name(table.name, writing=True, privileged=self._privileged)
            await self._outside.schema.ensure_table(table)

    def _point_query(self, table: EntityTable, include_deleted: bool) -> str:
        key = ("get", include_deleted)
        sql = table.statements.get(key)
        if sql is None:
            sql = table.statements[key] = self._dialect.select_by_id(table, include_deleted=include_deleted)
        return str(sql)


def check_save_options(comment: Any, expected_version: Any) -> None:
    """Refuses a comment that is no text and a version that is no whole number; raises UnsupportedValue."""
    if comment is not None:
        if type(comment) is not str:
            raise UnsupportedValue("comment is text, or None.")
        check_text("comment", comment)
    if expected_version is not None and type(expected_version) is not int:
        raise UnsupportedValue("expected_version is a whole number, or None.")


def check_page(limit: Any, offset: Any) -> None:
    """Refuses a limit or offset that is not a whole number from 0 to what a database can count; raises InvalidQuery."""
    for what, value in (("limit", limit), ("offset", offset)):
        if value is not None and (type(value) is not int or not 0 <= value <= INT64_MAX):
            raise InvalidQuery(f"{what} is a whole number from 0, or None.")
