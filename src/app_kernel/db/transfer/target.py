"""The database that is filled: tables made after shapes, rows with the progress in their commit, and the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app_kernel.core.engine_tables import EngineTables
from app_kernel.core.errors import (
    ConstraintViolation,
    InvalidQuery,
    SchemaLimit,
    TargetNotEmpty,
    UncopiableTable,
    UnsupportedValue,
)
from app_kernel.core.tables import Index
from app_kernel.db.catalog import load_table, queries_for, read_work
from app_kernel.db.drivers.base import ANY_GENERATION, Driver, Statement, Unit, Work
from app_kernel.db.errors import SchemaFact
from app_kernel.db.indexes import Indexes
from app_kernel.db.kinds import Kind
from app_kernel.db.portable import compile_raw
from app_kernel.db.transfer.definitions import create_statements, index_statement, missing_fields, own_index_name
from app_kernel.db.transfer.inventory import LAYOUT, OUTBOX, ReadTable, with_kinds
from app_kernel.db.transfer.marks import TRANSFER_TABLE, Mark, Marks, Progress, is_under_way
from app_kernel.db.transfer.shapes import IndexShape, Inventory, Role, TableShape
from app_kernel.db.transfer.wire import Codec, WireRow
from app_kernel.db.transfer.words import words_for

_REFUSED = (UnsupportedValue, InvalidQuery, ConstraintViolation, SchemaLimit, ValueError, TypeError, ArithmeticError)
"""What says that a row cannot be stored, and not that the database is away."""
_SHOWN = 5


class _Undo(Exception):
    """Takes back what was only tried."""


@dataclass(frozen=True, slots=True)
class TargetTable:
    """A table of the target, ready for rows."""

    read: ReadTable
    codec: Codec
    names: tuple[str, ...]
    """The columns that are written: all but those that the database computes."""
    places: tuple[int, ...] | None
    """Where these stand in a row; None where they are the whole row."""


class Target:
    """An open database that is being filled."""

    def __init__(self, driver: Driver, engines: Sequence[EngineTables]) -> None:
        self.driver = driver
        self.dialect = driver.dialect
        self.words = words_for(driver.dialect)
        self.shapes: dict[str, TableShape] = {}
        """The tables that are there, as they were made."""
        self.progress: dict[str, Progress] = {}
        self._engines = engines
        self._queries = queries_for(driver.dialect)
        self._marks = Marks(driver.dialect)
        self._tables: dict[str, TargetTable] = {}

    # The beginning.

    async def begin(self, mark: Mark, *, start_over: bool = False) -> bool:
        """Marks the database as being filled; whether it was so already, by the same transfer.

        Raises TargetNotEmpty where it holds anything else. With `start_over`, what an unfinished transfer left is
        removed first.
        """
        if await is_under_way(self.driver):
            known, self.shapes, self.progress = await self._marks.read(self.driver)
            if not start_over and known == mark:
                return True
            if not start_over:
                raise TargetNotEmpty(
                    f"This database holds an unfinished {known.what if known else 'transfer'} of something else, or"
                    " with other options. Run that command again, or add --start-over, which removes what it left."
                )
            await self._clear()
        await self._refuse_non_empty()
        await self._define(self._marks.create(mark))
        return False

    async def _refuse_non_empty(self) -> None:
        found = [str(row[0]) for row in await self.driver.fetch(*self.words.list_tables())]
        others = [name for name in found if name not in LAYOUT | OUTBOX]
        others += [
            name
            for name in sorted(OUTBOX)
            if await self.driver.fetch(f"SELECT 1 FROM {self.dialect.table(name)} LIMIT 1", ())
        ]
        if others:
            shown = ", ".join(others[:_SHOWN]) + (f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else "")
            raise TargetNotEmpty(
                f"The target is not empty: it has {shown}. Use a new database, schema or file; nothing is overwritten."
            )

    async def _clear(self) -> None:
        """Removes all that is there, but what every database has."""
        tables = [str(row[0]) for row in await self.driver.fetch(*self.words.list_tables())]
        others = [(str(row[0]), str(row[1])) for row in await self.driver.fetch(*self.words.list_others())]
        statements: list[Statement] = [
            *((self.words.drop_table(name), ()) for name in tables if name not in LAYOUT | OUTBOX),
            *((f"DROP VIEW IF EXISTS {self.dialect.table(name)}", ()) for what, name in others if what == "view"),
        ]
        statements += [(f"DELETE FROM {self.dialect.table(name)}", ()) for name in sorted(OUTBOX)]
        statements += [("DELETE FROM kernel_catalog", ()), *self._marks.end()]
        await self._define(statements)
        self.shapes, self.progress, self._tables = {}, {}, {}

    # Tables.

    async def arrange(self, inventory: Inventory) -> None:
        """Makes the tables that are missing, removes those that are gone, and makes anew what has changed its shape."""
        wanted = {shape.name: shape for shape in inventory.tables}
        for name in [name for name in self.shapes if name not in wanted]:
            await self._drop(name)
        for shape in wanted.values():
            known = self.shapes.get(shape.name)
            if known is None or not known.is_as(shape):
                added = None if known is None else missing_fields(self.dialect, known, shape)
                if added:
                    await self._widen(shape, added, inventory.backend)
                else:
                    await self._make(shape, inventory.backend)
            elif known != shape:
                await self.write([self._marks.set_shape(shape)])
                self.shapes[shape.name] = shape
        await self._remember(inventory)

    async def _drop(self, name: str) -> None:
        removes = (
            (f"DELETE FROM {self.dialect.table(name)}", ()) if name in OUTBOX else (self.words.drop_table(name), ())
        )
        await self._define([removes, *self._marks.forget_table(name)])
        self._forget(name)

    async def _make(self, shape: TableShape, backend: str) -> None:
        if shape.role is Role.ENGINE:
            statements = await self._engine_statements(shape.name)
        else:
            statements = [(self.words.drop_table(shape.name), ())]
            statements += [(sql, ()) for sql in create_statements(self.words, shape, backend)]
        await self._define([*statements, *self._marks.add_table(shape)])
        self._forget(shape.name)
        self.shapes[shape.name], self.progress[shape.name] = shape, Progress()

    async def empty(self, name: str) -> None:
        """Removes all rows of a table that is there, which is to be filled anew."""
        sql = f"DELETE FROM {self.dialect.table(name)}"
        await self.write([(sql, ()), self._marks.set_progress(name, Progress())])
        self.progress[name] = Progress()

    async def _engine_statements(self, name: str) -> list[Statement]:
        empty: Statement = (f"DELETE FROM {self.dialect.table(name)}", ())
        if name in OUTBOX or await self.driver.fetch(*self._queries.list_columns(name)):
            return [empty]
        for engine in self._engines:
            if name in engine.names:
                made = engine.create(self.dialect.name)
                return [(compile_raw(sql, self.dialect), ()) for sql in made]
        raise UncopiableTable(f"This version does not know what {name!r} is for; leave it out with --skip {name}.")

    async def _widen(self, shape: TableShape, added: Mapping[str, str], backend: str) -> None:
        statements: list[Statement] = [(sql, ()) for sql in self.dialect.add_columns(shape.name, added)]
        try:
            await self._define([*statements, self._marks.set_shape(shape)])
        except SchemaFact:
            # A stop may have left some of them, where a database commits each change of a table by itself.
            await self._make(shape, backend)
            return
        self._tables.pop(shape.name, None)
        self.shapes[shape.name] = shape

    async def _remember(self, inventory: Inventory) -> None:
        """The catalog, word for word."""
        have = await self.driver.fetch("SELECT entity, field, kind, adopted FROM kernel_catalog ORDER BY 1, 2", ())
        if [(str(row[0]), str(row[1]), str(row[2]), int(row[3])) for row in have] == sorted(inventory.catalog):
            return
        statements: list[Statement] = [("DELETE FROM kernel_catalog", ())]
        for entity, field, kind, adopted in inventory.catalog:
            statements.append(self._queries.remember(entity, {field: Kind(kind)}, adopted=bool(adopted)))
        await self._define(statements)

    def _forget(self, name: str) -> None:
        self.shapes.pop(name, None)
        self.progress.pop(name, None)
        self._tables.pop(name, None)

    async def table(self, name: str) -> TargetTable:
        """A table that was made, ready for rows."""
        if name not in self._tables:
            shape = self.shapes[name]
            loaded = await read_work(self.driver, load_table(self._queries, self.dialect, name))
            table = with_kinds(loaded, {each.name: each.kind for each in shape.fields}, self.dialect)
            if table.names != shape.names:
                lacking = ", ".join(sorted(set(shape.names) - set(table.names)))
                raise UncopiableTable(
                    f"The table {name!r} of this version has no [{lacking}], which the other one has."
                )
            names = tuple(each for each in table.names if not table.columns[each].generated)
            places = None if names == table.names else tuple(table.names.index(each) for each in names)
            self._tables[name] = TargetTable(ReadTable(shape, table), Codec(self.dialect, table), names, places)
        return self._tables[name]

    # Rows.

    async def add(self, name: str, rows: Sequence[WireRow], progress: Progress | None = None) -> None:
        """Writes new rows, and with them how far the table has come; raises UncopiableTable for one that is refused."""
        table = await self.table(name)
        end = [] if progress is None else [self._marks.set_progress(name, progress)]
        try:
            statements = self._load(table, rows)
            await self.write([*statements, *end])
        except _REFUSED as exc:
            await self._tell_row(table, rows, exc)
            raise UncopiableTable(f"Rows of {name!r} cannot be stored in {self.dialect.name}: {_text(exc)}") from exc
        if progress is not None:
            self.progress[name] = progress

    async def set_progress(self, name: str, progress: Progress) -> None:
        """How far a table has come."""
        await self.write([self._marks.set_progress(name, progress)])
        self.progress[name] = progress

    async def write(self, statements: Sequence[Statement]) -> None:
        """All of the statements in one commit."""
        await self.driver.write(_all(statements), ANY_GENERATION, "kernel_meta")

    def _load(self, table: TargetTable, rows: Sequence[WireRow]) -> list[Statement]:
        encoded = table.codec.to_rows(rows)
        if table.places is not None:
            encoded = [[row[at] for at in table.places] for row in encoded]
        return list(self.words.load(table.read.table, table.names, encoded))

    async def _tell_row(self, table: TargetTable, rows: Sequence[WireRow], exc: BaseException) -> None:
        """Raises UncopiableTable that names the first row which is refused by itself."""
        shape = table.read.shape
        for row in rows:
            try:
                statements = self._load(table, [row])
                await self.driver.write(_tried(statements), ANY_GENERATION, "kernel_meta")
            except _Undo:
                continue
            except _REFUSED as refused:
                key = ", ".join(f"{name} {row[shape.names.index(name)]!r}" for name in shape.key) or "without a key"
                raise UncopiableTable(
                    f"A row of {shape.name!r} ({key}) cannot be stored in {self.dialect.name}: {_text(refused)}"
                ) from exc

    # The end.

    async def make_indexes(self, shape: TableShape, backend: str) -> list[IndexShape]:
        """Makes the indexes of a filled table; those that it cannot make."""
        left_out = []
        indexes = Indexes(self.driver, self._queries)
        for index in shape.indexes:
            if index.is_stores:
                await self._make_stores(indexes, shape.name, Index(index.fields, index.unique))
                continue
            sql = index_statement(self.words, shape, index, backend)
            if sql is None:
                left_out.append(index)
            elif sql and not await self.driver.fetch(*self._queries.describe_index(own_index_name(shape, index))):
                await self._define([(sql, ())])
        return left_out

    async def _make_stores(self, indexes: Indexes, table: str, index: Index) -> None:
        name = await indexes.missing(table, index)
        if name is None:
            return
        if not self.dialect.builds_aside:
            await indexes.ensure(table, index)
            return
        await indexes.drop_failed(table, name)
        # In no transaction, because it may take longer than a statement of a service may. Not beside other writers,
        # of whom there are none: that would wait for the snapshot of a source on the same server.
        await self.driver.build(self.dialect.create_index(name, table, index.fields, unique=index.unique))

    async def analyze(self, names: Sequence[str]) -> None:
        """Has the database look at filled tables."""
        sql = self.dialect.analyze(names) if names else None
        if sql is not None:
            await self.driver.build(sql)

    async def go_on_after(self, shape: TableShape, number: int) -> None:
        """Numbers that the database assigns begin above this one."""
        if shape.assigned is not None and number > 0:
            await self._define(self.words.go_on_after(shape.name, shape.assigned, number))

    async def run_definitions(self, definitions: Sequence[str]) -> None:
        """Views and triggers, as the other database of the same kind spells them."""
        await self._define([(sql, ()) for sql in definitions])

    async def finish(self, last: Sequence[Statement]) -> None:
        """The last statements, and in their commit the end of the transfer: from now on a service may open it."""
        await self._define([])
        await self.write([*last, *self._marks.end()])
        # Empty by now; a stop before this leaves it, and does no harm.
        await self._define([(self.words.drop_table(TRANSFER_TABLE), ())])

    async def _define(self, statements: Sequence[Statement]) -> None:
        bump: Statement = self._queries.bump_generation()
        await self.driver.define(_all([*statements, bump]))


def _all(statements: Sequence[Statement]) -> Unit[None]:
    def work() -> Work[None]:
        for statement in statements:  # noqa: UP028 - a generator with `yield from` over a list cannot be sent rows
            yield statement

    return work


def _tried(statements: Sequence[Statement]) -> Unit[None]:
    def work() -> Work[None]:
        for statement in statements:  # noqa: UP028 - as above
            yield statement
        raise _Undo

    return work


def _text(exc: BaseException) -> str:
    return str(getattr(exc, "message", "") or exc)
