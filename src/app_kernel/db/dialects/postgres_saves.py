"""A save as one statement on PostgreSQL: row, history and messages, only at the generation it was made for.

Locks are taken before the statement's snapshot, so a statement that had to wait for a change of the schema sees the
generation which that change left, and does nothing.
"""

from collections.abc import Mapping, Sequence

from app_kernel.db.dialects.base import Dialect
from app_kernel.db.kinds import Kind
from app_kernel.db.table import HISTORY_FIELDS, HISTORY_SUFFIX, WORKSPACE_FIELD, EntityTable

_MESSAGE = ("id", "topic", "key", "body", "created_at")


def create_statement(dialect: Dialect, table: EntityTable, names: Sequence[str], messages: int) -> str:
    """`Dialect.create_statement`."""
    values = ", ".join(dialect.written(at + 1, table.columns[name]) for at, name in enumerate(names))
    first = len(names) + 1
    generation = first + len(HISTORY_FIELDS)
    parts = [
        f"made AS (INSERT INTO {dialect.table(table.name)} ({dialect.column_list(names)})"
        f" SELECT {values} {_at_generation(dialect, generation)} RETURNING {dialect.column_list(table.names)})"
    ]
    if table.keeps_history:
        extra = [dialect.placeholder(first + at, kind) for at, kind in enumerate(HISTORY_FIELDS.values())]
        parts.append(_kept(dialect, table, extra, "made"))
    else:
        # Every parameter must have a type.
        extra = [f"{dialect.placeholder(first + at, Kind.STR)} AS a{at}" for at in range(len(HISTORY_FIELDS))]
        parts.append(f"unkept AS (SELECT {', '.join(extra)})")
    if messages:
        parts.append(_sent(dialect, generation + 1, messages))
    return f"WITH {', '.join(parts)} SELECT {dialect.column_list(table.names)} FROM made"


def upsert_statement(dialect: Dialect, table: EntityTable, names: Sequence[str]) -> str:
    """`Dialect.upsert_statement` where any version will do."""
    at, actor, comment, generation = range(len(names) + 2, len(names) + 6)
    now, who = dialect.placeholder(at, Kind.STR), dialect.placeholder(actor, Kind.STR)
    q, history = dialect.quote, dialect.table(table.name + HISTORY_SUFFIX)
    id = dialect.placeholder(1, Kind.STR)
    owned = ("created_at", "updated_at", "created_by", "updated_by", "_version")
    version = "1"
    if table.keeps_history:
        version = f"COALESCE((SELECT MAX({q('_version')}) FROM {history} WHERE {q('id')} = {id}), 0) + 1"
    given = [dialect.written(at + 2, table.columns[name]) for at, name in enumerate(names)]
    values = ", ".join([id, *given, now, now, who, who, version])
    written = (
        f"written AS (INSERT INTO {dialect.table(table.name)} AS t ({dialect.column_list(('id', *names, *owned))})"
        f" SELECT {values} {_at_generation(dialect, generation)}{_last_is_inside(dialect, table, names)}"
        f" ON CONFLICT ({q('id')}) {_do_update(dialect, table, names)}"
        f" RETURNING {dialect.column_list(table.names)}, xmax = 0 AS is_new)"
    )
    action = "CASE WHEN is_new THEN 'create' ELSE 'update' END"
    return _with_history(dialect, table, written, action, at, actor, comment)


def update_statement(dialect: Dialect, table: EntityTable, names: Sequence[str]) -> str:
    """`Dialect.upsert_statement` where the row must have an expected version."""
    at, actor, comment, generation, expected = range(len(names) + 2, len(names) + 7)
    q = dialect.quote
    changes = [f"{q(name)} = {dialect.written(at + 2, table.columns[name])}" for at, name in enumerate(names)]
    changes += [
        f"{q('updated_at')} = {dialect.placeholder(at, Kind.STR)}",
        f"{q('updated_by')} = {dialect.placeholder(actor, Kind.STR)}",
        f"{q('_version')} = t.{q('_version')} + 1",
    ]
    new = [(name, dialect.written(at + 2, table.columns[name])) for at, name in enumerate(names)]
    written = (
        f"written AS (UPDATE {dialect.table(table.name)} AS t SET {', '.join(changes)}"
        f" {_at_generation(dialect, generation)} AND t.{q('id')} = {dialect.placeholder(1, Kind.STR)}"
        f" AND t.{q('deleted_at')} IS NULL AND t.{q('_version')} = {dialect.placeholder(expected, Kind.INT)}"
        f"{_is_inside(dialect, table, dict(new))} AND ({_differs(dialect, table, new)})"
        f" RETURNING {', '.join(f't.{q(name)}' for name in table.names)})"
    )
    return _with_history(dialect, table, written, "'update'", at, actor, comment)


