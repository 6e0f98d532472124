"""How a database tells of all its tables, is read page by page, and is filled: what each spells in its own way."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from app_kernel.db.dialects.base import Dialect
from app_kernel.db.dialects.queries import Query
from app_kernel.db.drivers.base import Row, Statement
from app_kernel.db.kinds import Kind
from app_kernel.db.table import Column, EntityTable

TEXT_KEYS = frozenset({Kind.STR, Kind.UUID, Kind.DATETIME, Kind.DATE, Kind.DECIMAL, Kind.BIGINT, Kind.VARIANT})


class Words(ABC):
    """The statements of a transfer; the columns of each answer are in the docstring."""

    keeps_definitions: ClassVar[bool] = False
    """Whether the database tells each definition as a statement that makes it again."""
    row_address: ClassVar[str] = ""
    """What tells the rows of a table without a key apart, and can be read in order; empty where there is nothing."""

    address_mark: ClassVar[str] = "?"
    """The parameter beside `row_address`."""
    address_text: ClassVar[str] = ""
    """`row_address` as it is read, and given again."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    @abstractmethod
    def list_tables(self) -> Query:
        """name, type, definition: every table but the database's own; only those of type `table` can be copied."""

    @abstractmethod
    def list_columns(self, table: str) -> Query:
        """name, NOT NULL, place in the primary key from 1 or 0, has a default, the database assigns whole numbers."""

    @abstractmethod
    def list_indexes(self, table: str) -> Query:
        """name, unique, is over whole columns of all rows, columns with commas between, definition.

        All but those that are the primary key.
        """

    @abstractmethod
    def list_others(self) -> Query:
        """what (view, trigger, foreign key, check), name, table, definition: what stands beside the tables."""

    @abstractmethod
    def last_number(self, table: str, column: str) -> Query:
        """number: the highest that a column of assigned numbers has given out; NULL or no row where that is unknown."""

    @abstractmethod
    def go_on_after(self, table: str, column: str, number: int) -> Sequence[Statement]:
        """What makes such a column give out numbers above this one."""

    def key_term(self, column: Column) -> str:
        """A column of a key, so that it sorts by bytes or by number, and by its index where that does so too."""
        return self.dialect.quote(column.name)

    def key_param(self, position: int, column: Column) -> str:
        """A parameter beside `key_term`, encoded by the codec."""
        return self.dialect.placeholder(position, column.kind)

    def after(self, terms: Sequence[str], marks: Sequence[str], *, until: bool = False) -> str:
        """The key is beyond a given one, or with `until` not beyond it."""
        return f"({', '.join(terms)}) {'<=' if until else '>'} ({', '.join(marks)})"

    def load(self, table: EntityTable, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[Statement]:
        """New rows of encoded values, in as few statements as go fast."""
        columns = [table.columns[name] for name in names]
        target = f"INSERT INTO {self.dialect.table(table.name)} ({self.dialect.column_list(names)})"
        step = self.dialect.rows_at_once(len(names))
        for at in range(0, len(rows), step):
            part = rows[at : at + step]
            shape = ("load", tuple(names), len(part))
            sql = table.statements.get(shape)
            if sql is None:
                marks = ", ".join(_row_marks(self.dialect, columns, row) for row in range(len(part)))
                sql = table.keep(shape, f"{target} VALUES {marks}")
            yield str(sql), [value for row in part for value in row]

    def among(self, terms: Sequence[str], columns: Sequence[Column], keys: Sequence[Row]) -> Statement:
        """The condition that finds the rows of many keys, and its parameters."""
        width = len(columns)
        rows = ", ".join(
            "(" + ", ".join(self.key_param(width * row + at + 1, each) for at, each in enumerate(columns)) + ")"
            for row in range(len(keys))
        )
        return f"({', '.join(terms)}) IN (VALUES {rows})", [value for key in keys for value in key]

    def create_own(
        self, name: str, columns: Sequence[tuple[str, str, bool]], key: Sequence[str], assigned: str | None
    ) -> str:
        """A table of the application's: columns (name, type, NOT NULL), primary key, the column of assigned numbers."""
        quote = self.dialect.quote
        parts = []
        for column, declared, required in columns:
            if column == assigned and list(key) == [column]:
                parts.append(f"{quote(column)} {self.dialect.serial_type}")
            else:
                parts.append(f"{quote(column)} {declared}{' NOT NULL' if required or column in key else ''}")
        if key and (assigned is None or list(key) != [assigned]):
            parts.append(f"PRIMARY KEY ({self.dialect.column_list(key)})")
        return f"CREATE TABLE {self.dialect.table(name)} ({', '.join(parts)})"

    def drop_table(self, name: str) -> str:
        """Removes a table, if there is one."""
        return f"DROP TABLE IF EXISTS {self.dialect.table(name)}"

    def own_type(self, kind: Kind, declared: str | None) -> str:
        """The type of a column of the application's own; `declared` is what it had in a database of the same kind."""
        return self.dialect.column_type(Kind.STR if kind is Kind.UNKNOWN else kind, adopted=True)

    def own_key_type(self) -> str:
        """The type of text in a key or a unique index of the application's own table."""
        return self.dialect.id_type

    def own_index_term(self, name: str, *, is_text: bool, unique: bool) -> str:
        """A column as it stands in an index of the application's own."""
        return self.dialect.index_terms([name])


def _row_marks(dialect: Dialect, columns: Sequence[Column], row: int) -> str:
    first = len(columns) * row + 1
    return f"({', '.join(dialect.written(first + at, column) for at, column in enumerate(columns))})"


def words_for(dialect: Dialect) -> Words:
    """The words of a dialect."""
    # Here, because each of them derives from what this module defines.
    from app_kernel.db.transfer.words_mysql import MySqlWords  # noqa: PLC0415
    from app_kernel.db.transfer.words_postgres import PostgresWords  # noqa: PLC0415
    from app_kernel.db.transfer.words_sqlite import SqliteWords  # noqa: PLC0415

    known: dict[str, type[Words]] = {"sqlite": SqliteWords, "postgres": PostgresWords, "mysql": MySqlWords}
    return known[dialect.name](dialect)
