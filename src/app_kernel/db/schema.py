"""What tables and columns there are, and how they grow: DDL runs only when a write needs what is not there.

The catalog table remembers the kind of every field. A generation number moves on with every change of it, so that
every process notices: a statement compiled for an older generation is compiled anew.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from app_kernel.core.errors import InvalidName, SchemaLimit, UnsupportedTable, UnsupportedValue
from app_kernel.core.tables import Index, Table
from app_kernel.db import catalog
from app_kernel.db.catalog import load_table
from app_kernel.db.dialects.queries import Queries
from app_kernel.db.drivers.base import ANY_GENERATION, Row, Session, Statement, Work
from app_kernel.db.kinds import EXACT_FLOAT, Kind, is_exact_float, kind_of_type, merged
from app_kernel.db.names import check_case
from app_kernel.db.table import HISTORY_FIELDS, HISTORY_SUFFIX, OWNED_FIELDS, Column, EntityTable

_log = logging.getLogger("app_kernel.db")

_MAX_CACHED = 20_000
"""Tables remembered at most, existing or not, so that names out of requests cannot fill the memory."""


class Schema:
    """The tables as this process knows them; inside a transaction, as they are there."""

    def __init__(
        self, session: Session, *, max_entities: int = 2000, max_fields: int = 500, outer: "Schema | None" = None
    ) -> None:
        self._session = session
        self._dialect = session.dialect
        self._queries: Queries = catalog.queries_for(session.dialect)
        self._max_entities = max_entities
        self._max_fields = max_fields
        self._tables: dict[str, EntityTable] = {}
        self._outer = outer
        """What was known before the transaction, and is true in it as long as it changes no table."""
        self._without_history: set[str] = set()

    def known(self, name: str) -> EntityTable | None:
        """The table, if this process has seen it at the current generation."""
        table = self._tables.get(name)
        if table is None and self._outer is not None:
            table = self._outer._tables.get(name)  # noqa: SLF001 - of the same class
        return table if table is not None and table.generation == self._session.generation else None

    def inside(self, session: Session) -> "Schema":
        """The schema as a transaction has it: what is known here holds there until it changes something."""
        inner = Schema(session, max_entities=self._max_entities, max_fields=self._max_fields, outer=self)
        inner._without_history = self._without_history
        return inner

    async def table(self, name: str) -> EntityTable:
        """The table at the current generation; one without columns when the database has none of this name."""
        table = self.known(name)
        while table is None:
            await self._session.fetch(*self._queries.find_generation(), observed=True)
            generation = self._session.generation
            loaded = await self._load(name, generation)
            await self._session.fetch(*self._queries.find_generation(), observed=True)
            if self._session.generation == generation:
                table = self._remember(loaded)
        return table

    async def ensure(self, name: str, kinds: Mapping[str, tuple[Kind, Any]]) -> None:
        """Makes the table and the columns that a write of these values needs; `kinds` maps a field to kind and value.

        Another process may do the same at the same instant: everything is looked at again under the schema's lock.
        """
        await self._session.define(lambda: self._grow(name, kinds))

    async def declare(self, name: str, types: Mapping[str, type]) -> None:
        """Makes the table and the columns for values of these types; does nothing where all is there.

        Raises UnsupportedValue when a field holds another kind, which cannot hold these values as well unaltered.
        """
        # Any column that can hold integers can hold this one.
        kinds = {
            field: (kind_of_type(python_type), 0 if python_type is int else None)
            for field, python_type in types.items()
        }
        known = await self.table(name)
        if not (known.ready and known.exists and all(_holds(known, field, *kinds[field]) for field in kinds)):
            await self._session.define(lambda: self._declare(name, kinds))

    async def ensure_table(self, table: Table) -> None:
        """Makes a declared table with its columns and indexes; does nothing where all is there."""
        if not table.history:
            self._without_history.add(table.name)
        kinds: dict[str, tuple[Kind, Any]] = {name: (kind_of_type(kind), None) for name, kind in table.fields.items()}
        known = await self.table(table.name)
        if any(not known.has(name) for name in (*kinds, "id", *OWNED_FIELDS)):
            await self.ensure(table.name, kinds)
        missing = [index for index in table.indexes if not await self._has_index(index_name(table.name, index))]
        if missing:
            await self._session.define(lambda: self._create_indexes(table.name, missing))

    def wants_history(self, table: EntityTable) -> bool:
        """Whether a table has a history, or gets one with its first write."""
        return table.keeps_history or (table.adopted and table.name not in self._without_history)

    async def make_index(self, name: str, index: Index) -> None:
        """Makes an index of a table, unless there is one."""
        if await self.missing_index(name, index) is not None:
            await self._session.define(lambda: self._make_index(name, index))

    async def missing_index(self, name: str, index: Index) -> str | None:
        """What to call the index that is to be made; None when there is such a one, whole and of this table."""
        for candidate in index_names(name, index):
            rows = await self._session.fetch(*self._queries.describe_index(candidate))
            if (found := _fits(rows, name, index)) is not None:
                return None if found else candidate
        return candidate

    async def drop_failed_index(self, name: str, index: str) -> None:
        """Drops an index that was not built to its end; waits for somebody who builds one of this table now."""
        await self._session.write(lambda: self._drop_failed_index(name, index), ANY_GENERATION, name)

    def forget(self) -> None:
        """Forgets every table, after the database turned out to be different from what was known."""
        self._tables.clear()
        self._outer = None

    def _remember(self, table: EntityTable) -> EntityTable:
        if not table.exists:
            # Reading one that is not there runs no statement which would tell that another process made it.
            return table.prepare(self._dialect.decoder)
        if len(self._tables) >= _MAX_CACHED:
            self._tables.clear()
        self._tables[table.name] = table.prepare(self._dialect.decoder)
        return table

    async def _load(self, name: str, generation: int) -> EntityTable:
        """Runs the loading work statement by statement, as reads."""
        work = load_table(self._queries, self._dialect, name)
        statement: Statement = next(work)
        while True:
            rows = await self._session.fetch(*statement)
            try:
                statement = work.send(rows)
            except StopIteration as done:
                table: EntityTable = done.value
                return replace(table, generation=generation, ready=self._is_ready(table))

    def _is_ready(self, table: EntityTable) -> bool:
        if table.history_lacks or not all(table.has(field) for field in OWNED_FIELDS):
            return False
        return table.keeps_history or not self.wants_history(table)

    async def _has_index(self, name: str) -> bool:
        return bool(await self._session.fetch(*self._queries.find_index(name)))

    def _create_indexes(self, table_name: str, indexes: Iterable[Index]) -> Work[None]:
        for index in indexes:
            name = index_name(table_name, index)
            yield (self._dialect.create_index(name, table_name, index.fields, unique=index.unique), ())

    def _make_index(self, name: str, index: Index) -> Work[None]:
        for candidate in index_names(name, index):
            rows = yield self._queries.describe_index(candidate)
            found = _fits(rows, name, index)
            if found:
                return
            if found is False:
                if rows:
                    yield (f"DROP INDEX {self._dialect.quote(candidate)}", ())
                break
        yield (self._dialect.create_index(candidate, name, index.fields, unique=index.unique), ())

    def _drop_failed_index(self, name: str, index: str) -> Work[None]:
        lock = self._dialect.lock_against_definitions(name)
        if lock is not None:
            yield (lock, ())
        rows = yield self._queries.describe_index(index)
        if rows and rows[0][0] == name and not rows[0][2]:
            yield (f"DROP INDEX {self._dialect.quote(index)}", ())

    def _grow(self, name: str, kinds: Mapping[str, tuple[Kind, Any]]) -> Work[None]:
        table = yield from load_table(self._queries, self._dialect, name)
        if table.refusal:
            raise UnsupportedTable(table.refusal)
        changed = False
        if not table.exists:
            yield from self._create(name)
            table = yield from load_table(self._queries, self._dialect, name)
            changed = True
        elif (yield from self._adopt(table)):
            table = yield from load_table(self._queries, self._dialect, name)
            changed = True
        for field, (kind, value) in kinds.items():
            if (yield from self._grow_field(table, field, kind, value)):
                table = yield from load_table(self._queries, self._dialect, name)
                changed = True
        if changed:
            yield self._queries.bump_generation()

    def _declare(self, name: str, kinds: Mapping[str, tuple[Kind, Any]]) -> Work[None]:
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
        yield from self._grow(name, kinds)

    def _create(self, name: str) -> Work[None]:
        rows = yield self._queries.list_entities()
        check_case("entity", name, [row[0] for row in rows])
        if sum(not row[0].startswith("kernel_") for row in rows) >= self._max_entities:
            raise SchemaLimit(f"This database has {self._max_entities} entities, which is the limit.")
        kind_rows = yield self._queries.find_object(name)
        if kind_rows:
            raise InvalidName(f"The name {name!r} is taken by a {kind_rows[0][0]} of the database.")
        yield (self._dialect.create_table(name), ())
        yield self._queries.remember(name, "id", Kind.STR, adopted=False)
        if name not in self._without_history:
            yield from self._create_history(name, {"id": self._dialect.id_type} | _types(self._dialect, OWNED_FIELDS))

    def _create_history(self, name: str, columns: Mapping[str, str]) -> Work[None]:
        """The history's table; raises UnsupportedTable when another table has its name."""
        rows = yield self._queries.list_columns(name + HISTORY_SUFFIX)
        have = {row[0] for row in rows}
        if not have:
            yield (self._dialect.create_history(name, columns), ())
            return
        natural = self._dialect.natural_kind
        # An older table of the same name may have left it, whose columns would alter what is copied into them.
        alters = any(row[0] in columns and natural(row[1]) is not natural(columns[row[0]]) for row in rows)
        if alters or not have >= {"id", "_version", *HISTORY_FIELDS}:
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
        for field in missing:
            yield (self._dialect.add_column(table.name, field, self._dialect.types[OWNED_FIELDS[field]]), ())
        if not wants_history:
            return True
        declared = {column.name: column.declared for column in table.columns.values() if column.physical}
        declared |= {field: self._dialect.types[OWNED_FIELDS[field]] for field in missing}
        yield from self._create_history(table.name, declared)
        for field in declared if have else ():
            if field not in have:
                yield (self._dialect.add_column(table.name + HISTORY_SUFFIX, field, declared[field]), ())
        return True

    def _grow_field(self, table: EntityTable, field: str, kind: Kind, value: Any) -> Work[bool]:
        column = table.columns.get(field)
        if column is None:
            check_case("field", field, table.columns)
            if len(table.columns) >= self._max_fields:
                raise SchemaLimit(f"{table.name!r} has {self._max_fields} fields, which is the limit.")
            yield self._queries.remember(table.name, field, kind, adopted=False)
            if kind is not Kind.UNKNOWN:
                yield from self._add_column(table, field, kind)
            return True
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
        yield self._queries.remember(table.name, column.name, new, adopted=False)
        declared = self._dialect.column_type(new, adopted=table.adopted)
        yield (self._dialect.add_column(table.name, column.name, declared), ())
        if table.keeps_history and not kept:
            yield (self._dialect.add_column(history, column.name, declared), ())

    def _add_column(self, table: EntityTable, field: str, kind: Kind) -> Work[None]:
        declared = self._dialect.column_type(kind, adopted=table.adopted)
        yield (self._dialect.add_column(table.name, field, declared), ())
        if table.keeps_history:
            yield (self._dialect.add_column(table.name + HISTORY_SUFFIX, field, declared), ())

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
        yield self._queries.remember(table.name, column.name, new, adopted=True)

    def _retype(self, table: EntityTable, column: Column, kind: Kind, value: Any, tables: Sequence[str]) -> Work[Kind]:
        """Turns a column of the store's own, in these tables, into the kind that holds old and new values alike."""
        new = merged(column.kind, kind, value)
        if (column.kind, new) == (Kind.INT, Kind.FLOAT):
            for name in tables:
                found = yield self._queries.find_beyond(name, column.name, EXACT_FLOAT)
                new = Kind.VARIANT if found else new
        if new is Kind.VARIANT:
            _log.warning(
                "mixed_kinds",
                extra={"entity": table.name, "field": column.name, "kinds": [str(column.kind), str(kind)]},
            )
        for name in tables:
            indexes = yield self._queries.list_indexes_on(name, column.name)
            for index in indexes:
                yield (f"DROP INDEX {self._dialect.quote(index[0])}", ())
            declared = self._dialect.column_type(new, adopted=table.adopted)
            yield from self._dialect.retype_column(name, column.name, column.kind, new, declared)
            for index in indexes:
                yield (index[1], ())
        yield self._queries.remember(table.name, column.name, new, adopted=False)
        return new


