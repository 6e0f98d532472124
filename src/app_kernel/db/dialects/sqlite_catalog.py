"""The statements by which SQLite tells of its tables."""

from app_kernel.db.dialects.queries import Queries, Query


class SqliteQueries(Queries):
    """The questions as SQLite answers them."""

    def recall(self, entity: str) -> Query:
        return ("SELECT field, kind, adopted FROM kernel_catalog WHERE entity = ?", (entity,))

    def find_generation(self, entity: str) -> Query:
        return ("SELECT value FROM kernel_meta WHERE key = 'generation'", ())

    def bump_generation(self) -> Query:
        return ("UPDATE kernel_meta SET value = value + 1 WHERE key = 'generation'", ())

    def list_columns(self, table: str) -> Query:
        return (
            # No type, and ANY in a STRICT table, keep every value as it is; so does BLOB, everywhere.
            "SELECT c.name, CASE WHEN c.type = '' OR (upper(c.type) = 'ANY' AND (SELECT strict FROM"
            " pragma_table_list(m.name) WHERE schema = 'main')) THEN 'BLOB' ELSE c.type END, c.hidden IN (2, 3)"
            " FROM sqlite_master m JOIN pragma_table_xinfo(m.name) c"
            " WHERE m.type = 'table' AND m.name = ? AND c.hidden <> 1 ORDER BY c.cid",
            (table,),
        )

    def find_id(self, table: str) -> Query:
        return (
            "SELECT EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE name = 'id'),"
            " EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE name = 'id' AND pk = 1"
            " AND (SELECT count(*) FROM pragma_table_info(?1) WHERE pk > 0) = 1)"
            " OR EXISTS (SELECT 1 FROM pragma_index_list(?1) l WHERE l.[unique] = 1 AND l.partial = 0"
            " AND (SELECT group_concat(name) FROM pragma_index_info(l.name)) = 'id'),"
            " EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE name = 'id' AND pk = 1 AND upper(type) = 'INTEGER'"
            " AND (SELECT count(*) FROM pragma_table_info(?1) WHERE pk > 0) = 1)",
            (table,),
        )

    def list_entities(self) -> Query:
        return (
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
            " AND name NOT LIKE '%\\_history' ESCAPE '\\'",
            (),
        )

    def find_object(self, name: str) -> Query:
        return ("SELECT type FROM sqlite_master WHERE lower(name) = lower(?)", (name,))

    def describe_index(self, name: str) -> Query:
        return (
            "SELECT m.tbl_name, (SELECT group_concat(name, ',') FROM"
            " (SELECT name FROM pragma_index_info(m.name) ORDER BY seqno)), 1"
            " FROM sqlite_master m WHERE m.type = 'index' AND lower(m.name) = lower(?)",
            (name,),
        )

    def list_indexes_on(self, table: str, column: str) -> Query:
        return (
            "SELECT m.name, m.sql FROM sqlite_master m WHERE m.type = 'index' AND m.tbl_name = ? AND m.sql IS NOT NULL"
            " AND instr(lower(m.sql), lower(?)) > 0",
            (table, column),
        )

    def find_value(self, table: str, column: str) -> Query:
        return (f'SELECT 1 FROM "{table}" WHERE "{column}" IS NOT NULL LIMIT 1', ())

    def find_beyond(self, table: str, column: str, limit: int) -> Query:
        return (f'SELECT 1 FROM "{table}" WHERE "{column}" > ? OR "{column}" < ? LIMIT 1', (limit, -limit))
