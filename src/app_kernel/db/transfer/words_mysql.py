"""The words of MySQL and MariaDB for a transfer."""

from collections.abc import Sequence

from app_kernel.db.dialects.mysql_catalog import ALIVE
from app_kernel.db.dialects.mysql_marks import mark
from app_kernel.db.dialects.queries import Query
from app_kernel.db.drivers.base import Row, Statement
from app_kernel.db.kinds import Kind
from app_kernel.db.table import Column
from app_kernel.db.transfer.words import Words

_COMMENT = " COMMENT "
"""Begins what a column of the store's own says of itself, and one of the application's does not."""


class MySqlWords(Words):
    """What information_schema tells of the database that the connection works in."""

    def list_tables(self) -> Query:
        return (
            "SELECT t.table_name, 'table', NULL FROM information_schema.tables AS t WHERE t.table_schema = DATABASE()"
            " AND t.table_type = 'BASE TABLE' ORDER BY 1",
            (),
        )

    def list_columns(self, table: str) -> Query:
        place = (
            "SELECT s.seq_in_index FROM information_schema.statistics AS s WHERE s.table_schema = DATABASE()"
            f" AND s.table_name = {mark(1)} AND s.index_name = 'PRIMARY' AND s.column_name = c.column_name"
        )
        return (
            f"SELECT c.column_name, c.is_nullable = 'NO', COALESCE(({place}), 0),"
            " COALESCE(c.column_default, 'NULL') <> 'NULL', c.extra LIKE '%auto_increment%'"
            f" FROM information_schema.columns AS c WHERE c.table_schema = DATABASE() AND c.table_name = {mark(1)}"
            f" AND c.column_name <> '{ALIVE}' ORDER BY c.ordinal_position",
            (table,),
        )

    def list_indexes(self, table: str) -> Query:
        return (
            "SELECT s.index_name, MIN(s.non_unique) = 0, MAX(s.sub_part) IS NULL AND COUNT(*) = COUNT(s.column_name),"
            f" GROUP_CONCAT(CASE WHEN s.column_name <> '{ALIVE}' THEN s.column_name END ORDER BY s.seq_in_index), NULL"
            " FROM information_schema.statistics AS s WHERE s.table_schema = DATABASE()"
            f" AND s.table_name = {mark(1)} AND s.index_name <> 'PRIMARY' GROUP BY s.index_name ORDER BY 1",
            (table,),
        )

    def list_others(self) -> Query:
        return (
            "SELECT 'view', v.table_name, v.table_name, NULL FROM information_schema.views AS v"
            " WHERE v.table_schema = DATABASE()"
            " UNION ALL SELECT 'trigger', g.trigger_name, g.event_object_table, NULL"
            " FROM information_schema.triggers AS g WHERE g.trigger_schema = DATABASE()"
            " UNION ALL SELECT 'foreign key', k.constraint_name, k.table_name, NULL"
            " FROM information_schema.table_constraints AS k WHERE k.constraint_schema = DATABASE()"
            " AND k.constraint_type = 'FOREIGN KEY'"
            # A check that has the name of a column came with it: it is how MariaDB spells JSON.
            " UNION ALL SELECT 'check', k.constraint_name, k.table_name, NULL"
            " FROM information_schema.table_constraints AS k WHERE k.constraint_schema = DATABASE()"
            " AND k.constraint_type = 'CHECK' AND k.constraint_name NOT IN (SELECT c.column_name"
            " FROM information_schema.columns AS c WHERE c.table_schema = DATABASE() AND c.table_name = k.table_name)",
            (),
        )

    def last_number(self, table: str, column: str) -> Query:
        given = (
            "SELECT t.auto_increment - 1 FROM information_schema.tables AS t WHERE t.table_schema = DATABASE()"
            f" AND t.table_name = {mark(1)}"
        )
        highest = f"SELECT MAX({self.dialect.quote(column)}) FROM {self.dialect.table(table)}"
        return (f"SELECT GREATEST(COALESCE(({given}), 0), COALESCE(({highest}), 0))", (table,))

    def go_on_after(self, table: str, column: str, number: int) -> Sequence[Statement]:
        return ((f"ALTER TABLE {self.dialect.table(table)} AUTO_INCREMENT = {number + 1:d}", ()),)

    def key_term(self, column: Column) -> str:
        return self.dialect.value(column) if column.adopted else self.dialect.quote(column.name)

    def after(self, terms: Sequence[str], marks: Sequence[str], *, until: bool = False) -> str:
        # Spelled out, because MySQL takes no index for a comparison of rows.
        beyond, last = ("<", "<=") if until else (">", ">")
        ends = []
        for at in range(len(terms)):
            same = [f"{terms[before]} = {marks[before]}" for before in range(at)]
            operator = last if at == len(terms) - 1 else beyond
            ends.append(" AND ".join([*same, f"{terms[at]} {operator} {marks[at]}"]))
        return f"({' OR '.join(f'({end})' for end in ends)})"

    def among(self, terms: Sequence[str], columns: Sequence[Column], keys: Sequence[Row]) -> Statement:
        condition, params = super().among(terms, columns, keys)
        return condition.replace("IN (VALUES ", "IN (", 1), params

    def own_type(self, kind: Kind, declared: str | None) -> str:
        if declared is not None:
            return declared
        if kind is Kind.JSON:
            return "JSON"
        return super().own_type(kind, declared).partition(_COMMENT)[0]

    def own_key_type(self) -> str:
        return self.dialect.id_type.partition(_COMMENT)[0]

    def own_index_term(self, name: str, *, is_text: bool, unique: bool) -> str:
        # An index holds the beginning of a text only.
        return f"{self.dialect.quote(name)}{'(191)' if is_text and not unique else ''}"
