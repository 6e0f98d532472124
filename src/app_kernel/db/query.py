"""A find or a count, compiled once for its text, the types of its params and the schema's generation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app_kernel.core.errors import InvalidQuery
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.dialects.past import condition_then, source_then
from app_kernel.db.table import EntityTable
from app_kernel.db.where import Clause, compile_order, compile_where, signature


@dataclass(frozen=True, slots=True)
class Query:
    """SQL and the values for its placeholders."""

    select_sql: str
    """Its rows come in the order asked for; a page of it may follow."""
    whole_sql: str
    """The same rows in any order, where they may as well be sorted by id once they are here; else empty."""
    count_sql: str
    params: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """The caller's clause over one table."""

    clause: Clause
    sql: str
    """In parentheses; empty when there is no condition."""
    leads: bool
    """Whether the workspace that sees the table is the first value."""

    @property
    def size(self) -> int:
        """The number of values."""
        return len(self.clause.slots) + self.leads

    def bind(self, table: EntityTable, params: Sequence[Any]) -> Sequence[Any]:
        """The values; raises InvalidQuery as `Clause.bind` does."""
        values = self.clause.bind(params)
        return (table.workspace, *values) if self.leads else values


@dataclass(frozen=True, slots=True)
class _Compiled:
    select_sql: str
    whole_sql: str
    count_sql: str
    filter: Filter


def find_query(
    table: EntityTable,
    dialect: Dialect,
    where_clause: str | None,
    params: Sequence[Any] | None,
    order_by: str | None,
    include_deleted: bool,
    as_of: str | None = None,
) -> Query:
    """The query for these arguments; raises InvalidQuery, also for a table that does not exist.

    With `as_of`, the table is a history, of which each row counts that was the latest of its id at this instant.
    """
    values = check_params(params)
    check_clause("where_clause", where_clause)
    check_clause("order_by", order_by)
    key = ("find", where_clause, signature(values), order_by, bool(include_deleted), as_of is not None)
    compiled: _Compiled | None = table.statements.get(key)
    if compiled is None:
        made = _compile(table, dialect, where_clause, values, order_by, include_deleted, then=as_of is not None)
        compiled = table.keep(key, made)
    bound = compiled.filter.bind(table, values) if compiled.filter.sql else ()
    if as_of is not None:
        bound = (*bound, as_of, as_of)
    return Query(compiled.select_sql, compiled.whole_sql, compiled.count_sql, bound)


def compile_filter(text: str | None, params: Sequence[Any], table: EntityTable, dialect: Dialect) -> Filter:
    """The filter of a clause; raises InvalidQuery.

    No row of another workspace may make the query fail, which would tell what it holds: where that could be, the
    clause is asked of the rows inside only. Elsewhere a database may begin with whatever has an index.
    """
    clause = compile_where(text or "", params, table.columns, dialect)
    if not clause.sql or table.workspace is None or not clause.may_fail:
        return Filter(clause, clause.sql and f"({clause.sql})", leads=False)
    clause = compile_where(text or "", params, table.columns, dialect, first=2)
    return Filter(clause, f"(CASE WHEN {dialect.is_inside(table, 1)} THEN ({clause.sql}) ELSE 1 = 0 END)", leads=True)


def check_params(params: Any) -> Sequence[Any]:
    """The params as a sequence; raises InvalidQuery for text or anything else that is none."""
    if params is None:
        return ()
    if not isinstance(params, (tuple, list)):
        raise InvalidQuery(f"params is a tuple or a list, not {type(params).__name__}; one value is (value,).")
    return params


def check_clause(what: str, text: Any) -> None:
    """Refuses a clause that is no text; raises InvalidQuery."""
    if text is not None and not isinstance(text, str):
        raise InvalidQuery(f"{what} is text, not {type(text).__name__}.")


def _compile(
    table: EntityTable,
    dialect: Dialect,
    where_clause: str | None,
    params: Sequence[Any],
    order_by: str | None,
    include_deleted: bool,
    *,
    then: bool,
) -> _Compiled:
    asked = compile_filter(where_clause, params, table, dialect)
    conditions = [asked.sql] if asked.sql else []
    is_history = "_action" in table.columns
    if not include_deleted and not is_history and table.has("deleted_at"):
        conditions.append(f"{dialect.quote('deleted_at')} IS NULL")
    if then:
        conditions.append(condition_then(dialect, table, asked.size + 1))
    if table.workspace is not None:
        conditions.append(dialect.is_inside(table, asked.size + (3 if then else 1)))
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = source_then(dialect, table) if then else dialect.table(table.name)
    source = f"{dialect.generation_column} FROM {rows}{where}"
    terms, ordered = compile_order(order_by or "", table.columns, dialect)
    # Ties go the way of the last term, so that an index read from either end has the rows in this order.
    descending = terms.endswith((" DESC", " DESC NULLS LAST"))
    for tie in ("id", "_version") if is_history else ("id",):
        if tie not in ordered and table.has(tie):
            term = dialect.order_term(table.columns[tie], table.columns[tie].kind, descending=descending)
            terms = f"{terms}, {term}" if terms else term
    select = f"SELECT {dialect.read_list(table)}{source}"
    # Sorting the few rows that came is cheaper than having the database sort them; an adopted id may be anything.
    sorts_here = not ordered and not is_history and not table.adopted
    return _Compiled(
        f"{select} ORDER BY {terms}" if terms else select,
        select if sorts_here else "",
        f"SELECT COUNT(*){source}",
        asked,
    )
