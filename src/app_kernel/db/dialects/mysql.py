"""The words of MySQL and MariaDB, whose sessions have ANSI_QUOTES and NO_BACKSLASH_ESCAPES: so a quoted name is a name,
and a backslash a character like any other. Text has a binary collation that pads nothing."""

import zlib
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import ROUND_DOWN, Context, Decimal
from typing import Any, ClassVar
from uuid import UUID

from app_kernel.core import clock
from app_kernel.db import jsontext
from app_kernel.db.dialects import mysql_indexes, mysql_outbox, mysql_retype, mysql_saves, mysql_storage, readers
from app_kernel.db.dialects.base import Dialect, Steps
from app_kernel.db.dialects.mysql_marks import LARGE, Values, mark, then
from app_kernel.db.dialects.mysql_storage import Storage, storage_of
from app_kernel.db.kinds import MAX_DIGITS, Kind, kind_of
from app_kernel.db.table import HISTORY_FIELDS, OWNED_FIELDS, Column, Decoder, EntityTable

LOCK_SLOTS = 4096
"""Rows of `kernel_locks`, by which match_by makes its callers wait for one another."""
_TIMES = frozenset({"created_at", "updated_at", "deleted_at", "_at"})
_LAST_DIGIT = Decimal(1).scaleb(-mysql_storage.FRACTION_DIGITS)
_EXACT = Context(prec=2 * MAX_DIGITS)
_WITHOUT_LIMIT = 18446744073709551615
_EXACT_INT = "9223372036854775808e0"
"""Floats from here on are larger than every bigint."""
_JSON_TYPES = {
    Kind.STR: "('STRING')",
    Kind.INT: "('INTEGER', 'UNSIGNED INTEGER', 'DOUBLE', 'DECIMAL')",
    Kind.FLOAT: "('INTEGER', 'UNSIGNED INTEGER', 'DOUBLE', 'DECIMAL')",
    Kind.JSON: "('OBJECT', 'ARRAY')",
}
# Beside integers only; what is too small for a Decimal is still more, or less, than 0.
_JSON_NUMBER = (
    "(CASE CAST({text} AS DECIMAL(65,30)) WHEN 0 THEN SIGN(CAST({text} AS DOUBLE)) * 0.5"
    " ELSE CAST({text} AS DECIMAL(65,30)) END)"
)
# Of all character sets of one byte this one has cases for ASCII letters only, and a meaning for every byte.
_FOLD = "CONVERT(CAST({function}(CONVERT(CAST({text} AS BINARY) USING tis620)) AS BINARY) USING utf8mb4)"


def _read_decimal(value: Any) -> Any:
    """Without the zeros that a column adds up to its scale."""
    number = value if type(value) is Decimal else Decimal(value)
    text = format(number, "f")
    return Decimal(text.rstrip("0").rstrip(".")) if "." in text else number


def _encode_decimal(value: Any) -> Any:
    """A Decimal that no column can hold, where one is looked for, as one that lies between the same two that can be."""
    if type(value) is not Decimal or value == (held := value.quantize(_LAST_DIGIT, ROUND_DOWN, _EXACT)):
        return value
    return Decimal(f"{held:f}5").copy_sign(value)


def _dump_variant(value: Any) -> str:
    # As a column of Decimals has it, from which a value may have come.
    return jsontext.dump_variant(_read_decimal(value) if type(value) is Decimal else value)


