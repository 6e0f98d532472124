"""Many rows in pages, each beginning behind the last row of the one before: no page is slower than the first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app_kernel.db.dialects.base import Dialect
from app_kernel.db.query import Filter, check_clause, check_params, compile_filter
from app_kernel.db.table import Column, EntityTable
from app_kernel.db.where import signature


@dataclass(frozen=True, slots=True)
class Pages:
    """The statements of the first page and of every other."""

    first_sql: str
    next_sql: str
    filter: Filter
    keys: tuple[str, ...]
    """The columns by which the rows are ordered, and which end the parameters of a next page."""

    def bind(self, table: EntityTable, params: Sequence[Any], last: Sequence[Any] | None) -> tuple[str, Sequence[Any]]:
        """The statement of the page that comes after the row with these `keys`, and its values."""
        values = self.filter.bind(table, params)
        return (self.first_sql, values) if last is None else (self.next_sql, [*values, *last])


def find_pages(
    table: EntityTable, dialect: Dialect, where_clause: str | None, params: Sequence[Any] | None, size: int
) -> Pages:
    """The pages for these arguments; raises InvalidQuery, also for a table that does not exist."""
    values = check_params(params)
    check_clause("where_clause", where_clause)
    shape = ("pages", where_clause, signature(values), size)
    pages: Pages | None = table.statements.get(shape)
    return pages if pages is not None else table.keep(shape, _compile(table, dialect, where_clause, values, size))


def _compile(table: EntityTable, dialect: Dialect, where_clause: str | None, params: Sequence[Any], size: int) -> Pages:
    asked = compile_filter(where_clause, params, table, dialect)
    is_history = "_action" in table.columns
    keys = ("id", "_version") if is_history else ("id",)
    if not table.exists:
        return Pages("", "", asked, keys)
    conditions = [asked.sql] if asked.sql else []
    if not is_history and table.has("deleted_at"):
        conditions.append(f"{dialect.quote('deleted_at')} IS NULL")
    columns = [table.columns[key] for key in keys]
    after = [_spelled(dialect, column) for column in columns]
    marks = [
        dialect.placeholder(asked.size + at + 1, column.kind, dialect.storage(column))
        for at, column in enumerate(columns)
    ]
    begun = [*conditions, f"({', '.join(after)}) > ({', '.join(marks)})"]
    if table.workspace is not None:
        conditions.append(dialect.is_inside(table, asked.size + 1))
        begun.append(dialect.is_inside(table, asked.size + len(marks) + 1))
    order = ", ".join(dialect.order_term(column, column.kind, descending=False) for column in columns)
    source = f"{dialect.generation_column} FROM {dialect.table(table.name)}"
    select = f"SELECT {dialect.read_list(table)}{source}"
    end = f" ORDER BY {order}{dialect.page(size, None)}"
    first = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return Pages(f"{select}{first}{end}", f"{select} WHERE {' AND '.join(begun)}{end}", asked, keys)


def _spelled(dialect: Dialect, column: Column) -> str:
    """A column so that it compares as it is ordered, with an index where it has one."""
    if dialect.storage(column):
        return dialect.quote(column.name)
    return dialect.operand(dialect.value(column), column.kind)
