"""A save as one text of several statements on MySQL: row, history and messages, only at the generation it was made for.

A statement takes hold of all its tables before it looks at any row. So one that had to wait for a change of its table
sees the generation which that change left, and writes nothing; and what follows it copies what it wrote.
"""

from collections.abc import Sequence

from app_kernel.db.dialects.base import Dialect
from app_kernel.db.dialects.mysql_catalog import at_generation
from app_kernel.db.dialects.mysql_marks import mark, placed, then
from app_kernel.db.table import HISTORY_FIELDS, WORKSPACE_FIELD, EntityTable

_MESSAGE = ("id", "topic", "key", "body", "created_at")
_WRITTEN = "IF(ROW_COUNT() < 0, (SELECT 1 UNION SELECT 2), ROW_COUNT() = 1)"
"""What the statement before has written is there to be copied.

The server goes on with the text when its client has gone meanwhile, and then knows no number of rows, which it calls
-1: that must be an error, so that it does not come to COMMIT, or the row would be without its history.
"""
_GRANTEE = (
    "CONCAT('''', SUBSTRING_INDEX(CURRENT_USER(), '@', 1), '''@''', SUBSTRING_INDEX(CURRENT_USER(), '@', -1), '''')"
)
FIND_TRIGGERS = (
    "SELECT 1 FROM information_schema.triggers AS t WHERE t.event_object_schema = DATABASE()"
    f" AND t.event_object_table = {mark(1)}"
    # Who may make no triggers is shown none.
    " UNION ALL SELECT 1 FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM information_schema.user_privileges AS u"
    f" WHERE u.grantee = {_GRANTEE} AND u.privilege_type = 'TRIGGER')"
    " AND NOT EXISTS (SELECT 1 FROM information_schema.schema_privileges AS s"
    f" WHERE s.grantee = {_GRANTEE} AND s.privilege_type = 'TRIGGER' AND DATABASE() LIKE s.table_schema ESCAPE '\\')"
)
"""A row also where the user is not shown triggers."""


def create_statement(
    dialect: Dialect, table: EntityTable, names: Sequence[str], messages: int, *, is_mariadb: bool
) -> str:
    """`Dialect.create_statement`."""
    values = ", ".join(dialect.written(at + 1, table.columns[name]) for at, name in enumerate(names))
    source, rows = dialect.table(table.name), dialect.read_list(table)
    id, first = names.index("id") + 1, len(names) + 1
    generation = first + len(HISTORY_FIELDS)
    insert = f"INSERT INTO {source} ({dialect.column_list(names)}) SELECT {values} {_at_generation(table, generation)}"
    found = f"FROM {source} WHERE {dialect.id_condition(table, id)}"
    statements = [f"{insert} RETURNING {rows}"] if is_mariadb else [insert, f"SELECT {rows} {found}"]
    if table.keeps_history:
        statements.append(placed(dialect.copy_to_history(table), (*range(first, generation), id)))
    columns = dialect.column_list(_MESSAGE)
    for number in range(messages):
        start = generation + 1 + len(_MESSAGE) * number
        message = ", ".join(mark(start + at) for at in range(len(_MESSAGE)))
        statements.append(f'INSERT INTO "kernel_outbox" ({columns}) SELECT {message} {found}')
    return then(statements)


def upsert_statement(dialect: Dialect, table: EntityTable, names: Sequence[str], *, expected: bool) -> str:
    """`Dialect.upsert_statement`, for a row that is there; a new one is left to the unit of work."""
    q, source = dialect.quote, dialect.table(table.name)
    new = {name: dialect.written(at + 2, table.columns[name]) for at, name in enumerate(names)}
    now, actor, comment, generation, version = range(len(names) + 2, len(names) + 7)
    changes = [f"{q(name)} = {given}" for name, given in new.items()]
    changes += [f"{q('updated_at')} = {mark(now)}", f"{q('updated_by')} = {mark(actor)}"]
    found = f"FROM {source} WHERE {dialect.id_condition(table, 1)}"
    differs = (
        f"NOT ({dialect.value(column)} <=> {dialect.operand(new[name], column.kind, ordered=False)})"
        for name, column in ((name, table.columns[name]) for name in names)
    )
    fits = [
        dialect.id_condition(table, 1),
        f"{q('deleted_at')} IS NULL",
        f"{q('_version')} {f'= {mark(version)}' if expected else 'IS NOT NULL'}",
        f"EXISTS (SELECT 1 {_at_generation(table, generation)})",
        f"({' OR '.join(differs)})",
    ]
    if table.workspace is not None:
        fits.append(dialect.equals_text(table.columns[WORKSPACE_FIELD], new[WORKSPACE_FIELD]))
    changes.append(f"{q('_version')} = {q('_version')} + 1")
    statements = [f"UPDATE {source} SET {', '.join(changes)} WHERE {' AND '.join(fits)}"]
    if table.keeps_history:
        copy = placed(dialect.copy_to_history(table), ("'update'", now, actor, comment, 1))
        statements.append(f"{copy} AND {_WRITTEN}")
    return then([*statements, f"SELECT {dialect.read_list(table)} {found} AND {_WRITTEN}"])


def _at_generation(table: EntityTable, position: int) -> str:
    fits = at_generation(table.name, mark(position))
    return f"""FROM "kernel_meta" WHERE "key" = 'generation' AND {fits}"""
