"""The statements by which SQLite tells of its tables."""

from app_kernel.db.kinds import Kind

Query = tuple[str, tuple[object, ...]]


class SqliteQueries:
    """Questions to the catalog and to SQLite; the columns of each answer are in its docstring."""

    def recall(self, entity: str) -> Query:
        """field, kind, adopted: what the catalog knows of an entity."""
        return ("SELECT field, kind, adopted FROM kernel_catalog WHERE entity = ?", (entity,))

    def remember(self, entity: str, field: str, kind: Kind, *, adopted: bool) -> Query:
        """Writes one field into the catalog."""
        return (
            "INSERT INTO kernel_catalog (entity, field, kind, adopted) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (entity, field) DO UPDATE SET kind = excluded.kind, adopted = excluded.adopted",
            (entity, field, str(kind), int(adopted)),
        )

    def find_generation(self) -> Query:
        """generation: that of the schema."""
        return ("SELECT value FROM kernel_meta WHERE key = 'generation'", ())

    def bump_generation(self) -> Query:
        """Moves the schema's generation on."""
        return ("UPDATE kernel_meta SET value = value + 1 WHERE key = 'generation'", ())

    def list_columns(self, table: str) -> Query:
        """name, declared type, generated: the columns of a table; none when there is no such table."""
        return (
            # No type, and ANY in a STRICT table, keep every value as it is; so does BLOB, everywhere.
            "SELECT c.name, CASE WHEN c.type = '' OR (upper(c.type) = 'ANY' AND (SELECT strict FROM"
            " pragma_table_list(m.name) WHERE schema = 'main')) THEN 'BLOB' ELSE c.type END, c.hidden IN (2, 3)"
            " FROM sqlite_master m JOIN pragma_table_xinfo(m.name) c"
            " WHERE m.type = 'table' AND m.name = ? AND c.hidden <> 1 ORDER BY c.cid",
            (table,),
        )

    def find_id(self, table: str) -> Query:
        """has an id, the id is unique, the database assigns it."""
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
        """name: every table but SQLite's own and the histories."""
        return (
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
            " AND name NOT LIKE '%\\_history' ESCAPE '\\'",
            (),
        )

    def find_object(self, name: str) -> Query:
        """type: what else has this name, such as a view."""
        return ("SELECT type FROM sqlite_master WHERE lower(name) = lower(?)", (name,))

    def find_index(self, name: str) -> Query:
        """name: of the index, if it exists."""
        return ("SELECT name FROM sqlite_master WHERE type = 'index' AND name = ?", (name,))

    def list_indexes_on(self, table: str, column: str) -> Query:
        """name, SQL: the indexes of a table that a change of this column would break."""
        return (
            "SELECT m.name, m.sql FROM sqlite_master m WHERE m.type = 'index' AND m.tbl_name = ? AND m.sql IS NOT NULL"
            " AND instr(lower(m.sql), lower(?)) > 0",
            (table, column),
        )

    def find_value(self, table: str, column: str) -> Query:
        """A row, if the column holds anything."""
        return (f'SELECT 1 FROM "{table}" WHERE "{column}" IS NOT NULL LIMIT 1', ())

    def find_beyond(self, table: str, column: str, limit: int) -> Query:
        """A row, if the column holds an integer beyond plus or minus `limit`."""
        return (f'SELECT 1 FROM "{table}" WHERE "{column}" > ? OR "{column}" < ? LIMIT 1', (limit, -limit))