def _at_generation(dialect: Dialect, position: int) -> str:
    q = dialect.quote
    matches = f"m.{q('value')} = {dialect.placeholder(position, Kind.INT)}"
    return f"FROM {q('kernel_meta')} AS m WHERE m.{q('key')} = 'generation' AND {matches}"


def _do_update(dialect: Dialect, table: EntityTable, names: Sequence[str]) -> str:
    if not names:
        return "DO NOTHING"
    q = dialect.quote
    changes = ", ".join(f"{q(name)} = excluded.{q(name)}" for name in (*names, "updated_at", "updated_by"))
    new = [(name, f"excluded.{q(name)}") for name in names]
    inside, differs = _is_inside(dialect, table, dict(new)), _differs(dialect, table, new)
    return (
        f"DO UPDATE SET {changes}, {q('_version')} = t.{q('_version')} + 1"
        f" WHERE t.{q('deleted_at')} IS NULL AND t.{q('_version')} IS NOT NULL{inside} AND ({differs})"
    )


def _is_inside(dialect: Dialect, table: EntityTable, new: Mapping[str, str]) -> str:
    """AND the row that is there is of the workspace that sees the table, which its new values name."""
    if table.workspace is None:
        return ""
    return f" AND t.{dialect.quote(WORKSPACE_FIELD)} = {new[WORKSPACE_FIELD]}"


def _last_is_inside(dialect: Dialect, table: EntityTable, names: Sequence[str]) -> str:
    """AND the history does not have the id as one of another workspace last."""
    if table.workspace is None or not table.keeps_history:
        return ""
    q = dialect.quote
    whose, id = q(WORKSPACE_FIELD), f"{q('id')} = {dialect.placeholder(1, Kind.STR)}"
    history = dialect.table(table.name + HISTORY_SUFFIX)
    last = f"(SELECT {whose} FROM {history} WHERE {id} ORDER BY {q('_version')} DESC LIMIT 1) AS last"
    given = dialect.written(names.index(WORKSPACE_FIELD) + 2, table.columns[WORKSPACE_FIELD])
    return f" AND NOT EXISTS (SELECT 1 FROM {last} WHERE last.{whose} IS DISTINCT FROM {given})"


def _differs(dialect: Dialect, table: EntityTable, new: Sequence[tuple[str, str]]) -> str:
    """Whether any of these fields would change; JSON by its text, where 1 is not 1.0."""
    tests = []
    for name, value in new:
        as_text = "::text" if table.columns[name].kind is Kind.JSON else ""
        tests.append(f"t.{dialect.quote(name)}{as_text} IS DISTINCT FROM {value}{as_text}")
    return " OR ".join(tests) or "FALSE"


def _with_history(
    dialect: Dialect, table: EntityTable, written: str, action: str, at: int, actor: int, comment: int
) -> str:
    said = dialect.placeholder(comment, Kind.STR)
    if table.keeps_history:
        extra = [action, dialect.placeholder(at, Kind.STR), dialect.placeholder(actor, Kind.STR), said]
        kept = _kept(dialect, table, extra, "written")
    else:
        kept = f"unkept AS (SELECT {said} AS a)"
    return f"WITH {written}, {kept} SELECT {dialect.column_list(table.names)} FROM written"


def _kept(dialect: Dialect, table: EntityTable, extra: Sequence[str], source: str) -> str:
    columns, history = dialect.column_list(table.names), dialect.table(table.name + HISTORY_SUFFIX)
    return (
        f"kept AS (INSERT INTO {history} ({columns}, {dialect.column_list(HISTORY_FIELDS)})"
        f" SELECT {columns}, {', '.join(extra)} FROM {source})"
    )


def _sent(dialect: Dialect, first: int, count: int) -> str:
    rows = (
        "(" + ", ".join(dialect.placeholder(first + 5 * row + at, Kind.STR) for at in range(5)) + ")"
        for row in range(count)
    )
    columns = dialect.column_list(_MESSAGE)
    return (
        f"sent AS (INSERT INTO {dialect.table('kernel_outbox')} ({columns})"
        f" SELECT message.* FROM made, (VALUES {', '.join(rows)}) AS message)"
    )
