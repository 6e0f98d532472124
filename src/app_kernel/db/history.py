"""The verbs on what was: the history of one entity, one version of it, and the way back to one."""

import asyncio
from collections.abc import Mapping
from typing import Any, overload

from app_kernel.core.errors import InvalidQuery
from app_kernel.core.models import HistoryEntry, Instant, M
from app_kernel.db.dialects.past import select_versions
from app_kernel.db.errors import SchemaFact
from app_kernel.db.handle import unread
from app_kernel.db.kinds import INT64_MAX
from app_kernel.db.models import entity_name, from_row, model_class
from app_kernel.db.names import check_entity_name, read_id
from app_kernel.db.reads import MANY_ROWS, ReadVerbs, check_page
from app_kernel.db.saves import check_save_options
from app_kernel.db.schema import RETRIES
from app_kernel.db.table import OWNED_FIELDS
from app_kernel.db.time_travel import check_version, history_entries, read_instant


class HistoryVerbs(ReadVerbs):
    """Reading the past, and going back to it."""

    async def get_entity_history(
        self, name: str | type[Any], id: Any, limit: int | None = None, offset: int | None = None
    ) -> list[HistoryEntry]:
        """Every change of one entity, oldest first, also of one that was purged; an empty list when there is none.

        An entry has version, action, at, actor, comment, the whole row as the change left it (`entity`) and `changes`
        beside the version before, as field to [old, new]; a field that came later is None before. A purge shows the
        row as it was last, and all its values as gone. Raises InvalidName, InvalidQuery, and UnsupportedTable when
        the table keeps no history.
        """
        check_page(limit, offset)
        entity = entity_name(name)
        scope = self._scope()
        rows: list[Any] | SchemaFact = []
        for _ in range(RETRIES):
            past = await self._past(scope, entity)
            key = None if past is None else read_id(id, past.history.id_kind)
            if past is None or key is None or limit == 0:
                return []
            # The entry before the page is what its first one is compared with.
            begins_before = bool(offset)
            count = limit if limit is None else min(limit + begins_before, INT64_MAX)
            page = self._dialect.page(count, offset - 1 if offset else None)
            sql = select_versions(self._dialect, past.history) + page
            rows = await self._fetch(scope, past.history, sql, (key,))
            if isinstance(rows, SchemaFact):
                continue
            if len(rows) > MANY_ROWS:
                return await asyncio.to_thread(history_entries, past, rows, begins_before=begins_before)
            return history_entries(past, rows, begins_before=begins_before)
        raise unread(rows)

    @overload
    async def get_entity_version(self, name: str, id: Any, version: int) -> dict[str, Any] | None: ...

    @overload
    async def get_entity_version(self, name: type[M], id: Any, version: int) -> M | None: ...

    async def get_entity_version(self, name: str | type[Any], id: Any, version: int) -> Any:
        """One entity as a version left it, deleted or not; None when there is no such version, or it was a purge.

        Raises InvalidName, InvalidQuery, and UnsupportedTable when the table keeps no history.
        """
        found = await self._version(entity_name(name), id, number=check_version(version))
        return None if found is None or found.purged else _as_asked(name, found.entity)

    @overload
    async def revert(
        self,
        name: str,
        id: Any,
        version: int | None = None,
        *,
        as_of: Instant | None = None,
        comment: str | None = None,
        expected_version: int | None = None,
    ) -> dict[str, Any] | None: ...

    @overload
    async def revert(
        self,
        name: type[M],
        id: Any,
        version: int | None = None,
        *,
        as_of: Instant | None = None,
        comment: str | None = None,
        expected_version: int | None = None,
    ) -> M | None: ...

    async def revert(
        self,
        name: str | type[Any],
        id: Any,
        version: int | None = None,
        *,
        as_of: Instant | None = None,
        comment: str | None = None,
        expected_version: int | None = None,
    ) -> Any:
        """Saves an entity as it was, at a version or an instant, as a new version; None when there never was one.

        Fields that it did not have become None, and those that the kernel owns stay the kernel's. A deleted entity is
        restored first, in the same commit, and a purged one is made again; so it is there afterwards, also where the
        version was a deleted one. Nothing is written where nothing differs. `comment` and `expected_version` are as
        in `save_entity`. Raises InvalidQuery for a version or an instant at which the entity was not there, and what
        `save_entity` raises.
        """
        entity = entity_name(name)
        check_entity_name(entity, writing=True, privileged=self._privileged)
        check_save_options(comment, expected_version)
        if (version is None) == (as_of is None):
            raise InvalidQuery("revert() needs a version, or as_of=, and not both.")
        instant = None if as_of is None else read_instant(as_of)
        number = 0 if version is None else check_version(version)
        found = await self._version(entity, id, at=instant, number=number)
        if found is None or found.purged:
            if found is None and not await self._was_ever(entity, id):
                return None
            when = f"in version {number}" if instant is None else f"at {instant}"
            raise InvalidQuery(f"There was no such entity in {entity!r} {when}; get_entity_history() shows when.")
        given = await self._as_given(entity, found.entity)
        row = await self._scope().writes.revert(entity, given, comment=comment, expected_version=expected_version)
        return _as_asked(name, row)

    async def _was_ever(self, name: str, id: Any) -> bool:
        """Whether there is an entity with this id, or its history."""
        if await self.get_entity_history(name, id, limit=1):
            return True
        return await self.get_entity(name, id, include_deleted=True) is not None

    async def _as_given(self, name: str, then: Mapping[str, Any]) -> dict[str, Any]:
        """What to save so that the entity is as it was then: fields that it did not have are None."""
        table = await self._table(self._scope(), name)
        now = {field: then.get(field) for field in table.columns}
        # A column that the application dropped since comes back where there was something in it.
        lost = {field: value for field, value in then.items() if value is not None}
        return {field: value for field, value in (now | lost).items() if _is_givable(field)}


def _is_givable(field: str) -> bool:
    return field not in OWNED_FIELDS and not field.startswith("_")


def _as_asked(name: Any, row: dict[str, Any]) -> Any:
    cls = model_class(name)
    return row if cls is None else from_row(cls, row)
