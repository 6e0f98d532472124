"""Standard SQL; each database overrides only what it spells differently."""

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, TypeAlias

from app_kernel.db.dialects import outbox_tables
from app_kernel.db.dialects.expressions import Expressions
from app_kernel.db.kinds import Kind, kind_of
from app_kernel.db.table import (
    HISTORY_FIELDS,
    HISTORY_SUFFIX,
    OWNED_FIELDS,
    WORKSPACE_FIELD,
    Column,
    Decoder,
    EntityTable,
)

Encoder = Callable[[Any], Any]
Steps: TypeAlias = Generator[tuple[str, Sequence[Any]], list[Sequence[Any]], None]
"""Statements with their params, one after the other; each is sent the rows of the one before."""


class Dialect(Expressions):
    """How one database spells the statements of the store."""

    name: ClassVar[str]
    types: ClassVar[Mapping[Kind, str]]
    """The column type of each kind."""
    id_type: ClassVar[str]
    serial_type: ClassVar[str]
    """A primary key of whole numbers that the database assigns, each greater than all before it."""
    generation_column: ClassVar[str] = ""
    """What an observed SELECT has as its last column, comma included, where no cheaper way tells the generation."""
    encoders: ClassVar[Mapping[Kind, Encoder]]
    """From a value, as `kinds.as_kind` has it, to what the driver takes; kinds that pass as they are have none."""
    decoders: ClassVar[Mapping[Kind, Decoder]]
    """From what the driver gives to the value; kinds that pass as they are have none."""
    exact_kinds: ClassVar[frozenset[Kind]]
    """Kinds that a column of the store's own gives as they are; only the application's own need their decoders."""
    kind_beside_float: ClassVar[Kind] = Kind.FLOAT
    """The kind in which an int compares with a float, so that neither is rounded."""

    def placeholder(self, position: int, kind: Kind | None = None, storage: str = "") -> str:
        """The parameter at `position`, from 1; of `kind` where a database would have to guess its type.

        `storage` is what `storage` says of the column that it is compared with.
        """
        return "?"

    def kind_of(self, field: str, value: Any) -> Kind:
        """The kind in which a value that is not None is stored; raises UnsupportedValue for one that cannot be kept."""
        return kind_of(field, value)

    tells_kinds: ClassVar[bool] = False
    """Whether every column of the store's own tells its kind."""
    decimal_room: ClassVar[int | None] = None
    """Integers beyond this do not fit into a column of Decimals; None where all do."""

    def told_kind(self, declared: str) -> Kind | None:
        """The kind that a type says of itself where the catalog may be behind; None where it is the catalog's."""
        return None

    def encode(self, kind: Kind, value: Any) -> Any:
        """A value of `kind` as the driver takes it."""
        encoder = self.encoders.get(kind)
        return value if encoder is None else encoder(value)

    def read(self, kind: Kind, stored: Any) -> Any:
        """A value that is not None as the driver gives it, read as `kind`; as stored where it does not read so."""
        decode = self.decoders.get(kind)
        if decode is None:
            return stored
        try:
            return decode(stored)
        except (ValueError, TypeError, ArithmeticError, KeyError, AttributeError):
            return stored

    def encode_raw(self, kind: Kind, value: Any) -> Any:
        """A value of `kind` as the driver takes it in a statement of the caller's own."""
        return self.encode(kind, value)

    def decoder(self, column: Column) -> Decoder | None:
        """From what the driver gives of a column to the value; None where it passes as it is."""
        decode = self.decoders.get(column.kind)
        return None if column.kind in self.exact_kinds and not column.adopted else decode

    def is_same(self, column: Column, stored: Any, encoded: Any, given: Any) -> bool:
        """Whether a column holds already what a save gives, here as `encode` made it and as the caller gave it.

        Equal Decimals are the same; and an application's own column may hold a value in another spelling.
        """
        if stored == encoded:
            return True
        if stored is None or given is None or not (column.adopted or column.kind is Kind.DECIMAL):
            return False
        value = self.read(column.kind, stored)
        return bool(value == (Decimal(given) if type(given) is int and type(value) is Decimal else given))

    @abstractmethod
    def natural_kind(self, declared: str) -> Kind:
        """What a column that the application declared holds, as far as its type tells; UNKNOWN when it does not."""

    @abstractmethod
    def may_hold(self, declared: str, kind: Kind) -> bool:
        """Whether a column that the application declared can hold values of `kind` unaltered."""

    # Statements over one table.

    def column_list(self, names: Iterable[str]) -> str:
        """Names as they stand in INSERT and where rows are copied: always listed, never `*`."""
        return ", ".join(map(self.quote, names))

    def read_list(self, table: EntityTable) -> str:
        """Every column as it stands in SELECT and RETURNING."""
        return self.column_list(table.names)

    def written(self, position: int, column: Column) -> str:
        """The parameter at `position` as a column stores it, encoded for the column's kind."""
        return self.placeholder(position, column.kind)

    def id_condition(self, table: EntityTable, position: int) -> str:
        """The condition that finds one row."""
        return f"{self.quote('id')} = {self.placeholder(position)}"

    # A table that one workspace sees has `inside` in every statement that finds rows; `EntityTable.bound` gives its
    # parameter, always the last one, so that a statement which forgot it has one parameter too many and does not run.

    def inside(self, table: EntityTable, position: int) -> str:
        """AND the row is of the workspace that sees the table, which is the parameter at `position`; else nothing."""
        return "" if table.workspace is None else f" AND {self.is_inside(table, position)}"

    def is_inside(self, table: EntityTable, position: int) -> str:
        """The row is of the workspace at `position`; never so where the table has no such field."""
        mark = self.placeholder(position, Kind.STR)
        if not table.has(WORKSPACE_FIELD):
            return f"NULL = {mark}"
        return self.equals_text(table.columns[WORKSPACE_FIELD], mark)

    def equals_text(self, column: Column, mark: str) -> str:
        """A column of text holds a text to the byte, whatever collation an application gave it."""
        return f"{self.quote(column.name)} = {mark}"

    def select_by_id(self, table: EntityTable, *, include_deleted: bool) -> str:
        """One row by id, with the generation where it is read so."""
        alive = "" if include_deleted or not table.has("deleted_at") else f" AND {self.quote('deleted_at')} IS NULL"
        inside = self.inside(table, 2)
        found = f" FROM {self.table(table.name)} WHERE {self.id_condition(table, 1)}{alive}{inside}"
        return f"SELECT {self.read_list(table)}{self.generation_column}{found}"

    def select_to_write(self, table: EntityTable, *, everybodys: bool = False) -> str:
        """One row by id, deleted or not, which nobody else changes until the unit of work ends.

        With `everybodys`, also of another workspace than the one that sees the table.
        """
        found = self.id_condition(table, 1) + ("" if everybodys else self.inside(table, 2))
        return f"SELECT {self.read_list(table)} FROM {self.table(table.name)} WHERE {found}{self.row_lock}"

    saves_at_once: ClassVar[bool] = False
    """Whether a save in one statement is faster than a unit of work."""

    most_at_once: ClassVar[int | None] = None
    """Characters of values and messages beyond which it is not, being too long; None where it never is."""

    def find_triggers(self, name: str) -> tuple[str, Sequence[Any]]:
        """A row for each trigger of the application's on a table; asked only where `saves_at_once`."""
        raise NotImplementedError

    def create_statement(self, table: EntityTable, names: Sequence[str], messages: int = 0) -> str | None:
        """One statement that makes a row with its history and messages; None where units of work are as fast.

        `names` are all columns that get a value, `id`, the owned ones and `_version` included. Parameters: the values
        of `names` in order; action, time, actor, comment; the schema's generation; then for each message id, topic,
        key, body and created_at. It gives the row back whole; no row, with nothing done, when the schema is at
        another generation. Raises UniqueViolation where there is such a row.
        """
        return None

    def upsert_statement(self, table: EntityTable, names: Sequence[str], *, expected: bool = False) -> str | None:
        """One statement that saves to an id, with the history; None where units of work are as fast or needed.

        `names` are the fields given, without the id and the owned ones. Parameters: id; the values of `names` in
        order; time, actor, comment; the schema's generation; with `expected`, the version that the row must have.
        It gives the row back whole. No row means that nothing was done: nothing was new, the row is deleted or was
        never the store's, the version is another, or the schema moved on; the unit of work then finds out. It may
        also raise UniqueViolation where somebody purges the same row at the same time: the unit then knows better.
        """
        return None

    def insert(self, table: EntityTable, names: Sequence[str]) -> str:
        """One new row; gives it back whole, with what the database filled in."""
        values = ", ".join(self.written(at + 1, table.columns[name]) for at, name in enumerate(names))
        target = f"({self.column_list(names)}) VALUES ({values})" if names else "DEFAULT VALUES"
        return f"INSERT INTO {self.table(table.name)} {target} RETURNING {self.read_list(table)}"

    def update_by_id(self, table: EntityTable, names: Sequence[str]) -> str:
        """New values for `names` in one row, whose id is the last parameter; gives the row back whole."""
        changes = ", ".join(
            f"{self.quote(name)} = {self.written(at + 1, table.columns[name])}" for at, name in enumerate(names)
        )
        condition = self.id_condition(table, len(names) + 1)
        return f"UPDATE {self.table(table.name)} SET {changes} WHERE {condition} RETURNING {self.read_list(table)}"

    def delete_by_id(self, table_name: str) -> str:
        """Removes the rows with an id."""
        return f"DELETE FROM {self.table(table_name)} WHERE {self.quote('id')} = {self.placeholder(1)}"

    def delete_history(self, table: EntityTable) -> str:
        """Removes what the history has of an id."""
        return f"{self.delete_by_id(table.name + HISTORY_SUFFIX)}{self.inside(table, 2)}"

    def copy_to_history(self, table: EntityTable) -> str:
        """The row as it is now into its history; parameters: action, time, actor, comment, id."""
        columns = self.column_list(table.names)
        extra = self.column_list(HISTORY_FIELDS)
        marks = ", ".join(self.placeholder(at + 1, kind) for at, kind in enumerate(HISTORY_FIELDS.values()))
        return (
            f"INSERT INTO {self.table(table.name + HISTORY_SUFFIX)} ({columns}, {extra}) SELECT {columns}, {marks}"
            f" FROM {self.table(table.name)} WHERE {self.id_condition(table, len(HISTORY_FIELDS) + 1)}"
        )

    def last_version(self, table: EntityTable) -> str:
        """The highest version that the history has of an id."""
        history = self.table(table.name + HISTORY_SUFFIX)
        return f"SELECT MAX({self.quote('_version')}) FROM {history} WHERE {self.id_condition(table, 1)}"

    def last_entry(self, table: EntityTable) -> str:
        """version, 1 if it is of the workspace: the latest that the history has of an id; parameters: workspace, id."""
        history, version = self.table(table.name + HISTORY_SUFFIX), self.quote("_version")
        is_inside = f"CASE WHEN {self.is_inside(table, 1)} THEN 1 ELSE 0 END"
        found = f"WHERE {self.id_condition(table, 2)} ORDER BY {version} DESC LIMIT 1"
        return f"SELECT {version}, {is_inside} FROM {history} {found}"

    # Statements over many rows; `row_sets` puts them together.

    gives_rows_back: ClassVar[bool] = True
    """Whether INSERT and UPDATE answer with the rows that they wrote."""

    row_lock: ClassVar[str] = ""
    """What ends a SELECT whose rows nobody else is to change until the transaction ends."""

    @abstractmethod
    def id_among(self, table: EntityTable, position: int) -> str:
        """The condition that finds the rows with the ids of one list, as `encode_ids` makes it."""

    @abstractmethod
    def encode_ids(self, ids: Sequence[Any]) -> Any:
        """Any number of ids as one parameter."""

    def rows_at_once(self, width: int) -> int:
        """How many rows of `width` values go fastest in one statement, and are not too many for it."""
        return max(1, min(50, 32_000 // width))

    def lock_keys(self, entity: str, keys: Sequence[int]) -> tuple[str, Sequence[Any]] | None:
        """Waits for everybody who holds one of these keys of an entity, and holds them until the transaction ends.

        None where units of work run one after the other anyway.
        """
        return None

    def page(self, limit: int | None, offset: int | None) -> str:
        """LIMIT and OFFSET as checked whole numbers."""
        text = "" if limit is None else f" LIMIT {limit}"
        return text if not offset else f"{text} OFFSET {offset}"

    # Definitions.

    def column_type(self, kind: Kind, *, adopted: bool) -> str:
        """The type of a new column; an `adopted` table, which the application made, may allow only some types."""
        return self.types[kind]

    @property
    def owned_types(self) -> Mapping[str, str]:
        """The types of the fields that every table has."""
        return {field: self.types[kind] for field, kind in OWNED_FIELDS.items()}

    @property
    def history_types(self) -> Mapping[str, str]:
        """The types of what a history has beside a copy of the row."""
        return {field: self.types[kind] for field, kind in HISTORY_FIELDS.items()}

    def create_table(self, name: str, columns: Mapping[str, str]) -> str:
        """A new table with the fields that every table has, and these columns (name to type)."""
        types = {**columns, **self.owned_types}
        others = ", ".join(f"{self.quote(field)} {declared}" for field, declared in types.items())
        return f"CREATE TABLE {self.table(name)} ({self.quote('id')} {self.id_type} NOT NULL PRIMARY KEY, {others})"

    def create_history(self, name: str, columns: Mapping[str, str]) -> str:
        """The history of a table: a copy of its columns (name to type) without their constraints, one row a version."""
        copies = ", ".join(f"{self.quote(column)} {declared}" for column, declared in columns.items())
        extra = ", ".join(f"{self.quote(field)} {declared}" for field, declared in self.history_types.items())
        key = f"PRIMARY KEY ({self.quote('id')}, {self.quote('_version')})"
        return f"CREATE TABLE {self.table(name + HISTORY_SUFFIX)} ({copies}, {extra}, {key})"

    def add_columns(self, table_name: str, columns: Mapping[str, str]) -> Sequence[str]:
        """New columns (name to type) that may be NULL; the statements that make them."""
        table = self.table(table_name)
        return [f"ALTER TABLE {table} ADD COLUMN {self.quote(name)} {columns[name]}" for name in columns]

    def learn(self, column: Column, kind: Kind) -> Sequence[str]:
        """What clauses need once an application's own column is known to hold `kind`."""
        return ()

    def lock_to_retype(self, table_names: Sequence[str]) -> str | None:
        """What keeps everybody from tables whose columns get other types, where no transaction does."""
        return None

    @abstractmethod
    def retype_column(
        self, table_name: str, column: str, old: Kind, new: Kind, declared: str, *, through: Kind | None = None
    ) -> Steps:
        """Turns a column of the store's own into another kind and type, values converted.

        Values become `through` first, where `new` keeps each value with its own kind.
        """

    def create_outbox(self) -> list[str]:
        """The tables of the outbox and of the inbox, each made unless it exists, in an order that holds.

        A row of the outbox is unsent while its batch is NULL. The inbox remembers, in the database that sinks write
        to, which messages they have written.
        """
        return outbox_tables.create_outbox(self.quote, self.types, self.id_type, self.serial_type)

    def insert_messages(self, count: int) -> str:
        """New rows of the outbox, in this order; five parameters each: id, topic, key, body, created_at."""
        rows = (
            "(" + ", ".join(self.placeholder(5 * row + column + 1, Kind.STR) for column in range(5)) + ")"
            for row in range(count)
        )
        names = self.column_list(("id", "topic", "key", "body", "created_at"))
        return f"INSERT INTO {self.quote('kernel_outbox')} ({names}) VALUES {', '.join(rows)}"

    def analyze(self, table_names: Sequence[str]) -> str | None:
        """Has the database look at what these tables hold, for its plans; None where it needs no telling."""
        return None

    builds_aside: ClassVar[bool] = False
    """Whether an index can be built while others write to its table."""

    def lock_against_definitions(self, table_name: str) -> str | None:
        """What waits for those who build an index of a table, and keeps others from it; None where nobody can be."""
        return None

    def create_index(
        self, index_name: str, table_name: str, fields: Sequence[str], *, unique: bool, aside: bool = False
    ) -> str:
        """An index; a unique one does not count soft-deleted rows.

        With `aside`, it is built in no transaction, while others write to the table, and only where nothing has its
        name, because nothing keeps another process from building it too.
        """
        kind = f"{'UNIQUE ' if unique else ''}INDEX{' CONCURRENTLY IF NOT EXISTS' if aside else ''}"
        alive = f" WHERE {self.quote('deleted_at')} IS NULL" if unique else ""
        return f"CREATE {kind} {self.quote(index_name)} ON {self.table(table_name)} ({self.index_terms(fields)}){alive}"

    def make_index(
        self, index_name: str, table_name: str, fields: Sequence[str], *, unique: bool, lengths: Mapping[str, int]
    ) -> Steps:
        """Makes an index, and what it needs of the table; `lengths` has the most characters of fields of text."""
        yield self.create_index(index_name, table_name, fields, unique=unique), ()

    def drop_index(self, index_name: str, table_name: str) -> str:
        """Drops an index."""
        return f"DROP INDEX {self.quote(index_name)}"

    def index_terms(self, fields: Sequence[str]) -> str:
        """Fields as they stand in an index that serves both directions of an order."""
        return self.column_list(fields)
