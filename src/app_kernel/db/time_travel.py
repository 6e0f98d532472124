"""The past of a table, as its history has it: which instant is meant, and how rows of the history read as rows.

An entry counts from its time on, which is that of its verb: the commit comes a little later. Of an id, the entry with
the greatest version counts, so that clocks which differ between machines never show two rows of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from app_kernel.core import clock
from app_kernel.core.errors import InvalidQuery, UnsupportedTable
from app_kernel.core.events import changed_fields
from app_kernel.core.models import HistoryEntry
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.dialects.past import select_version, select_version_at
from app_kernel.db.errors import SchemaFact, SchemaStale
from app_kernel.db.handle import Handle, unread
from app_kernel.db.kinds import INT64_MAX
from app_kernel.db.names import read_id
from app_kernel.db.schema import RETRIES
from app_kernel.db.scope import Scope
from app_kernel.db.table import HISTORY_FIELDS, HISTORY_SUFFIX, EntityTable
from app_kernel.db.units import Change


@dataclass(frozen=True, slots=True)
class Past:
    """A history, and the table that its rows are rows of."""

    history: EntityTable
    """The history itself, with what was done, when and by whom."""
    table: EntityTable
    """The history's rows with the fields of the entity: those that came after a row are None in it."""

    def entity(self, kept: dict[str, Any]) -> dict[str, Any]:
        """The entity in a row of the history."""
        return {name: kept.get(name) for name in self.table.columns}


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one entity."""

    entity: dict[str, Any]
    purged: bool
    """Whether it is the entry that says that the row is gone."""


class TimeTravel(Handle):
    """What the verbs that look back have in common."""

    async def _past(self, scope: Scope, name: Any) -> Past | None:
        """The past of a table; None when there is none yet. Raises InvalidName, InvalidQuery, UnsupportedTable."""
        for _ in range(RETRIES):
            table = await self._table(scope, name)
            if name.lower().endswith(HISTORY_SUFFIX):
                raise InvalidQuery(f"{name!r} is a history itself, which has none; read it with find_entities().")
            kept_in = name + HISTORY_SUFFIX
            history = scope.schema.known(kept_in) or await scope.schema.table(kept_in)
            if not history.exists:
                if table.exists and not scope.schema.wants_history(table):
                    raise UnsupportedTable(f"{name!r} keeps no history.")
                return None
            if not all(history.has(field) for field in ("id", "_version", *HISTORY_FIELDS)):
                raise UnsupportedTable(f"{name!r} has no history: the table {kept_in!r} is of another shape.")
            if not table.exists or table.generation == history.generation:
                return past_of(table, history, self._dialect)
        raise unread(SchemaStale())

    async def _version(self, name: Any, id: Any, *, at: str | None = None, number: int = 0) -> Version | None:
        """The version that an id had at an instant, or the one of this number; None when there is none."""
        scope = self._scope()
        spell = select_version if at is None else select_version_at
        rows: list[Any] | SchemaFact = []
        for _ in range(RETRIES):
            past = await self._past(scope, name)
            key = None if past is None else read_id(id, past.history.id_kind)
            if past is None or key is None:
                return None
            sql = past.history.statements.get(spell) or past.history.keep(spell, spell(self._dialect, past.history))
            rows = await self._fetch(scope, past.history, sql, (key, number if at is None else at))
            if isinstance(rows, SchemaFact):
                continue
            if not rows:
                return None
            kept = past.history.to_dict(rows[0])
            return Version(past.entity(kept), kept["_action"] == Change.PURGE)
        raise unread(rows)


def past_of(table: EntityTable, history: EntityTable, dialect: Dialect) -> Past:
    """The past of a table; both are of one generation."""
    then: EntityTable | None = history.statements.get("then")
    if then is None:
        fields = dict.fromkeys(name for name in (*table.columns, *history.columns) if name not in HISTORY_FIELDS)
        columns = {name: history.columns.get(name) or replace(table.columns[name], declared="") for name in fields}
        then = EntityTable(history.name, history.generation, columns, adopted=history.adopted)
        then = history.keep("then", then.prepare(dialect.decoder))
    # What is kept belongs to no workspace.
    return Past(history, then if history.workspace is None else then.within(history.workspace, None))


def read_instant(as_of: Any) -> str:
    """An instant, given as an aware datetime or as ISO 8601 text with an offset, as histories have it.

    Raises InvalidQuery.
    """
    moment = as_of
    if isinstance(as_of, str):
        try:
            moment = datetime.fromisoformat(as_of)
        except ValueError:
            raise InvalidQuery(
                "as_of is no ISO 8601 time; write it like 2026-11-23T18:00:00Z or 2026-11-23T19:00:00+01:00."
            ) from None
    if not isinstance(moment, datetime):
        raise InvalidQuery(f"as_of is an aware datetime or ISO 8601 text, not {type(as_of).__name__}.")
    if moment.utcoffset() is None:
        raise InvalidQuery(
            "as_of without a time zone is ambiguous; use datetime.now(UTC), value.replace(tzinfo=UTC), or text with Z."
        )
    try:
        return clock.to_text(moment)
    except OverflowError:
        raise InvalidQuery("as_of lies outside the years 1 to 9999 in UTC.") from None


def check_version(version: Any) -> int:
    """A version as a whole number from 1; raises InvalidQuery for anything else."""
    if type(version) is not int or not 1 <= version <= INT64_MAX:
        raise InvalidQuery("version is a whole number from 1.")
    return version


def history_entries(past: Past, rows: Sequence[Any], *, begins_before: bool) -> list[HistoryEntry]:
    """Rows of one id, oldest first, as entries; with `begins_before`, the first is only what the second is beside."""
    entries: list[HistoryEntry] = []
    before: dict[str, Any] | None = None
    for kept in past.history.to_dicts(list(rows)):
        entity = past.entity(kept)
        purged = kept["_action"] == Change.PURGE
        # What the store found in a table of the application's had been so before: nothing was changed.
        found = kept["_action"] == Change.ADOPT
        entries.append(
            HistoryEntry(
                version=kept["_version"],
                action=kept["_action"],
                at=kept["_at"],
                actor=kept["_actor"],
                comment=kept["_comment"],
                entity=entity,
                changes={} if found else changed_fields(before, None if purged else entity),
            )
        )
        before = None if purged else entity
    return entries[1:] if begins_before else entries
