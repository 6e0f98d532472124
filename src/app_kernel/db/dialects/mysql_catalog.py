"""The statements by which MySQL tells of the tables of the database that the connection works in."""

import zlib
from collections.abc import Mapping

from app_kernel.db.dialects.mysql_marks import mark
from app_kernel.db.dialects.queries import Queries, Query
from app_kernel.db.kinds import Kind

ALIVE = "_alive"
"""A column that MySQL computes: 1 in a live row, else NULL, so that unique indexes leave out those that are deleted."""
TOLD = "CASE WHEN c.column_comment LIKE 'kernel:%' THEN CONCAT(' COMMENT ''', c.column_comment, '''') ELSE '' END"
"""The comment of a column of the store's own, as its type has it."""
MARK_SHIFT = 40
LAST_GENERATION = (1 << MARK_SHIFT) - 1
"""What is above it in the number is the mark of an entity whose columns are being changed."""
GENERATION = f"""SELECT "value" & {LAST_GENERATION} FROM "kernel_meta" WHERE "key" = 'generation'"""
GENERATION_OF = "generation of "
MARKED_GENERATION = """SELECT "value" FROM "kernel_meta" WHERE "key" = 'generation'"""
BUMP_GENERATION = f"""UPDATE "kernel_meta" SET "value" = ("value" & {LAST_GENERATION}) + 1 WHERE "key" = 'generation'"""
"""Takes a mark away too: whoever saw it compiles anew, as everybody does."""
_COLUMN = "c.table_schema = DATABASE() AND c.table_name = \0$1\0 AND BINARY c.table_name = \0$1\0"


MOVED = "_moved_"
"""What the name of a column begins with that is to take another one's place; left behind, it is nobody's field."""
_IS_FIELD = f"c.column_name <> '{ALIVE}' AND c.column_name NOT LIKE '{MOVED.replace('_', '|_')}%' ESCAPE '|'"
_IS_TABLE = (
    "NOT EXISTS (SELECT 1 FROM information_schema.views AS v WHERE v.table_schema = DATABASE()"
    " AND v.table_name = \0$1\0)"
)
_JSON_COLUMNS = (
    "SELECT k.constraint_name FROM information_schema.check_constraints AS k WHERE k.constraint_schema = DATABASE()"
    " AND k.table_name = \0$1\0"
    " AND REPLACE(REPLACE(k.check_clause, '`', ''), '\"', '') = CONCAT('json_valid(', k.constraint_name, ')')"
)


def mark_of(entity: str) -> int:
    """The mark of an entity; another one may have the same, and then waits for nothing now and then."""
    return 1 + zlib.crc32(entity.encode()) % (2**22 - 1)


def at_generation(entity: str, generation: str) -> str:
    """Whether the number in `kernel_meta` is this generation, and not marked for the entity."""
    return f'"value" & {LAST_GENERATION} = {generation} AND "value" >> {MARK_SHIFT} <> {mark_of(entity)}'


