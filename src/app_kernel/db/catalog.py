"""How the schema is read: the statements that ask the catalog and the database, and what their rows mean."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from app_kernel.db.dialects.base import Dialect
from app_kernel.db.dialects.mysql_catalog import MySqlQueries
from app_kernel.db.dialects.postgres_catalog import PostgresQueries
from app_kernel.db.dialects.queries import Queries
from app_kernel.db.dialects.sqlite_catalog import SqliteQueries
from app_kernel.db.drivers.base import Row, Statement, Work
from app_kernel.db.kinds import Kind
from app_kernel.db.table import HISTORY_FIELDS, HISTORY_SUFFIX, OWNED_FIELDS, Column, EntityTable

T = TypeVar("T")

_QUERIES: dict[str, type[Queries]] = {"sqlite": SqliteQueries, "postgres": PostgresQueries, "mysql": MySqlQueries}


class Reads(Protocol):
    """What runs a reading statement: a session, or a snapshot."""

    async def fetch(self, sql: str, params: Sequence[Any]) -> list[Row]:
        """The rows of one reading statement."""


async def read_work(session: Reads, work: Work[T]) -> T:
    """The result of work that only reads, run statement by statement, in no transaction of its own."""
    try:
        statement: Statement = next(work)
        while True:
            statement = work.send(await session.fetch(*statement))
    except StopIteration as done:
        result: T = done.value
        return result


def queries_for(dialect: Dialect) -> Queries:
    """The catalog's statements for a dialect."""
    return _QUERIES[dialect.name](dialect)


def load_table(queries: Queries, dialect: Dialect, name: str) -> Work[EntityTable]:
    """The table as the database and the catalog have it."""
    remembered = yield queries.recall(_base(name))
    columns = yield queries.list_columns(name)
    if not columns:
        return EntityTable(name, 0, {})
    kinds = {field: (Kind(kind), bool(adopted)) for field, kind, adopted in remembered}
    is_history = _base(name) != name
    told = {row[0]: dialect.told_kind(row[1]) for row in columns}
    if dialect.tells_kinds:
        # What a column says of itself was said in the statement that made it; the catalog may not have come so far.
        kinds |= {
            field: (kind or kinds[field][0], kind is None) for field, kind in told.items() if kind or field in kinds
        }
    made_here = not kinds.get("id", (Kind.STR, True))[1]
    ids = yield queries.find_id(name)
    history = [] if is_history else (yield queries.list_columns(name + HISTORY_SUFFIX))
    known: dict[str, Column] = {}
    for field, declared, generated in columns:
        known[field] = _column(dialect, kinds, made_here, field, declared, bool(generated))
    for field, (kind, _) in kinds.items():
        if field not in known and field != "id":
            known[field] = Column(field, kind)
    has_id, unique_id, assigns_id = ids[0] if ids else (0, 0, 0)
    kept = {column[0] for column in history}
    keeps_history = {"_version", *HISTORY_FIELDS} <= kept
    return EntityTable(
        name,
        0,
        _in_row_order(known),
        adopted=not made_here,
        assigns_id=bool(assigns_id),
        keeps_history=keeps_history,
        history_lacks=frozenset(column[0] for column in columns) - kept if keeps_history else frozenset(),
        history_differs=_differing(dialect, told, history),
        refusal=None if is_history else _refusal(name, bool(has_id), bool(unique_id)),
    )


def _differing(dialect: Dialect, told: dict[str, Kind | None], history: list[Row]) -> dict[str, Kind]:
    """Columns that have another kind in the history, where a change of both was broken off between them."""
    kinds = {row[0]: dialect.told_kind(row[1]) for row in history}
    return {field: kind for field, kind in kinds.items() if kind is not None and told.get(field) not in (None, kind)}


def _base(name: str) -> str:
    """A history has the kinds of its table."""
    return name[: -len(HISTORY_SUFFIX)] if name.lower().endswith(HISTORY_SUFFIX) else name


def _column(
    dialect: Dialect, kinds: dict[str, tuple[Kind, bool]], made_here: bool, field: str, declared: str, generated: bool
) -> Column:
    if field in OWNED_FIELDS or field in HISTORY_FIELDS:
        kind = OWNED_FIELDS.get(field) or HISTORY_FIELDS[field]
        return Column(field, kind, declared)
    if field == "id":
        kind = Kind.INT if dialect.natural_kind(declared) is Kind.INT else Kind.STR
        return Column(field, kind, declared, adopted=not made_here)
    if field in kinds:
        kind, adopted = kinds[field]
        return Column(field, kind, declared, adopted=adopted, generated=generated)
    return Column(field, Kind.UNKNOWN, declared, adopted=True, generated=generated)


def _in_row_order(columns: dict[str, Column]) -> dict[str, Column]:
    """The id first, the kernel's own fields last."""
    last = (*OWNED_FIELDS, *HISTORY_FIELDS)
    order = ["id", *(name for name in columns if name != "id" and name not in last), *last]
    return {name: columns[name] for name in order if name in columns}


def _refusal(name: str, has_id: bool, unique_id: bool) -> str | None:
    if not has_id:
        return f"The table {name!r} has no column [id], which every entity needs; add one, or use execute() for it."
    if not unique_id:
        return (
            f"The [id] of the table {name!r} is not unique; make it the primary key, or use execute() for this table."
        )
    return None
