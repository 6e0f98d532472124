"""Many rows as one unit of work, in few statements: what `units` does row by row.

A table that the application made, or has columns in, is written row by row here too: it may assign ids, fill in
defaults and alter values, which has to be looked at for each row.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from app_kernel.core import clock
from app_kernel.core.errors import EntityDeleted, OutsideWorkspace
from app_kernel.db.dialects import row_sets
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.drivers.base import Row, Unanswered, Work
from app_kernel.db.kinds import as_kind
from app_kernel.db.matching import Match, check_match, check_no_other, lock_keys, save_match
from app_kernel.db.origin import MESSAGES_AT_ONCE, Origin
from app_kernel.db.table import EntityTable
from app_kernel.db.units import Change, Plan, change_row, check_inside, mark_unit, purge_unit, refuse_delete, save_unit

T = TypeVar("T")

IDS_AT_ONCE = 5000
"""Ids in one statement."""
ROWS_AT_ONCE = 1000
"""Rows that are looked at before the next statement; more would hold the event loop for too long."""
_OWNED_BY_CREATE = ("created_at", "updated_at", "created_by", "updated_by", "_version")
_OWNED_BY_CHANGE = ("updated_at", "updated_by", "_version")


@dataclass(slots=True)
class Batch:
    """Saves to be done together."""

    plans: Sequence[Plan]
    matches: Sequence[Match] | None
    """What tells which row each means, where they go by fields."""
    origin: Origin
    one_by_one: bool = False
    """Whether to save row by row, so that a constraint tells at which."""
    at: int | None = None
    """The row that is being looked at; None while it is about many."""


def takes_many(table: EntityTable) -> bool:
    """Whether many rows of a table may share a statement."""
    return not table.adopted and not table.has_adopted_columns


def save_batch(dialect: Dialect, table: EntityTable, batch: Batch) -> Work[list[Row]]:
    """Creates or changes every row, in order where several mean the same one; returns them in their order."""
    batch.at = None
    if batch.matches is not None:
        lock = dialect.lock_keys(table.name, lock_keys(batch.matches, table.workspace))
        if lock is not None:
            yield lock
    results: list[Row] = [()] * len(batch.plans)
    if batch.one_by_one or not takes_many(table):
        for index, plan in enumerate(batch.plans):
            batch.at = index
            if batch.matches is None:
                results[index] = yield from save_unit(dialect, table, plan)
            else:
                results[index] = yield from save_match(dialect, table, plan, batch.matches[index])
        batch.at = None
    else:
        for wave in _waves(batch):
            # Everybody takes given ids in their order, so that no two wait for each other.
            wave.sort(key=lambda index: batch.plans[index].key or "")
            for part in parts(wave, ROWS_AT_ONCE):
                yield from _Wave(dialect, table, batch, results).save(part)
    return results


def delete_batch(
    dialect: Dialect, table: EntityTable, keys: Sequence[Any], change: Change, origin: Origin
) -> Work[int]:
    """Deletes softly or for good; returns how many rows it changed."""
    count = 0
    for part in parts(sorted(set(keys)), IDS_AT_ONCE):
        if not takes_many(table):
            count += yield from _delete_singly(dialect, table, part, change, origin)
            continue
        rows = yield from find_rows(dialect, table, part)
        if change is Change.DELETE:
            rows = {key: row for key, row in rows.items() if row[table.position("deleted_at")] is None}
        # A row that a raw statement put there has no version yet.
        raw = [key for key, row in rows.items() if row[table.position("_version")] is None]
        for key in raw:
            del rows[key]
        count += yield from _delete_singly(dialect, table, raw, change, origin)
        if rows:
            yield from _delete_rows(dialect, table, rows, change, origin)
        count += len(rows)
    return count


def find_rows(
    dialect: Dialect, table: EntityTable, keys: Iterable[Any], *, everybodys: bool = False
) -> Work[dict[Any, Row]]:
    """The rows with these ids, deleted or not, by id, which nobody else changes until the unit ends.

    With `everybodys`, also those of other workspaces than the one that sees the table.
    """
    shape = ("rows", everybodys)
    sql = _kept(table, shape, lambda: row_sets.select_among_to_write(dialect, table, everybodys=everybodys))
    found: dict[Any, Row] = {}
    position = table.position("id")
    for part in parts(keys, IDS_AT_ONCE):
        ids = (dialect.encode_ids(part),)
        rows = yield (sql, ids if everybodys else table.bound(ids))
        found.update((row[position], row) for row in rows)
    return found


def _waves(batch: Batch) -> list[list[int]]:
    """The rows, those that mean the same entity one after the other."""
    waves: list[list[int]] = []
    seen: dict[Any, int] = {}
    for index, plan in enumerate(batch.plans):
        names: list[Any] = [] if plan.key is None else [plan.key]
        if batch.matches is not None:
            names.append(tuple(batch.matches[index].values()))
        number = max((seen.get(name, -1) for name in names), default=-1) + 1
        seen.update(dict.fromkeys(names, number))
        if number == len(waves):
            waves.append([])
        waves[number].append(index)
    return waves


class _Wave:
    """Saves of which each means another entity."""

    def __init__(self, dialect: Dialect, table: EntityTable, batch: Batch, results: list[Row]) -> None:
        self.dialect, self.table, self.batch, self.results = dialect, table, batch, results
        self.now = clock.timestamp()

    def save(self, indexes: Sequence[int]) -> Work[None]:
        plans, batch = self.batch.plans, self.batch
        keys = {index: plans[index].key for index in indexes}
        matched = (yield from self._match(indexes)) if batch.matches is not None else {}
        keys.update(matched)
        ids = [key for key in keys.values() if key is not None]
        existing = yield from find_rows(self.dialect, self.table, ids, everybodys=True)
        creates: list[int] = []
        changes: dict[int, Row] = {}
        for index in indexes:
            batch.at = index
            row = existing.get(keys[index])
            check_inside(self.table, row)
            if batch.matches is not None and index not in matched:
                check_no_other(plans[index], batch.matches[index], self.table, row)
            if row is None:
                refuse_delete(plans[index])
                creates.append(index)
            elif self._is_changed(plans[index], row):
                changes[index] = row
            else:
                self.results[index] = row
        batch.at = None
        yield from self._create(creates)
        yield from self._change(changes)

    def _is_changed(self, plan: Plan, row: Row) -> bool:
        table, is_same = self.table, self.dialect.is_same
        if row[table.position("deleted_at")] is not None:
            raise EntityDeleted
        refuse_delete(plan)
        return any(
            not is_same(table.columns[name], row[table.position(name)], value, plan.given[name])
            for name, value in plan.values.items()
        )

    def _match(self, indexes: Sequence[int]) -> Work[dict[int, Any]]:
        """The ids of the live rows that are meant, by index; those that are still to be made have none."""
        matches = self.batch.matches or ()
        columns = [self.table.columns[field] for field in matches[indexes[0]]]
        found: dict[int, list[Any]] = {}
        encode = self.dialect.encode
        given = (
            (index, *(encode(column.kind, as_kind(column.kind, matches[index][column.name])) for column in columns))
            for index in indexes
        )
        names = tuple(column.name for column in columns)
        for part in parts(given, self.dialect.rows_at_once(len(names) + 1)):
            sql = self._sql("matches", names, len(part), row_sets.select_matches)
            rows = yield (sql, self.table.bound(_flat(part)))
            for index, id in rows:
                found.setdefault(index, []).append(id)
        for index, ids in found.items():
            self.batch.at = index
            check_match(self.batch.plans[index], matches[index], ids)
        self.batch.at = None
        return {index: ids[0] for index, ids in found.items()}

    def _create(self, indexes: Sequence[int]) -> Work[None]:
        if not indexes:
            return
        table, plans, origin = self.table, self.batch.plans, self.batch.origin
        given = [plans[index].key for index in indexes if plans[index].key is not None]
        versions = (yield from self._last_versions(given)) if given and table.keeps_history else {}
        fields = tuple(dict.fromkeys(name for index in indexes for name in plans[index].values))
        ids = {index: plans[index].key or clock.new_id() for index in indexes}
        rows = (
            (
                ids[index],
                *(plans[index].values.get(name) for name in fields),
                *(self.now, self.now, origin.actor, origin.actor, versions.get(ids[index], 0) + 1),
            )
            for index in indexes
        )
        made = yield from self._write(("id", *fields, *_OWNED_BY_CREATE), rows, "insert", row_sets.insert_rows)
        for index in indexes:
            self.results[index] = made[ids[index]]
        after = {ids[index]: made[ids[index]] for index in indexes}
        yield from _record(self.dialect, table, Change.CREATE, self.now, origin, {}, after)

    def _change(self, changes: Mapping[int, Row]) -> Work[None]:
        table, plans, origin = self.table, self.batch.plans, self.batch.origin
        id, version = table.position("id"), table.position("_version")
        shapes: dict[tuple[str, ...], list[int]] = {}
        for index, row in changes.items():
            plan = plans[index]
            if row[version] is None:
                self.batch.at = index
                changed = yield from change_row(self.dialect, table, row, plan.values, Change.UPDATE, origin, plan)
                self.results[index], self.batch.at = changed, None
            else:
                shapes.setdefault(tuple(plan.values), []).append(index)
        after: dict[Any, Row] = {}
        for fields, indexes in shapes.items():
            rows = (
                (changes[i][id], *plans[i].values.values(), self.now, origin.actor, changes[i][version] + 1)
                for i in indexes
            )
            names = (*fields, *_OWNED_BY_CHANGE)
            written = yield from self._write(names, rows, "update", row_sets.update_rows, extra=1)
            for index in indexes:
                after[changes[index][id]] = self.results[index] = written[changes[index][id]]
        before = {row[id]: row for row in changes.values()}
        yield from _record(self.dialect, table, Change.UPDATE, self.now, origin, before, after)

    def _last_versions(self, ids: Sequence[Any]) -> Work[dict[Any, int]]:
        """Where the history of an entity that was purged ends: one that is made again goes on counting there."""
        table, found = self.table, dict[Any, int]()
        spell = row_sets.last_versions if table.workspace is None else row_sets.last_entries
        sql = _kept(table, "versions", lambda: spell(self.dialect, table))
        for part in parts(ids, IDS_AT_ONCE):
            given = self.dialect.encode_ids(part)
            rows = yield (sql, (given,) if table.workspace is None else (table.workspace, given))
            for id, version, *is_inside in rows:
                if is_inside == [0]:
                    raise OutsideWorkspace
                found[id] = version
        return found

    def _write(
        self, names: tuple[str, ...], rows: Iterable[Sequence[Any]], shape: str, spell: Any, *, extra: int = 0
    ) -> Work[dict[Any, Row]]:
        """Writes rows of values with a statement for many; returns what they are now, by id."""
        position = self.table.position("id")
        written: dict[Any, Row] = {}
        for part in parts(rows, self.dialect.rows_at_once(len(names) + extra)):
            done = yield (self._sql(shape, names, len(part), spell), _flat(part))
            written.update((row[position], row) for row in done)
        return written

    def _sql(self, shape: str, names: tuple[str, ...], count: int, spell: Any) -> str:
        return _kept(self.table, (shape, names, count), lambda: spell(self.dialect, self.table, names, count))


def _delete_singly(
    dialect: Dialect, table: EntityTable, keys: Iterable[Any], change: Change, origin: Origin
) -> Work[int]:
    count = 0
    for key in keys:
        if change is Change.PURGE:
            count += yield from purge_unit(dialect, table, key, origin, purge_history=False)
        else:
            marked = yield from mark_unit(dialect, table, key, change, origin)
            count += marked is not None and marked[1]
    return count


def _delete_rows(
    dialect: Dialect, table: EntityTable, rows: Mapping[Any, Row], change: Change, origin: Origin
) -> Work[None]:
    now = clock.timestamp()
    values: dict[str, Any] = {"updated_at": now, "updated_by": origin.actor}
    if change is Change.DELETE:
        values["deleted_at"] = now
    names, ids = tuple(values), dialect.encode_ids(list(rows))
    position = table.position("id")
    sql = _kept(table, ("mark", names), lambda: row_sets.mark_rows(dialect, table, names))
    marked = yield (sql, (*values.values(), ids))
    found = {row[position]: row for row in marked}
    after = {id: found[id] for id in rows}
    yield from _record(dialect, table, change, now, origin, rows, after)
    if change is Change.PURGE:
        yield (row_sets.delete_among(dialect, table), (ids,))


def _record(
    dialect: Dialect,
    table: EntityTable,
    change: Change,
    at: str,
    origin: Origin,
    before: Mapping[Any, Row],
    after: Mapping[Any, Row],
) -> Work[None]:
    """The rows as they are now into their history, and what is to leave with the changes into the outbox."""
    if table.keeps_history:
        sql = _kept(table, "histories", lambda: row_sets.copy_among_to_history(dialect, table))
        for part in parts(after, IDS_AT_ONCE):
            yield Unanswered((sql, (change.value, at, origin.actor, origin.comment, dialect.encode_ids(part))))
    if not origin.hears(table):
        return
    version = table.position("_version")
    for part in parts(after.items(), MESSAGES_AT_ONCE):
        messages = []
        for id, row in part:
            seen = None if change is Change.PURGE else row
            messages += origin.messages(table, change, at, before.get(id), seen, row[version])
        yield from origin.send(dialect, messages)


def _kept(table: EntityTable, shape: Any, spell: Any) -> str:
    sql = table.statements.get(shape)
    return str(table.keep(shape, spell()) if sql is None else sql)


def _flat(rows: Iterable[Sequence[Any]]) -> list[Any]:
    return [value for row in rows for value in row]


def parts(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """The values in lists of `size`, the last one shorter."""
    part: list[T] = []
    for value in values:
        part.append(value)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
