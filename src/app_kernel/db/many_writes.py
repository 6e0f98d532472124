"""The writes of many rows, of upserts by fields and of counters: planned first, then done as one unit of work."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from app_kernel.core.errors import (
    ReservedField,
    StoreError,
    Unavailable,
    UniqueViolation,
)
from app_kernel.db.bulk import Batch, delete_batch, save_batch
from app_kernel.db.counting import check_adds, increment_unit
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.drivers.base import Transaction
from app_kernel.db.errors import SchemaFact, SchemaStale
from app_kernel.db.kinds import Kind
from app_kernel.db.matching import Match, match_of, upsert_unit
from app_kernel.db.names import check_id, read_id
from app_kernel.db.origin import Origin
from app_kernel.db.table import EntityTable
from app_kernel.db.units import Change
from app_kernel.db.writes import DELETED_AT, Writes, missing_kinds

T = TypeVar("T")
_log = logging.getLogger("app_kernel.db")

MANY_ROWS = 1000
"""Rows whose planning or decoding would hold the event loop for some milliseconds, so that a thread does it."""
ANALYZED_ROWS = 1000
"""Rows of one call from which on the database is to know of them before it plans the next query."""
_UPSERTS = 3
"""How often an upsert is tried while others take its place in a unique index."""
_WIDTH = {Kind.INT: 1, Kind.BIGINT: 2, Kind.FLOAT: 3, Kind.DECIMAL: 4}
"""The numbers by what they hold, so that a new column is made for all values of a batch at once."""
_WIDENINGS = 8
"""How often one batch may change the kinds of its fields; each time they hold more."""


class ManyWrites(Writes):
    """The writing verbs for many rows, over one session and its schema."""

    async def upsert(
        self,
        name: str,
        entity: Mapping[str, Any],
        match_by: Sequence[str],
        *,
        comment: str | None,
        expected_version: int | None,
    ) -> dict[str, Any]:
        """Changes the live entity whose fields are equal, or creates one; returns the whole row."""
        given = self._given(name, entity)
        match = match_of(match_by, given)

        async def attempt() -> dict[str, Any]:
            table = await self._table_for(name, [entity], [given], _of_one)
            origin = Origin(self._outgoing.recorders, comment)
            plan = self._plan(table, entity, given, origin, expected_version)
            dialect = self._session.dialect
            return table.to_dict(await self._write(lambda: upsert_unit(dialect, table, plan, match), table, origin))

        for _ in range(_UPSERTS - 1):
            try:
                return await self._retry(attempt)
            except UniqueViolation:
                # Somebody created it meanwhile, so that it is found now; or it is another field that is taken.
                continue
        return await self._retry(attempt)

    async def save_many(
        self, name: str, entities: Sequence[Any], match_by: Sequence[str] | None, comment: str | None
    ) -> list[dict[str, Any]]:
        """Creates or changes entities, all or none; returns the rows in the order of the entities."""

        def check_all() -> tuple[list[dict[str, Any]], list[Match] | None]:
            givens = [for_row(index, self._given, name, entity) for index, entity in enumerate(entities)]
            if match_by is None:
                return givens, None
            return givens, [for_row(index, match_of, match_by, given) for index, given in enumerate(givens)]

        givens, matches = await _aside(check_all, len(entities))
        one_by_one = False

        async def attempt() -> list[dict[str, Any]]:
            table = await self._table_for(name, entities, givens, for_row)
            origin = Origin(self._outgoing.recorders, comment)

            def plan_all() -> Batch:
                plans = [
                    for_row(index, self._plan, table, entity, given, origin, None)
                    for index, (entity, given) in enumerate(zip(entities, givens, strict=True))
                ]
                return Batch(plans, matches, origin, one_by_one)

            batch = await _aside(plan_all, len(givens))
            try:
                rows = await self._write(lambda: save_batch(self._session.dialect, table, batch), table, origin)
            except Unavailable:
                raise
            except StoreError as exc:
                if batch.at is not None:
                    _name_row(exc, batch.at)
                elif not one_by_one:
                    raise _Refused from exc
                raise
            return await _aside(lambda: table.to_dicts(rows), len(rows))

        try:
            saved = await self._retry(attempt)
        except _Refused:
            # The database refused one of many rows in a statement: one by one, they tell which.
            one_by_one = True
            saved = await self._retry(attempt)
        await self._analyze(name, len(saved))
        return saved

    async def _analyze(self, name: str, rows: int) -> None:
        if rows < ANALYZED_ROWS or isinstance(self._session, Transaction):
            return
        try:
            await self._schema.analyze(name, rows)
        except (StoreError, SchemaFact):
            # What was saved stands; the database will look by itself later.
            _log.warning("not_analyzed", extra={"entity": name}, exc_info=True)

    async def delete_many(self, name: str, ids: Sequence[Any], change: Change) -> int:
        """Deletes entities, softly or for good, all in one commit; returns how many there were."""

        async def attempt() -> int:
            table = await self._adopted_table(name)
            keys = [key for key in (read_id(id, table.id_kind) for id in ids) if key is not None]
            if not table.exists or not keys:
                return 0
            origin = Origin(self._outgoing.recorders)
            dialect = self._session.dialect
            return await self._write(lambda: delete_batch(dialect, table, keys, change, origin), table, origin)

        return await self._retry(attempt)

    async def increment(self, name: str, id: Any, field: str, by: Any) -> dict[str, Any] | None:
        """Adds to a number; the row as it is now, None when there is no such live entity."""

        async def attempt() -> dict[str, Any] | None:
            table = await self._adopted_table(name)
            key = read_id(id, table.id_kind) if table.exists else None
            if key is None:
                return None
            if missing_kinds(self._session.dialect, table, {field: by}) is not None:
                sql = self._session.dialect.select_by_id(table, include_deleted=False)
                if not await self._session.fetch(sql, table.bound((key,)), observed=True):
                    return None
                check_adds(table.columns.get(field), field, by)
                await self._schema.declare(name, {field: type(by)})
                table = await self._table(name)
            origin = Origin(self._outgoing.recorders)
            dialect = self._session.dialect
            row = await self._write(lambda: increment_unit(dialect, table, key, field, by, origin), table, origin)
            return None if row is None else table.to_dict(row)

        return await self._retry(attempt)

    async def _table_for(
        self,
        name: str,
        entities: Sequence[Any],
        givens: Sequence[Mapping[str, Any]],
        call: Callable[..., Any],
    ) -> EntityTable:
        """The table with everything that these entities need; makes what is missing."""
        dialect = self._session.dialect
        table = await self._table(name)
        for _ in range(_WIDENINGS):
            needs = await _aside(lambda: _needs_of(dialect, table, givens, call), len(givens))  # noqa: B023 - awaited at once
            if needs is None:
                return table
            for index, entity in enumerate(entities):
                if entity.get("id") is not None:
                    call(index, check_id, entity["id"], table.id_kind)
                elif "deleted_at" in givens[index]:
                    call(index, _refuse_deleted)
            await self._schema.ensure(name, needs)
            table = await self._table(name)
        raise SchemaStale


class _Refused(Exception):
    """The database refused a statement over many rows."""


def _needs_of(
    dialect: Dialect, table: EntityTable, givens: Sequence[Mapping[str, Any]], call: Callable[..., Any]
) -> dict[str, tuple[Kind, Any]] | None:
    """What the table lacks for all of these, as `missing_kinds` tells for one."""
    needs: dict[str, tuple[Kind, Any]] = {}
    is_lacking = False
    for index, given in enumerate(givens):
        lacking = call(index, missing_kinds, dialect, table, given)
        is_lacking = is_lacking or lacking is not None
        for field, need in (lacking or {}).items():
            known = needs.get(field)
            if known is None or known[0] is Kind.UNKNOWN or _WIDTH.get(need[0], 0) > _WIDTH.get(known[0], 0):
                needs[field] = need
    return needs if is_lacking else None


def for_row(index: int, call: Callable[..., T], *args: Any) -> T:
    """What the call returns; an error of it names the row, as callers count them."""
    try:
        return call(*args)
    except StoreError as exc:
        _name_row(exc, index)
        raise


def _refuse_deleted() -> None:
    raise ReservedField(DELETED_AT)


def _of_one(index: int, call: Callable[..., T], *args: Any) -> T:
    return call(*args)


def _name_row(exc: StoreError, index: int) -> None:
    exc.args = (f"entities[{index}]: {exc.message}",)


async def _aside(work: Callable[[], T], count: int) -> T:
    """What the work returns; in a thread, where it is about so many rows that the event loop would stand still."""
    return await asyncio.to_thread(work) if count > MANY_ROWS else work()