class MySqlQueries(Queries):
    """The questions as MySQL and MariaDB answer them. information_schema compares names without case.

    Each of its tables is asked for one table by name: whatever is only joined with it opens every table there is.
    """

    def find_generation(self, entity: str) -> Query:
        # With the entity's name, by which the driver knows whose mark counts.
        return (MARKED_GENERATION.replace(" FROM ", f" AS {self.dialect.quote(GENERATION_OF + entity)} FROM "), ())

    def recall(self, entity: str) -> Query:
        return (f'SELECT "field", "kind", "adopted" FROM "kernel_catalog" WHERE "entity" = {mark(1)}', (entity,))

    def bump_generation(self) -> Query:
        return (BUMP_GENERATION, ())

    def remember(self, entity: str, kinds: Mapping[str, Kind], *, adopted: bool) -> Query:
        sql, params = super().remember(entity, kinds, adopted=adopted)
        insert = sql.partition(" ON CONFLICT")[0]
        kept = '"kind" = VALUES("kind"), "adopted" = VALUES("adopted")'
        names = insert.replace("(entity, field, kind, adopted)", '("entity", "field", "kind", "adopted")', 1)
        return (f"{names} ON DUPLICATE KEY UPDATE {kept}", params)

    def list_columns(self, table: str) -> Query:
        collation = "CASE WHEN c.collation_name IS NULL THEN '' ELSE CONCAT(' COLLATE ', c.collation_name) END"
        declared = f"CONCAT(c.column_type, {collation}, {TOLD})"
        if getattr(self.dialect, "is_mariadb", False):
            # MariaDB's JSON is text with a check; this looks at the checks where there may be one only.
            may_be_json = "c.column_type = 'longtext' AND c.column_comment NOT LIKE 'kernel:%'"
            declared = f"CASE WHEN {may_be_json} AND c.column_name IN ({_JSON_COLUMNS}) THEN 'json' ELSE {declared} END"
        return (
            f"SELECT c.column_name, {declared}, COALESCE(c.generation_expression, '') <> ''"
            f" FROM information_schema.columns AS c"
            f" WHERE {_COLUMN} AND {_IS_FIELD} AND {_IS_TABLE} ORDER BY c.ordinal_position",
            (table,),
        )

    def find_id(self, table: str) -> Query:
        # An index over the id alone and the whole of it.
        unique = (
            "EXISTS (SELECT 1 FROM information_schema.statistics AS s WHERE s.table_schema = DATABASE()"
            " AND s.table_name = \0$1\0 AND s.non_unique = 0 GROUP BY s.index_name"
            " HAVING COUNT(*) = 1 AND MAX(LOWER(s.column_name)) = 'id' AND MAX(s.sub_part) IS NULL)"
        )
        return (
            f"SELECT 1, {unique}, c.extra LIKE '%auto_increment%' FROM information_schema.columns AS c"
            f" WHERE {_COLUMN} AND c.column_name = 'id' AND BINARY c.column_name = 'id'",
            (table,),
        )

    def list_entities(self) -> Query:
        return (
            "SELECT c.table_name FROM information_schema.tables AS c WHERE c.table_schema = DATABASE()"
            " AND c.table_type <> 'VIEW' AND c.table_name NOT LIKE '%\\_history' ESCAPE '\\'",
            (),
        )

    def find_object(self, name: str) -> Query:
        return (
            "SELECT CASE c.table_type WHEN 'VIEW' THEN 'view' WHEN 'SEQUENCE' THEN 'sequence' ELSE 'table' END"
            f" FROM information_schema.tables AS c WHERE c.table_schema = DATABASE()"
            f" AND LOWER(c.table_name) = LOWER({mark(1)})",
            (name,),
        )

    def describe_index(self, name: str) -> Query:
        return (
            "SELECT s.table_name, GROUP_CONCAT(s.column_name ORDER BY s.seq_in_index), 1"
            " FROM information_schema.statistics AS s WHERE s.table_schema = DATABASE()"
            f" AND s.index_name = {mark(1)} AND s.column_name <> '{ALIVE}' GROUP BY s.table_name",
            (name,),
        )

    def list_indexes_on(self, table: str, column: str) -> Query:
        # `retype_column` makes them anew together with the column.
        return ("SELECT '', '' FROM DUAL WHERE 1 = 0", ())

    def find_value(self, table: str, column: str) -> Query:
        name = self.dialect.quote(column)
        return (f"SELECT 1 FROM {self.dialect.table(table)} WHERE {name} IS NOT NULL LIMIT 1", ())

    def find_beyond(self, table: str, column: str, limit: int) -> Query:
        name = self.dialect.quote(column)
        found = f"{name} > {mark(1)} OR {name} < {mark(2)}"
        return (f"SELECT 1 FROM {self.dialect.table(table)} WHERE {found} LIMIT 1", (limit, -limit))
