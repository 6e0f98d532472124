"""How a column of the store's own gets another kind on PostgreSQL, with every value as it was.

The column stays where it is, and with it its indexes and constraints; views and triggers step aside meanwhile.
"""

from collections.abc import Generator, Sequence
from typing import Any

from app_kernel.db import jsontext
from app_kernel.db.dialects.base import Dialect, Steps
from app_kernel.db.kinds import Kind

BATCH = 500
"""Rows that are converted at a time; a value may have megabytes."""

_FIND_VIEWS = """
    WITH RECURSIVE views (id, depth) AS (
        SELECT r.ev_class, 1 FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
          AND d.refobjid = $1::text::regclass AND r.ev_class <> d.refobjid
          AND d.refobjsubid =
              (SELECT attnum FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname = $2::text)
        UNION ALL
        SELECT r.ev_class, v.depth + 1 FROM views v
        JOIN pg_depend d ON d.refobjid = v.id AND d.refclassid = 'pg_class'::regclass
        JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass AND r.ev_class <> v.id
    )
    SELECT c.oid::regclass::text, c.relkind::text, array_to_string(c.reloptions, ', '),
           pg_get_viewdef(c.oid), pg_get_userbyid(c.relowner), c.oid::bigint
    FROM (SELECT id, max(depth) AS depth FROM views GROUP BY id) AS v JOIN pg_class c ON c.oid = v.id
    ORDER BY v.depth
"""
"""Views that need a column, and those that need such views: name, kind, options, definition, owner, oid."""
_FIND_GRANTS = """
    SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, c.oid::regclass,
                  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = $1::bigint::oid AND a.grantee <> c.relowner
"""
_FIND_TRIGGERS = """
    SELECT format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass), pg_get_triggerdef(t.oid)
    FROM pg_trigger t WHERE t.tgrelid = $1::text::regclass AND NOT t.tgisinternal AND t.tgenabled = 'O'
"""
"""What drops each trigger that would run, and what makes it again."""


def retype_column(dialect: Dialect, table_name: str, column: str, old: Kind, new: Kind, declared: str) -> Steps:
    """`Dialect.retype_column`."""
    table, name = dialect.table(table_name), dialect.quote(column)
    if dialect.types[old] == declared and new is not Kind.VARIANT:
        return
    again = yield from _set_aside(table, column)
    if new is Kind.VARIANT:
        moved = dialect.quote(f"kernel_moved_{column}"[:63])
        yield f"ALTER TABLE {table} ADD COLUMN {moved} {declared}", ()
        yield from _convert(dialect, table, name, moved, old)
        # The default is a value of the old type.
        yield f"ALTER TABLE {table} ALTER COLUMN {name} DROP DEFAULT", ()
        yield f"ALTER TABLE {table} ALTER COLUMN {name} TYPE {declared} USING {moved}", ()
        yield f"ALTER TABLE {table} DROP COLUMN {moved}", ()
    else:
        yield f"ALTER TABLE {table} ALTER COLUMN {name} TYPE {declared} USING {name}::{declared}", ()
    for statement in again:
        yield statement, ()


def _convert(dialect: Dialect, table: str, name: str, moved: str, old: Kind) -> Steps:
    """Fills the new column with the text of variants; rows are found by where they lie, for the table is locked."""
    last = "(0,0)"
    while True:
        rows = yield (
            f"SELECT ctid::text, {name} FROM {table} WHERE ctid > $1::text::tid AND {name} IS NOT NULL"
            f" AND {moved} IS NULL ORDER BY ctid LIMIT {BATCH}",
            (last,),
        )
        if not rows:
            return
        last = rows[-1][0]
        texts = [jsontext.dump_variant(dialect.read(old, row[1])) for row in rows]
        yield (
            f"UPDATE {table} SET {moved} = made.value"
            f" FROM unnest($1::text[], $2::text[]) AS made (at, value) WHERE ctid = made.at::tid",
            ([row[0] for row in rows], texts),
        )


def _set_aside(table: str, column: str) -> Generator[tuple[str, Sequence[Any]], list[Sequence[Any]], list[str]]:
    """Drops the table's triggers and the views that need a column; returns what makes them again as they were."""
    views = yield _FIND_VIEWS, (table, column)
    triggers = yield _FIND_TRIGGERS, (table,)
    drops = [row[0] for row in triggers]
    again: list[str] = []
    for view, kind, options, definition, owner, oid in views:
        what = "MATERIALIZED VIEW" if kind == "m" else "VIEW"
        indexes = yield "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = $1::bigint::oid", (oid,)
        own_triggers = yield _FIND_TRIGGERS, (view,)
        grants = yield _FIND_GRANTS, (oid,)
        choices = f" WITH ({options})" if options else ""
        again.append(f"CREATE {what} {view}{choices} AS {definition.rstrip(';')}")
        again.append(f'ALTER {what} {view} OWNER TO "{owner}"')
        again.extend(row[0] for row in (*indexes, *grants))
        again.extend(row[1] for row in own_triggers)
        drops.append(f"DROP {what} {view}")
    # A view goes before those that it needs.
    for statement in reversed(drops):
        yield statement, ()
    return [*again, *(row[1] for row in triggers)]
