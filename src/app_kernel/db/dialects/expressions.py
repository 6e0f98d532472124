"""The expressions of a where clause in standard SQL."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from app_kernel.db.kinds import Kind
from app_kernel.db.table import Column


class Expressions(ABC):
    """How one database spells what a clause compares."""

    def quote(self, name: str) -> str:
        """A checked name as an identifier; never taken for text, never for a keyword."""
        return f'"{name}"'

    def table(self, name: str) -> str:
        """A table by its name."""
        return self.quote(name)

    def storage(self, column: Column) -> str:
        """How an application's own column holds values of its kind, where a param beside it must be spelled so."""
        return ""

    def value(self, column: Column) -> str:
        """A column as an expression of its kind."""
        return self.quote(column.name)

    def operand(self, sql: str, kind: Kind | None, *, ordered: bool = True) -> str:
        """An expression of `kind` so that it compares and, where `ordered`, sorts as the kind does everywhere."""
        return sql

    def cast_number(self, sql: str, kind: Kind, wanted: Kind) -> str:
        """An int or float expression where it is compared as a bigint or a Decimal."""
        return sql

    @abstractmethod
    def like(self, operand: str, pattern: str, *, fold_case: bool) -> str:
        """A LIKE with backslash as its escape; with `fold_case`, ASCII letters match in either case."""

    def json_source(self, column: Column) -> str:
        """The column as JSON, NULL where an application's own column holds text that is none."""
        return self.quote(column.name)

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
    def order_term(self, column: Column, kind: Kind, *, descending: bool) -> str:
        """One term of ORDER BY, of a column that holds `kind`; NULL comes first ascending and last descending."""
