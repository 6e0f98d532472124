"""PostgreSQL's words for a transfer."""

from collections.abc import Iterator, Sequence
from typing import Any

from app_kernel.db.dialects import postgres_storage
from app_kernel.db.dialects.postgres_storage import Storage, kind_in, storage_of
from app_kernel.db.dialects.queries import Query
from app_kernel.db.drivers.base import Row, Statement
from app_kernel.db.kinds import Kind
from app_kernel.db.table import Column, EntityTable
from app_kernel.db.transfer.words import TEXT_KEYS, Words

_HERE = "c.relnamespace = current_schema()::regnamespace"
_ARRAYS = {
    Kind.INT: "bigint",
    Kind.BIGINT: "numeric",
    Kind.FLOAT: "double precision",
    Kind.BOOL: "boolean",
    Kind.DECIMAL: "numeric",
    Kind.BYTES: "bytea",
}
"""The type in which values of a kind travel, many in one parameter; all others are text."""
_BYTEWISE = ' COLLATE "C"'
_ORDERED = {Storage.NUMERIC, Storage.TIMESTAMPTZ, Storage.TIMESTAMP, Storage.DATE, Storage.UUID}
"""What has the same order as its text, or an order of its own that every database shares."""


class PostgresWords(Words):
    """What PostgreSQL tells in pg_catalog, of the schema that the connection works in."""

    row_address = "ctid"
    address_mark = "$1::text::tid"
    address_text = "ctid::text"

    def list_tables(self) -> Query:
        # What a partition holds is read through its table.
        return (
            "SELECT c.relname::text, CASE c.relkind WHEN 'f' THEN 'foreign table' ELSE 'table' END, NULL::text"
            f" FROM pg_class c WHERE {_HERE} AND c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition ORDER BY 1",
            (),
        )

    def list_columns(self, table: str) -> Query:
        return (
            "SELECT a.attname::text, a.attnotnull, COALESCE(array_position(i.indkey::int2[], a.attnum) + 1, 0),"
            " a.atthasdef AND a.attgenerated = '', a.attidentity <> ''"
            " OR COALESCE(pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%', FALSE)"
            " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
            " LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary"
            " LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum"
            f" WHERE {_HERE} AND c.relname = $1::text AND c.relkind IN ('r', 'p') AND a.attnum > 0"
            " AND NOT a.attisdropped ORDER BY a.attnum",
            (table,),
        )

    def list_indexes(self, table: str) -> Query:
        names = (
            "SELECT string_agg(a.attname, ',' ORDER BY k.n) FROM unnest(i.indkey) WITH ORDINALITY AS k(attnum, n)"
            " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.n <= i.indnkeyatts"
        )
        return (
            f"SELECT x.relname::text, i.indisunique, i.indpred IS NULL AND i.indexprs IS NULL, ({names}),"
            " pg_get_indexdef(i.indexrelid) FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid"
            f" JOIN pg_class x ON x.oid = i.indexrelid WHERE {_HERE} AND c.relname = $1::text"
            " AND NOT i.indisprimary AND i.indisvalid ORDER BY 1",
            (table,),
        )

    def list_others(self) -> Query:
        return (
            "SELECT CASE c.relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END, c.relname::text, c.relname::text,"
            f" NULL::text FROM pg_class c WHERE {_HERE} AND c.relkind IN ('v', 'm')"
            " UNION ALL SELECT 'trigger', t.tgname::text, c.relname::text, NULL FROM pg_trigger t"
            f" JOIN pg_class c ON c.oid = t.tgrelid WHERE {_HERE} AND NOT t.tgisinternal"
            " UNION ALL SELECT CASE k.contype WHEN 'f' THEN 'foreign key' ELSE 'check' END, k.conname::text,"
            " c.relname::text, NULL FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid"
            f" WHERE {_HERE} AND k.contype IN ('f', 'c', 'x') ORDER BY 1 DESC, 3, 2",
            (),
        )

    def last_number(self, table: str, column: str) -> Query:
        given = "pg_sequence_last_value(pg_get_serial_sequence($1::text, $2::text)::regclass)"
        return (
            f"SELECT GREATEST({given}, (SELECT MAX({self.dialect.quote(column)}) FROM {self.dialect.table(table)}))",
            (self.dialect.table(table), column),
        )

    def go_on_after(self, table: str, column: str, number: int) -> Sequence[Statement]:
        find = "pg_get_serial_sequence($1::text, $2::text)::regclass"
        return ((f"SELECT setval({find}, $3::bigint)", (self.dialect.table(table), column, number)),)

    def key_term(self, column: Column) -> str:
        name = self.dialect.quote(column.name)
        if kind_in(column) not in TEXT_KEYS or column.declared.endswith(_BYTEWISE):
            return name
        if storage_of(column.declared) in _ORDERED:
            return name
        # Every other type, and text in a collation of its own, in the order of its bytes.
        return f"{name}::text{_BYTEWISE}"

    def key_param(self, position: int, column: Column) -> str:
        if self.key_term(column).endswith(_BYTEWISE):
            return f"${position}::text"
        return postgres_storage.written(f"${position}", column)

    def load(self, table: EntityTable, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[Statement]:
        # One array for each column: a single text for any number of rows, and three times as fast as marks for each.
        columns = [table.columns[name] for name in names]
        arrays = ", ".join(f"${at + 1}::{array_type(column)}[]" for at, column in enumerate(columns))
        given = ", ".join(f"_{at}" for at in range(len(columns)))
        values = ", ".join(postgres_storage.written(f"g._{at}", column) for at, column in enumerate(columns))
        yield (
            f"INSERT INTO {self.dialect.table(table.name)} ({self.dialect.column_list(names)})"
            f" OVERRIDING SYSTEM VALUE SELECT {values} FROM unnest({arrays}) AS g({given})",
            [list(values) for values in zip(*rows, strict=True)],
        )

    def among(self, terms: Sequence[str], columns: Sequence[Column], keys: Sequence[Row]) -> Statement:
        arrays = ", ".join(f"${at + 1}::{array_type(column)}[]" for at, column in enumerate(columns))
        names = ", ".join(f"_{at}" for at in range(len(columns)))
        given = [
            f"g._{at}::text" if term.endswith(_BYTEWISE) else postgres_storage.written(f"g._{at}", column)
            for at, (term, column) in enumerate(zip(terms, columns, strict=True))
        ]
        condition = f"({', '.join(terms)}) IN (SELECT {', '.join(given)} FROM unnest({arrays}) AS g({names}))"
        return condition, [list(values) for values in zip(*keys, strict=True)]

    def own_type(self, kind: Kind, declared: str | None) -> str:
        if declared is not None and storage_of(declared) is not Storage.OTHER:
            return declared
        return super().own_type(kind, declared)


def array_type(column: Column) -> str:
    """The type of the elements of an array of a column's encoded values."""
    return _ARRAYS.get(kind_in(column), "text")
