"""Standard SQL; each database overrides only what it spells differently."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from app_kernel.db.kinds import Kind
from app_kernel.db.table import HISTORY_FIELDS, HISTORY_SUFFIX, OWNED_FIELDS, Decoder, EntityTable

Encoder = Callable[[Any], Any]


class Dialect(ABC):
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

    def quote(self, name: str) -> str:
        """A checked name as an identifier; never taken for text, never for a keyword."""
        return f'"{name}"'

    def placeholder(self, position: int, kind: Kind | None = None) -> str:
        """The parameter at `position`, from 1; of `kind` where a database would have to guess its type."""
        return "?"

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

    @abstractmethod
    def natural_kind(self, declared: str) -> Kind:
        """What a column that the application declared holds, as far as its type tells; UNKNOWN when it does not."""

    @abstractmethod
    def may_hold(self, declared: str, kind: Kind) -> bool:
        """Whether a column that the application declared can hold values of `kind` unaltered."""

    # Expressions of a where clause.

    def operand(self, sql: str, kind: Kind | None) -> str:
        """An expression of `kind` so that it compares and sorts as the kind does on every backend."""
        return sql

    def cast_number(self, sql: str, kind: Kind) -> str:
        """An int expression where the other side of a comparison is a bigint or a Decimal."""
        return sql

    @abstractmethod
    def like(self, operand: str, pattern: str, *, fold_case: bool) -> str:
        """A LIKE with backslash as its escape; with `fold_case`, ASCII letters match in either case."""

    def valid_json(self, column: str) -> str:
        """The column where its text is JSON, else NULL."""
        return column

    @abstractmethod
    def json_value(self, column: str, path: Sequence[str], kind: Kind | None) -> str:
        """The value at `path` if it is of `kind`, else NULL; with None, whatever is there, NULL where nothing is."""

    def arithmetic(self, operator: str, left: str, right: str, kind: Kind) -> str:
        """`left operator right` over int or float; an int overflow is an error of the database."""
        return f"({left} {operator} {right})"

    def checked_int(self, sql: str) -> str:
        """An int expression made by `arithmetic`, where arithmetic ends: the last chance to notice an overflow."""
        return sql

    def call(self, function: str, arguments: Sequence[str]) -> str:
        """LOWER, UPPER (of ASCII letters), LENGTH (in characters), COALESCE or ABS."""
        return f"{function}({', '.join(arguments)})"

    @abstractmethod
    def order_term(self, sql: str, kind: Kind, *, descending: bool) -> str:
        """One term of ORDER BY; NULL comes first ascending and last descending."""

    # Statements over one table.

    def column_list(self, names: Iterable[str]) -> str:
        """Names as they stand in SELECT, INSERT and RETURNING: always listed, never `*`."""
        return ", ".join(map(self.quote, names))

    def select(self, table: EntityTable) -> str:
        """SELECT of every column, up to the table's name."""
        return f"SELECT {self.column_list(table.names)} FROM {self.quote(table.name)}"

    def select_by_id(self, table: EntityTable, *, include_deleted: bool) -> str:
        """One row by id."""
        alive = "" if include_deleted or not table.has("deleted_at") else f" AND {self.quote('deleted_at')} IS NULL"
        return f"{self.select(table)} WHERE {self.quote('id')} = {self.placeholder(1)}{alive}"

    def insert(self, table: EntityTable, names: Sequence[str]) -> str:
        """One new row; gives it back whole, with what the database filled in."""
        values = ", ".join(self.placeholder(position + 1) for position in range(len(names)))
        target = f"({self.column_list(names)}) VALUES ({values})" if names else "DEFAULT VALUES"
        return f"INSERT INTO {self.quote(table.name)} {target} RETURNING {self.column_list(table.names)}"

    def update_by_id(self, table: EntityTable, names: Sequence[str]) -> str:
        """New values for `names` in one row, whose id is the last parameter; gives the row back whole."""
        changes = ", ".join(f"{self.quote(name)} = {self.placeholder(at + 1)}" for at, name in enumerate(names))
        condition = f"{self.quote('id')} = {self.placeholder(len(names) + 1)}"
        returning = self.column_list(table.names)
        return f"UPDATE {self.quote(table.name)} SET {changes} WHERE {condition} RETURNING {returning}"

    def delete_by_id(self, table_name: str) -> str:
        """Removes the rows with an id."""
        return f"DELETE FROM {self.quote(table_name)} WHERE {self.quote('id')} = {self.placeholder(1)}"

    def copy_to_history(self, table: EntityTable) -> str:
        """The row as it is now into its history; parameters: action, time, actor, comment, id."""
        columns = self.column_list(table.names)
        extra = self.column_list(HISTORY_FIELDS)
        marks = ", ".join(self.placeholder(position + 1) for position in range(len(HISTORY_FIELDS)))
        return (
            f"INSERT INTO {self.quote(table.name + HISTORY_SUFFIX)} ({columns}, {extra}) SELECT {columns}, {marks}"
            f" FROM {self.quote(table.name)} WHERE {self.quote('id')} = {self.placeholder(len(HISTORY_FIELDS) + 1)}"
        )

    def last_version(self, table: EntityTable) -> str:
        """The highest version that the history has of an id."""
        history = self.quote(table.name + HISTORY_SUFFIX)
        return f"SELECT MAX({self.quote('_version')}) FROM {history} WHERE {self.quote('id')} = {self.placeholder(1)}"

    def page(self, limit: int | None, offset: int | None) -> str:
        """LIMIT and OFFSET as checked whole numbers."""
        text = "" if limit is None else f" LIMIT {limit}"
        return text if not offset else f"{text} OFFSET {offset}"

    # Definitions.

    def column_type(self, kind: Kind, *, adopted: bool) -> str:
        """The type of a new column; an `adopted` table, which the application made, may allow only some types."""
        return self.types[kind]

    def create_table(self, name: str) -> str:
        """A new table with the fields that every table has."""
        owned = ", ".join(f"{self.quote(field)} {self.types[kind]}" for field, kind in OWNED_FIELDS.items())
        return f"CREATE TABLE {self.quote(name)} ({self.quote('id')} {self.id_type} NOT NULL PRIMARY KEY, {owned})"

    def create_history(self, name: str, columns: Mapping[str, str]) -> str:
        """The history of a table: a copy of its columns (name to type) without their constraints, one row a version."""
        copies = ", ".join(f"{self.quote(column)} {declared}" for column, declared in columns.items())
        extra = ", ".join(f"{self.quote(field)} {self.types[kind]}" for field, kind in HISTORY_FIELDS.items())
        key = f"PRIMARY KEY ({self.quote('id')}, {self.quote('_version')})"
        return f"CREATE TABLE {self.quote(name + HISTORY_SUFFIX)} ({copies}, {extra}, {key})"

    def add_column(self, table_name: str, column: str, declared: str) -> str:
        """A new column that may be NULL."""
        return f"ALTER TABLE {self.quote(table_name)} ADD COLUMN {self.quote(column)} {declared}"

    @abstractmethod
    def retype_column(self, table_name: str, column: str, old: Kind, new: Kind, declared: str) -> list[str]:
        """The statements that turn a column of the store's own into another kind and type, values converted."""

    def create_outbox(self) -> list[str]:
        """The tables of the outbox and of the inbox, each made unless it exists, in an order that holds.

        A row of the outbox is unsent while its batch is NULL. The inbox remembers, in the database that sinks write
        to, which messages they have written.
        """
        text, number = self.types[Kind.STR], self.types[Kind.INT]
        q = self.quote
        message = f"{q('topic')} {text} NOT NULL, {q('key')} {text} NOT NULL, {q('body')} {text} NOT NULL"
        return [
            f"CREATE TABLE IF NOT EXISTS {q('kernel_outbox')} ({q('seq')} {self.serial_type},"
            f" {q('id')} {text} NOT NULL, {message}, {q('created_at')} {text} NOT NULL, {q('sent_at')} {text},"
            f" {q('batch')} {number}, {q('attempts')} {number} NOT NULL DEFAULT 0)",
            f"CREATE INDEX IF NOT EXISTS {q('kernel_outbox_unsent')} ON {q('kernel_outbox')} ({q('seq')})"
            f" WHERE {q('batch')} IS NULL",
            f"CREATE INDEX IF NOT EXISTS {q('kernel_outbox_sent')} ON {q('kernel_outbox')} ({q('sent_at')})"
            f" WHERE {q('batch')} IS NOT NULL",
            f"CREATE TABLE IF NOT EXISTS {q('kernel_dead_letters')} ({q('id')} {self.id_type} NOT NULL PRIMARY KEY,"
            f" {message}, {q('created_at')} {text} NOT NULL, {q('died_at')} {text} NOT NULL,"
            f" {q('attempts')} {number} NOT NULL, {q('reason')} {text} NOT NULL)",
            f"CREATE TABLE IF NOT EXISTS {q('kernel_inbox')} ({q('id')} {self.id_type} NOT NULL PRIMARY KEY,"
            f" {q('received_at')} {text} NOT NULL)",
            f"CREATE INDEX IF NOT EXISTS {q('kernel_inbox_received')} ON {q('kernel_inbox')} ({q('received_at')})",
            f"CREATE TABLE IF NOT EXISTS {q('kernel_relay')} ({q('name')} {self.id_type} NOT NULL PRIMARY KEY,"
            f" {q('value')} {text} NOT NULL)",
        ]

    def insert_messages(self, count: int) -> str:
        """New rows of the outbox, in this order; five parameters each: id, topic, key, body, created_at."""
        rows = (
            "(" + ", ".join(self.placeholder(5 * row + column + 1) for column in range(5)) + ")" for row in range(count)
        )
        names = self.column_list(("id", "topic", "key", "body", "created_at"))
        return f"INSERT INTO {self.quote('kernel_outbox')} ({names}) VALUES {', '.join(rows)}"

    def create_index(self, index_name: str, table_name: str, fields: Sequence[str], *, unique: bool) -> str:
        """An index that is made unless it exists; a unique one does not count soft-deleted rows."""
        kind = "UNIQUE INDEX" if unique else "INDEX"
        alive = f" WHERE {self.quote('deleted_at')} IS NULL" if unique else ""
        return (
            f"CREATE {kind} IF NOT EXISTS {self.quote(index_name)} ON {self.quote(table_name)}"
            f" ({self.column_list(fields)}){alive}"
        )