def index_name(table_name: str, index: Index) -> str:
    """The name of an index: readable where it fits 63 bytes, else shortened by a hash."""
    kind = "ux" if index.unique else "ix"
    name = f"{kind}_{table_name}_{'_'.join(index.fields)}"
    if len(name) <= 63:
        return name
    return f"{name[:50]}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def index_names(table_name: str, index: Index) -> tuple[str, str]:
    """The name of an index, and the one that it has where another index has that name already."""
    name = index_name(table_name, index)
    return name, f"{name[:50]}_{hashlib.sha256('|'.join((table_name, *index.fields)).encode()).hexdigest()[:12]}"


def _fits(rows: Sequence[Row], table_name: str, index: Index) -> bool | None:
    """Whether the described index is this one and whole; None when the name belongs to another index."""
    if not rows:
        return False
    table, fields, is_whole = rows[0][:3]
    # Where it makes pages faster, an index that is not unique ends with the id.
    is_same = table == table_name and fields.removesuffix(",id") == ",".join(index.fields).removesuffix(",id")
    return bool(is_whole) if is_same else None


def _holds(table: EntityTable, field: str, kind: Kind, value: Any) -> bool:
    """Whether a column holds values of a kind already."""
    column = table.columns.get(field)
    if column is None or not column.physical or column.kind in (Kind.UNKNOWN, Kind.VARIANT):
        return False
    return merged(column.kind, kind, value) is column.kind


def _types(dialect: Any, kinds: Mapping[str, Kind]) -> dict[str, str]:
    return {name: dialect.types[kind] for name, kind in kinds.items()}