class MySqlDialect(Dialect):
    """MariaDB 10.6 or newer, and MySQL 8.0.19 or newer; which of them it is, is known once connected."""

    name = "mysql"
    serial_type = "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY"
    generation_column = """, (SELECT "value" FROM "kernel_meta" WHERE "key" = 'generation') AS "kernel generation\""""
    kind_beside_float = Kind.DECIMAL
    gives_rows_back = False
    tells_kinds = True
    decimal_room = 10**mysql_storage.WHOLE_DIGITS - 1
    row_lock = " FOR UPDATE"
    saves_at_once = True
    most_at_once = LARGE
    encoders: ClassVar = {
        Kind.BOOL: int,
        Kind.DECIMAL: _encode_decimal,
        Kind.JSON: jsontext.dump_plain,
        Kind.DATETIME: clock.to_text,
        Kind.DATE: date.isoformat,
        Kind.UUID: str,
        Kind.VARIANT: _dump_variant,
    }
    decoders: ClassVar = {
        Kind.INT: readers.read_int,
        Kind.BIGINT: int,
        Kind.FLOAT: float,
        Kind.BOOL: readers.read_bool,
        Kind.DECIMAL: _read_decimal,
        Kind.JSON: jsontext.load,
        Kind.DATETIME: readers.read_datetime,
        Kind.DATE: readers.read_date,
        Kind.UUID: UUID,
        Kind.VARIANT: jsontext.load_variant,
    }
    exact_kinds: ClassVar = frozenset({Kind.INT, Kind.FLOAT, Kind.DATETIME, Kind.DATE})

    def __init__(self) -> None:
        self.is_mariadb = True
        self.use(is_mariadb=True)

    def use(self, *, is_mariadb: bool) -> None:
        """Speaks as this server understands."""
        self.is_mariadb = is_mariadb
        self.types = mysql_storage.types(is_mariadb=is_mariadb)  # type: ignore[misc]  # of this server alone
        text = mysql_storage.text_type("VARCHAR(191)", is_mariadb=is_mariadb)
        self.id_type = f"{text} COMMENT 'kernel:str'"  # type: ignore[misc]  # as above

    def kind_of(self, field: str, value: Any) -> Kind:
        kind = kind_of(field, value)
        if kind in {Kind.BIGINT, Kind.DECIMAL} and not mysql_storage.fits_number(kind, value):
            return Kind.VARIANT
        return kind

    def told_kind(self, declared: str) -> Kind | None:
        return mysql_storage.told_kind(declared)

    def encode_raw(self, kind: Kind, value: Any) -> Any:
        # A statement of the caller's own may write it into a column with room for more digits.
        return value if kind is Kind.DECIMAL else self.encode(kind, value)

    def placeholder(self, position: int, kind: Kind | None = None, storage: str = "") -> str:
        return mysql_storage.param(position, kind, storage)

    def decoder(self, column: Column) -> Decoder | None:
        kind = mysql_storage.kind_in(column) if column.adopted else column.kind
        return None if kind in self.exact_kinds and not column.adopted else self.decoders.get(kind)

    def is_same(self, column: Column, stored: Any, encoded: Any, given: Any) -> bool:
        return readers.is_same_on_server(self, column, stored, encoded, given)

    def natural_kind(self, declared: str) -> Kind:
        return mysql_storage.NATURAL[storage_of(declared)]

    def may_hold(self, declared: str, kind: Kind) -> bool:
        if kind is Kind.BIGINT and mysql_storage.is_unsigned_bigint(declared):
            return True
        return kind in mysql_storage.HOLDS[storage_of(declared)]

    def storage(self, column: Column) -> str:
        return mysql_storage.storage_beside(column)

    def value(self, column: Column) -> str:
        return mysql_storage.value(self.quote(column.name), column, is_mariadb=self.is_mariadb)

    def operand(self, sql: str, kind: Kind | None, *, ordered: bool = True) -> str:
        if kind is not Kind.JSON or self.is_mariadb:
            return sql
        return f"CAST({sql} AS JSON)" if sql.startswith("\0") else sql

    def cast_number(self, sql: str, kind: Kind, wanted: Kind) -> str:
        if kind is not Kind.FLOAT:
            return sql
        # Beside integers only: what lies between two of them is in the middle, however little it is above the lower.
        whole, rest = f"TRUNCATE({sql}, 0)", f"(CASE WHEN {sql} = TRUNCATE({sql}, 0) THEN 0 ELSE SIGN({sql}) * 0.5 END)"
        exact = f"CAST({whole} AS SIGNED) + {rest}"
        return f"(CASE WHEN ABS({sql}) < {_EXACT_INT} THEN {exact} ELSE CAST({sql} AS DECIMAL(65,0)) END)"

    def arithmetic(self, operator: str, left: str, right: str, kind: Kind) -> str:
        if kind is not Kind.INT:
            return super().arithmetic(operator, left, right, kind)
        # A column may be UNSIGNED, and with it every result: a difference is not, under NO_UNSIGNED_SUBTRACTION.
        one, other = (f"({side} - 0)" if side.startswith('"') else side for side in (left, right))
        if operator == "-" and left == "0":
            return f"(-({other}))"
        if operator == "-" and "(" not in f"{left}{right}":
            # MariaDB does not notice that 0 minus the smallest integer does not fit.
            return f"(CASE {one} WHEN 0 THEN -({other}) ELSE {one} - {other} END)"
        return f"({one} {operator} {other})"

    def like(self, operand: str, pattern: str, *, fold_case: bool) -> str:
        if fold_case:
            operand, pattern = self.call("LOWER", [operand]), self.call("LOWER", [pattern])
        return f"{operand} LIKE {pattern} ESCAPE '\\'"

    def json_source(self, column: Column) -> str:
        name = self.quote(column.name)
        is_text = column.adopted and storage_of(column.declared) is Storage.TEXT
        return f"(CASE WHEN JSON_VALID({name}) THEN {name} END)" if is_text else name

    def json_value(self, column: str, path: Sequence[str], kind: Kind | None) -> str:
        where = "'$" + "".join(f'."{key}"' for key in path) + "'"
        found = f"JSON_EXTRACT({column}, {where})"
        if kind is None:
            return f"(CASE WHEN JSON_TYPE({found}) <> 'NULL' THEN {found} END)"
        text = mysql_storage.in_bytes(f"JSON_UNQUOTE({found})", is_mariadb=self.is_mariadb)
        if kind is Kind.BOOL:
            return f"(CASE WHEN JSON_TYPE({found}) = 'BOOLEAN' THEN {text} = 'true' END)"
        whole = f"JSON_COMPACT({found})" if self.is_mariadb else found
        value = {
            Kind.STR: text,
            Kind.JSON: whole,
            Kind.INT: _JSON_NUMBER.format(text=text),
            Kind.FLOAT: f"CAST({text} AS DOUBLE)",
        }[kind]
        return f"(CASE WHEN JSON_TYPE({found}) IN {_JSON_TYPES[kind]} THEN {value} END)"

    def call(self, function: str, arguments: Sequence[str]) -> str:
        if function in {"LOWER", "UPPER"}:
            folded = _FOLD.format(function=function, text=arguments[0])
            return mysql_storage.in_bytes(folded, is_mariadb=self.is_mariadb)
        return f"CHAR_LENGTH({arguments[0]})" if function == "LENGTH" else super().call(function, arguments)

    def order_term(self, column: Column, kind: Kind, *, descending: bool) -> str:
        sql = self.quote(column.name) if self.storage(column) else self.value(column)
        return f"{sql}{' DESC' if descending else ''}"

    def read_list(self, table: EntityTable) -> str:
        columns = (table.columns[name] for name in table.names)
        return ", ".join(mysql_storage.read(self.quote(column.name), column) for column in columns)

    def written(self, position: int, column: Column) -> str:
        return mysql_storage.written(position, column)

    def equals_text(self, column: Column, mark: str) -> str:
        name, value = self.quote(column.name), self.value(column)
        # Its index has a collation of its own, by which different text may be equal.
        given = mysql_storage.in_set_of(mark, column)
        return f"{name} = {mark}" if name == value else f"{name} = {given} AND {value} = {mark}"

    def id_condition(self, table: EntityTable, position: int) -> str:
        id, given = table.columns["id"], mark(position)
        return f"{self.quote('id')} = {given}" if id.kind is Kind.INT else self.equals_text(id, given)

    def id_among(self, table: EntityTable, position: int) -> str:
        id, given = table.columns["id"], mark(position)
        name, value = self.quote("id"), self.value(id)
        also = "" if id.kind is Kind.INT or name == value else f" AND {value} IN ({given})"
        return f"{name} IN ({given}){also}"

    def encode_ids(self, ids: Sequence[Any]) -> Any:
        return Values(ids)

    def rows_at_once(self, width: int) -> int:
        return max(1, min(200, 32_000 // width))

    def insert(self, table: EntityTable, names: Sequence[str]) -> str:
        sql = super().insert(table, names).replace(" DEFAULT VALUES", " () VALUES ()")
        if self.is_mariadb:
            return sql
        insert = sql.rpartition(" RETURNING ")[0]
        found = f"{self.quote('id')} = LAST_INSERT_ID()"
        if "id" in names:
            found = self.id_condition(table, names.index("id") + 1)
        return then([insert, f"SELECT {self.read_list(table)} FROM {self.table(table.name)} WHERE {found}"])

    def update_by_id(self, table: EntityTable, names: Sequence[str]) -> str:
        update = super().update_by_id(table, names).rpartition(" RETURNING ")[0]
        found = self.id_condition(table, len(names) + 1)
        return then([update, f"SELECT {self.read_list(table)} FROM {self.table(table.name)} WHERE {found}"])

    def find_triggers(self, name: str) -> tuple[str, Sequence[Any]]:
        return mysql_saves.FIND_TRIGGERS, (name,)

    def create_statement(self, table: EntityTable, names: Sequence[str], messages: int = 0) -> str:
        return mysql_saves.create_statement(self, table, names, messages, is_mariadb=self.is_mariadb)

    def upsert_statement(self, table: EntityTable, names: Sequence[str], *, expected: bool = False) -> str:
        return mysql_saves.upsert_statement(self, table, names, expected=expected)

    def lock_keys(self, entity: str, keys: Sequence[int]) -> tuple[str, Sequence[Any]] | None:
        # Rows, because a lock of the session would outlast the transaction.
        first = zlib.crc32(entity.encode())
        slots = sorted({(first + key) % LOCK_SLOTS for key in keys})
        rows = ", ".join(f"({slot})" for slot in slots)
        return (
            f'INSERT INTO "kernel_locks" ("slot") VALUES {rows} ON DUPLICATE KEY UPDATE "slot" = VALUES("slot")',
            (),
        )

    def page(self, limit: int | None, offset: int | None) -> str:
        return super().page(_WITHOUT_LIMIT if limit is None and offset else limit, offset)

    @property
    def owned_types(self) -> Mapping[str, str]:
        return {field: self._owned_type(field, kind) for field, kind in OWNED_FIELDS.items()}

    @property
    def history_types(self) -> Mapping[str, str]:
        return {field: self._owned_type(field, kind) for field, kind in HISTORY_FIELDS.items()}

    def _owned_type(self, field: str, kind: Kind) -> str:
        """Instants have a fixed width, so that an index takes them as they are."""
        if field not in _TIMES:
            return self.types[kind].partition(" COMMENT ")[0]
        return mysql_storage.text_type("VARCHAR(32)", is_mariadb=self.is_mariadb)

    def column_type(self, kind: Kind, *, adopted: bool) -> str:
        return self.types[kind]

    def add_columns(self, table_name: str, columns: Mapping[str, str]) -> Sequence[str]:
        added = ", ".join(f"ADD COLUMN {self.quote(name)} {columns[name]}" for name in columns)
        return [f"ALTER TABLE {self.table(table_name)} {added}"] if added else []

    def create_table(self, name: str, columns: Mapping[str, str]) -> str:
        return f"{super().create_table(name, columns)} ENGINE = InnoDB"

    def create_history(self, name: str, columns: Mapping[str, str]) -> str:
        return f"{super().create_history(name, columns)} ENGINE = InnoDB"

    def lock_to_retype(self, table_names: Sequence[str]) -> str | None:
        return f"LOCK TABLES {', '.join(f'{self.table(name)} WRITE' for name in table_names)}"

    def retype_column(
        self, table_name: str, column: str, old: Kind, new: Kind, declared: str, *, through: Kind | None = None
    ) -> Steps:
        yield from mysql_retype.retype_column(
            self, table_name, column, old, new, declared, through=through, is_mariadb=self.is_mariadb
        )

    def make_index(
        self, index_name: str, table_name: str, fields: Sequence[str], *, unique: bool, lengths: Mapping[str, int]
    ) -> Steps:
        yield from mysql_indexes.make_index(
            self, index_name, table_name, fields, unique=unique, lengths=lengths, is_mariadb=self.is_mariadb
        )

    def drop_index(self, index_name: str, table_name: str) -> str:
        return f"{super().drop_index(index_name, table_name)} ON {self.table(table_name)}"

    def create_outbox(self) -> list[str]:
        return mysql_outbox.create_outbox(is_mariadb=self.is_mariadb)
