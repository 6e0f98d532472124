"""SQLite's words for a transfer."""

from collections.abc import Sequence

from app_kernel.db.dialects.queries import Query
from app_kernel.db.drivers.base import Statement
from app_kernel.db.kinds import Kind
from app_kernel.db.table import Column
from app_kernel.db.transfer.words import Words


class SqliteWords(Words):
    """What SQLite tells in its own tables and PRAGMA functions."""

    keeps_definitions = True
    row_address = "rowid"
    address_text = "rowid"

    def list_tables(self) -> Query:
        return (
            "SELECT l.name, CASE WHEN l.type IN ('virtual', 'shadow') THEN 'virtual table' ELSE l.type END, m.sql"
            " FROM pragma_table_list l JOIN sqlite_master m ON m.name = l.name AND m.type = 'table'"
            " WHERE l.schema = 'main' AND l.type IN ('table', 'virtual', 'shadow')"
            " AND l.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY l.name",
            (),
        )

    def list_columns(self, table: str) -> Query:
        return (
            "SELECT name, [notnull], pk, dflt_value IS NOT NULL,"
            " pk = 1 AND upper(type) = 'INTEGER' AND (SELECT count(*) FROM pragma_table_info(?1) WHERE pk > 0) = 1"
            " FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid",
            (table,),
        )

    def list_indexes(self, table: str) -> Query:
        return (
            "SELECT l.name, l.[unique], l.partial = 0 AND NOT EXISTS"
            " (SELECT 1 FROM pragma_index_xinfo(l.name) WHERE key = 1 AND cid < 0),"
            " (SELECT group_concat(name, ',') FROM (SELECT name FROM pragma_index_info(l.name) ORDER BY seqno)),"
            " (SELECT sql FROM sqlite_master WHERE type = 'index' AND name = l.name)"
            " FROM pragma_index_list(?) l WHERE l.origin <> 'pk' ORDER BY l.name",
            (table,),
        )

    def list_others(self) -> Query:
        return (
            "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type IN ('view', 'trigger')"
            " UNION ALL SELECT 'foreign key', f.[from], m.name, NULL FROM sqlite_master m"
            " JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table' ORDER BY 1 DESC, 3, 2",
            (),
        )

    def last_number(self, table: str, column: str) -> Query:
        return (
            "SELECT MAX(COALESCE((SELECT seq FROM sqlite_sequence WHERE name = ?), 0),"
            f" COALESCE((SELECT MAX({self.dialect.quote(column)}) FROM {self.dialect.table(table)}), 0))",
            (table,),
        )

    def go_on_after(self, table: str, column: str, number: int) -> Sequence[Statement]:
        # Tables without AUTOINCREMENT do not look there.
        return (
            ("DELETE FROM sqlite_sequence WHERE name = ?", (table,)),
            ("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, number)),
        )

    def key_term(self, column: Column) -> str:
        term = self.dialect.quote(column.name)
        # The store's own text has no other collation, and its index would not serve an expression.
        return f"{term} COLLATE BINARY" if column.adopted and column.kind is not Kind.INT else term
