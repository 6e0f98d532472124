"""How tables grow, as units of work: what a write needs and the database lacks is made, under the schema's lock."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from app_kernel.core.errors import InvalidName, SchemaLimit, UnsupportedTable, UnsupportedValue
from app_kernel.db.catalog import load_table
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.dialects.queries import Queries
from app_kernel.db.drivers.base import Row, Work
from app_kernel.db.kinds import EXACT_FLOAT, Kind, is_exact_float, merged
from app_kernel.db.names import check_case
from app_kernel.db.table import HISTORY_FIELDS, HISTORY_SUFFIX, OWNED_FIELDS, WORKSPACE_FIELD, Column, EntityTable

_log = logging.getLogger("app_kernel.db")

Kinds = Mapping[str, tuple[Kind, Any]]
"""Of each field, the kind of a value and the value."""


class Growth:
    """Makes and widens tables; everything is looked at anew, because another process may have done the same."""

    def __init__(self, dialect: Dialect, queries: Queries, *, max_entities: int, max_fields: int) -> None:
        self._dialect = dialect
        self._queries = queries
        self._max_entities = max_entities
        self._max_fields = max_fields
        self._without_history: set[str] = set()

    def make_without_history(self, name: str) -> None:
        """Remembers that a table is declared to have no history."""
        self._without_history.add(name)

    def wants_history(self, table: EntityTable) -> bool:
        """Whether a table has a history, or gets one with its first write."""
        return table.keeps_history or (table.adopted and table.name not in self._without_history)

    def grow(self, name: str, kinds: Kinds) -> Work[None]:
        """Makes the table and the columns that these values need."""
        table = yield from load_table(self._queries, self._dialect, name)
        if table.refusal:
            raise UnsupportedTable(table.refusal)
        changed = False
        if not table.exists:
            yield from self._create(name, kinds)
            table = yield from load_table(self._queries, self._dialect, name)
            changed = True
        elif (yield from self._adopt(table)):
            table = yield from load_table(self._queries, self._dialect, name)
            changed = True
        if table.history_differs:
            yield from self._mend_history(table)
            changed = True
        # No field changes what is known of another one, so the table is not read again for each.
        fresh = self._fresh(table, kinds)
        if fresh:
            yield from self._add_fields(table, fresh)
            changed = True
        for field, (kind, value) in kinds.items():
            column = table.columns.get(field)
            if column is not None and (yield from self._widen(table, column, kind, value)):
                changed = True
        if changed:
            yield self._queries.bump_generation()

    def declare(self, name: str, kinds: Kinds) -> Work[None]:
        """As `grow`, for types rather than values; raises UnsupportedValue where a field holds something else."""
        table = yield from load_table(self._queries, self._dialect, name)
        names = [name, name + HISTORY_SUFFIX] if table.keeps_history else [name]
        for field, (kind, value) in kinds.items():
            column = table.columns.get(field)
            if column is None or column.adopted:
                continue
            new = merged(column.kind, kind, value)
            beyond = False
            for each in names if column.physical and (column.kind, new) == (Kind.INT, Kind.FLOAT) else ():
                beyond = beyond or bool((yield self._queries.find_beyond(each, field, EXACT_FLOAT)))
            if beyond or (new is Kind.VARIANT and kind is not Kind.VARIANT):
                raise UnsupportedValue(f"[{field}] of {name!r} holds {column.kind}, not {kind}.")
        yield from self.grow(name, kinds)

    def _create(self, name: str, kinds: Kinds) -> Work[None]:
        rows = yield self._queries.list_entities()
        check_case("entity", name, [row[0] for row in rows])
        if sum(not row[0].startswith("kernel_") for row in rows) >= self._max_entities:
            raise SchemaLimit(f"This database has {self._max_entities} entities, which is the limit.")
        kind_rows = yield self._queries.find_object(name)
        if kind_rows:
            raise InvalidName(f"The name {name!r} is taken by a {kind_rows[0][0]} of the database.")
        history: list[Row] = yield self._queries.list_columns(name + HISTORY_SUFFIX)
        if history and (yield from self._drop_unused(name + HISTORY_SUFFIX, history)):
            history = []
        # Where an older table of this name left something, each field has to be looked at beside that.
        is_new = not ((yield self._queries.recall(name)) or history)
        plain = EntityTable(name, 0, {field: Column(field, Kind.STR) for field in ("id", *OWNED_FIELDS)})
        fresh = self._fresh(plain, kinds) if is_new else {}
        declared = self._declared(plain, fresh)
        if name not in self._without_history:
            # First: whatever ends this process in between, there is no table whose history nobody makes any more.
            columns = {"id": self._dialect.id_type, **declared, **self._dialect.owned_types}
            yield from self._create_history(name, columns)
        yield (self._dialect.create_table(name, declared), ())
        yield self._queries.remember(name, {"id": Kind.STR, **fresh}, adopted=False)

    def _drop_unused(self, history: str, columns: Sequence[Row]) -> Work[bool]:
        """Drops a history of the store's own that nobody wrote to: whoever made it did not come to its table."""
        if not any(row[0] == "id" and self._dialect.told_kind(row[1]) for row in columns):
            return False
        if (yield self._queries.find_value(history, "id")):
            return False
        yield (f"DROP TABLE {self._dialect.table(history)}", ())
        return True

    def _create_history(self, name: str, columns: Mapping[str, str]) -> Work[None]:
        """The history's table; raises UnsupportedTable when another table has its name."""
        rows = yield self._queries.list_columns(name + HISTORY_SUFFIX)
        if rows:
            self._check_history(name, columns, rows)
        else:
            yield (self._dialect.create_history(name, columns), ())

    def _check_history(self, name: str, columns: Mapping[str, str], rows: Sequence[Row]) -> None:
        """Refuses a table that has a history's name in another shape; raises UnsupportedTable."""
        natural = self._dialect.natural_kind
        # An older table of the same name may have left it, whose columns would alter what is copied into them.
        alters = any(row[0] in columns and natural(row[1]) is not natural(columns[row[0]]) for row in rows)
        if alters or not {row[0] for row in rows} >= {"id", "_version", *HISTORY_FIELDS}:
            raise UnsupportedTable(
                f"The table {name + HISTORY_SUFFIX!r} exists in another shape,"
                f" but the history of {name!r} needs that name; rename it."
            )

    def _adopt(self, table: EntityTable) -> Work[bool]:
        """Gives a table of the application's what the store needs; changes and drops nothing else."""
        missing = [field for field in OWNED_FIELDS if not table.has(field)]
        history: list[Row] = yield self._queries.list_columns(table.name + HISTORY_SUFFIX)
        wants_history = self.wants_history(table)
        have = {row[0] for row in history}
        if not missing and not table.history_lacks and (table.keeps_history or not wants_history):
            return False
        lacking = {field: self._dialect.owned_types[field] for field in missing}
        declared = {column.name: column.declared for column in table.columns.values() if column.physical}
        declared |= lacking
        if wants_history and history:
            # Before anything is changed, because not every database takes that back.
            self._check_history(table.name, declared, history)
        yield from self._add_columns(table.name, lacking)
        if not wants_history:
            return True
        yield from self._create_history(table.name, declared)
        if have:
            rest = {field: declared[field] for field in declared if field not in have}
            yield from self._add_columns(table.name + HISTORY_SUFFIX, rest)
        return True

    def _mend_history(self, table: EntityTable) -> Work[None]:
        """Goes on where a change of kinds was broken off between a table and its history."""
        history = table.name + HISTORY_SUFFIX
        yield from self._lock_to_retype(table)
        for field, old in table.history_differs.items():
            new = table.columns[field].kind
            declared = self._dialect.column_type(new, adopted=table.adopted)
            yield from self._dialect.retype_column(history, field, old, new, declared)

    def _lock_to_retype(self, table: EntityTable) -> Work[None]:
        names = [table.name, table.name + HISTORY_SUFFIX] if table.keeps_history else [table.name]
        lock = self._dialect.lock_to_retype(names)
        if lock is not None:
            yield (lock, ())

    def _fresh(self, table: EntityTable, kinds: Kinds) -> dict[str, Kind]:
        """The fields that the table does not know; raises InvalidName and SchemaLimit."""
        fresh: dict[str, Kind] = {}
        spelled = {name.lower(): name for name in table.columns}
        for field, (kind, _) in kinds.items():
            if field in table.columns:
                continue
            check_case("field", field, [spelled.setdefault(field.lower(), field)])
            if len(table.columns) + len(fresh) >= self._max_fields:
                raise SchemaLimit(f"{table.name!r} has {self._max_fields} fields, which is the limit.")
            fresh[field] = kind
        return fresh

    def _add_fields(self, table: EntityTable, fresh: Mapping[str, Kind]) -> Work[None]:
        yield self._queries.remember(table.name, fresh, adopted=False)
        declared = self._declared(table, fresh)
        yield from self._add_columns(table.name, declared)
        if table.keeps_history:
            yield from self._add_columns(table.name + HISTORY_SUFFIX, declared)

    def _declared(self, table: EntityTable, fresh: Mapping[str, Kind]) -> dict[str, str]:
        known = {field: kind for field, kind in fresh.items() if kind is not Kind.UNKNOWN}
        return {field: self._dialect.column_type(kind, adopted=table.adopted) for field, kind in known.items()}

    def _add_columns(self, table_name: str, declared: Mapping[str, str]) -> Work[None]:
        for statement in self._dialect.add_columns(table_name, declared):
            yield (statement, ())

    def _widen(self, table: EntityTable, column: Column, kind: Kind, value: Any) -> Work[bool]:
        """Makes a field that is known hold a value of this kind too; whether anything had to change."""
        if kind is Kind.UNKNOWN or (column.physical and merged(column.kind, kind, value) is column.kind):
            return False
        if not column.physical:
            yield from self._make_column(table, column, kind, value)
        elif column.adopted:
            yield from self._learn(table, column, kind, value)
        else:
            names = [table.name, table.name + HISTORY_SUFFIX] if table.keeps_history else [table.name]
            yield from self._retype(table, column, kind, value, names)
        return True

    def _make_column(self, table: EntityTable, column: Column, kind: Kind, value: Any) -> Work[None]:
        """The column of a field that was only ever None, or whose column the application dropped."""
        history = table.name + HISTORY_SUFFIX
        rows = (yield self._queries.list_columns(history)) if table.keeps_history else []
        kept = any(row[0] == column.name for row in rows)
        new = merged(column.kind, kind, value) if kept else kind
        if new is not column.kind and kept:
            new = yield from self._retype(table, column, kind, value, [history])
        yield self._queries.remember(table.name, {column.name: new}, adopted=False)
        declared = self._dialect.column_type(new, adopted=table.adopted)
        yield from self._add_columns(table.name, {column.name: declared})
        if table.keeps_history and not kept:
            yield from self._add_columns(history, {column.name: declared})

    def _learn(self, table: EntityTable, column: Column, kind: Kind, value: Any) -> Work[None]:
        """What an application's own column holds: its declared type is storage, its values tell the kind."""
        where = f"[{column.name}]: this column of your own table {table.name!r}"
        new = merged(column.kind, kind, value)
        may_hold = partial(self._dialect.may_hold, column.declared)
        if new is Kind.INT and may_hold(Kind.FLOAT) and not may_hold(Kind.INT) and is_exact_float(value):
            new = Kind.FLOAT
        if column.kind is Kind.UNKNOWN and not may_hold(new):
            raise UnsupportedValue(f"{where} is declared {column.declared} and cannot hold {kind}.")
        beyond = (column.kind, new) == (Kind.INT, Kind.FLOAT) and (
            yield self._queries.find_beyond(table.name, column.name, EXACT_FLOAT)
        )
        if new is Kind.VARIANT or beyond or not may_hold(new):
            new = kind
            if not may_hold(kind) or (yield self._queries.find_value(table.name, column.name)):
                raise UnsupportedValue(f"{where} holds {column.kind}, not {kind}.")
        for statement in self._dialect.learn(column, new):
            yield (statement, ())
        yield self._queries.remember(table.name, {column.name: new}, adopted=True)

    def _retype(self, table: EntityTable, column: Column, kind: Kind, value: Any, tables: Sequence[str]) -> Work[Kind]:
        """Turns a column of the store's own, in these tables, into the kind that holds old and new values alike."""
        if column.name == WORKSPACE_FIELD and column.kind is Kind.STR:
            # One row of another kind would shut every workspace out of the table, and there is no way back to text.
            raise UnsupportedValue(
                f"[{column.name}] of {table.name!r} holds text, by which in_workspace() tells whose a row is, and not"
                f" {kind}; save it as text."
            )
        wider = merged(column.kind, kind, value)
        new = yield from self._wider(column, wider, tables)
        if new is Kind.VARIANT:
            _log.warning(
                "mixed_kinds",
                extra={"entity": table.name, "field": column.name, "kinds": [str(column.kind), str(kind)]},
            )
        yield from self._lock_to_retype(table)
        for name in tables:
            indexes = yield self._queries.list_indexes_on(name, column.name)
            for index in indexes:
                yield (self._dialect.drop_index(index[0], name), ())
            declared = self._dialect.column_type(new, adopted=table.adopted)
            yield from self._dialect.retype_column(name, column.name, column.kind, new, declared, through=wider)
            for index in indexes:
                yield (index[1], ())
        yield self._queries.remember(table.name, {column.name: new}, adopted=False)
        return new

    def _wider(self, column: Column, new: Kind, tables: Sequence[str]) -> Work[Kind]:
        """The kind that a column gets, where `new` may have no room for a number that is in it already."""
        limits = {(Kind.INT, Kind.FLOAT): EXACT_FLOAT, (Kind.BIGINT, Kind.DECIMAL): self._dialect.decimal_room}
        limit = limits.get((column.kind, new))
        for name in tables if limit is not None else ():
            if (yield self._queries.find_beyond(name, column.name, limit or 0)):
                return Kind.VARIANT
        return new
