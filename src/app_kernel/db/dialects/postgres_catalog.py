"""The statements by which PostgreSQL tells of the tables of the schema that the connection works in."""

from app_kernel.db.dialects.queries import Queries, Query

_HERE = "c.relnamespace = current_schema()::regnamespace"
_IS_TABLE = "c.relkind IN ('r', 'p', 'f')"


class PostgresQueries(Queries):
    """The questions as PostgreSQL answers them."""

    def find_generation(self, entity: str) -> Query:
        return ("SELECT value FROM kernel_meta WHERE key = 'generation'", ())

    def recall(self, entity: str) -> Query:
        return ("SELECT field, kind, adopted FROM kernel_catalog WHERE entity = $1::text", (entity,))

    def bump_generation(self) -> Query:
        return ("UPDATE kernel_meta SET value = value + 1 WHERE key = 'generation'", ())

    def list_columns(self, table: str) -> Query:
        return (
            "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attcollation <> t.typcollation"
            " THEN ' COLLATE ' || quote_ident(o.collname) ELSE '' END,"
            " a.attgenerated <> '' OR (a.attidentity = 'a' AND a.attname <> 'id')"
            " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid"
            " LEFT JOIN pg_collation o ON o.oid = a.attcollation"
            f" WHERE {_HERE} AND {_IS_TABLE} AND c.relname = $1::text AND a.attnum > 0 AND NOT a.attisdropped"
            " ORDER BY a.attnum",
            (table,),
        )

    def find_id(self, table: str) -> Query:
        unique = (
            "EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid"
            " AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum)"
        )
        # An identity, a serial, or whatever else gives a number.
        assigned = "(a.attidentity <> '' OR (a.atthasdef AND a.attgenerated = ''))"
        is_number = "a.atttypid IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype)"
        return (
            f"SELECT TRUE, {unique}, {assigned} AND {is_number} FROM pg_class c"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'id' AND NOT a.attisdropped"
            f" WHERE {_HERE} AND {_IS_TABLE} AND c.relname = $1::text",
            (table,),
        )

    def list_entities(self) -> Query:
        return (
            f"SELECT c.relname::text FROM pg_class c WHERE {_HERE} AND {_IS_TABLE}"
            " AND c.relname NOT LIKE '%\\_history' ESCAPE '\\'",
            (),
        )

    def find_object(self, name: str) -> Query:
        kinds = "CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'i' THEN 'index'"
        return (
            f"SELECT {kinds} WHEN 'S' THEN 'sequence' ELSE 'table' END FROM pg_class c"
            f" WHERE {_HERE} AND lower(c.relname) = lower($1::text)"
            " UNION ALL SELECT 'type' FROM pg_type t WHERE t.typnamespace = current_schema()::regnamespace"
            " AND t.typrelid = 0 AND t.typelem = 0 AND lower(t.typname) = lower($1::text)",
            (name,),
        )

    def describe_index(self, name: str) -> Query:
        columns = (
            "SELECT string_agg(a.attname, ',' ORDER BY k.n) FROM unnest(i.indkey) WITH ORDINALITY AS k(attnum, n)"
            " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum"
        )
        return (
            f"SELECT t.relname::text, ({columns}), i.indisvalid FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid"
            f" JOIN pg_class t ON t.oid = i.indrelid WHERE {_HERE} AND c.relname = $1::text",
            (name,),
        )

    def find_unknown(self, table: str, rows: int) -> Query | None:
        return (
            f"SELECT 1 FROM pg_class c WHERE {_HERE} AND c.relkind = 'r' AND c.relname = $1::text"
            " AND (c.reltuples * 10 < $2::bigint OR NOT EXISTS (SELECT 1 FROM pg_stats s"
            " WHERE s.schemaname = current_schema() AND s.tablename = c.relname))",
            (table, rows),
        )

    def list_indexes_on(self, table: str, column: str) -> Query:
        # PostgreSQL makes them anew by itself.
        return ("SELECT ''::text, ''::text WHERE FALSE", ())

    def find_value(self, table: str, column: str) -> Query:
        name = self.dialect.quote(column)
        return (f"SELECT 1 FROM {self.dialect.table(table)} WHERE {name} IS NOT NULL LIMIT 1", ())

    def find_beyond(self, table: str, column: str, limit: int) -> Query:
        name = self.dialect.quote(column)
        return (
            f"SELECT 1 FROM {self.dialect.table(table)} WHERE {name} > $1::bigint OR {name} < $2::bigint LIMIT 1",
            (limit, -limit),
        )
