"""SQLite's words, as tables of strings."""

import pytest

from app_kernel.db.dialects.base import Dialect
from app_kernel.db.dialects.sqlite import SqliteDialect, affinity, convert
from app_kernel.db.kinds import Kind
from app_kernel.db.table import OWNED_FIELDS, Column, EntityTable

sqlite = SqliteDialect()

OWNED = (
    '"created_at" TEXT, "updated_at" TEXT, "created_by" TEXT, "updated_by" TEXT, "deleted_at" TEXT, "_version" INTEGER'
)
COLUMNS = '"id", "n", "created_at", "updated_at", "created_by", "updated_by", "deleted_at", "_version"'


def notes(*, owned=True):
    columns = {"id": Column("id", Kind.STR, "TEXT"), "n": Column("n", Kind.INT, "INTEGER")}
    if owned:
        columns |= {name: Column(name, kind, "TEXT") for name, kind in OWNED_FIELDS.items()}
    return EntityTable("notes", 1, columns).prepare(sqlite.decoder)


AFFINITIES = [
    ("INTEGER", "INTEGER"),
    ("int", "INTEGER"),
    ("BIGINT UNSIGNED", "INTEGER"),
    ("BOOLEAN_INT", "INTEGER"),
    ("CHARINT", "INTEGER"),
    ("POINT", "INTEGER"),
    ("TEXT", "TEXT"),
    ("VARCHAR(40)", "TEXT"),
    ("nvarchar(10)", "TEXT"),
    ("CLOB", "TEXT"),
    ("JSON_TEXT", "TEXT"),
    ("DATETIME_TEXT", "TEXT"),
    ("DECIMAL_TEXT", "TEXT"),
    ("BIGNUMBER_TEXT", "TEXT"),
    ("", "BLOB"),
    ("BLOB", "BLOB"),
    ("REAL", "REAL"),
    ("DOUBLE PRECISION", "REAL"),
    ("float", "REAL"),
    ("NUMERIC", "NUMERIC"),
    ("DECIMAL(10, 2)", "NUMERIC"),
    ("BOOLEAN", "NUMERIC"),
    ("DATE", "NUMERIC"),
    ("DATETIME", "NUMERIC"),
    ("JSON", "NUMERIC"),
    ("UUID", "NUMERIC"),
    ("STRING", "NUMERIC"),
]


@pytest.mark.parametrize(("declared", "expected"), AFFINITIES)
def test_the_affinity_of_a_declared_type_is_sqlites_own(declared, expected):
    import sqlite3

    assert affinity(declared) == expected
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE TABLE t (v {declared})")
    connection.executemany("INSERT INTO t VALUES (?)", [("5",), (5.0,), (b"x",)])
    stored = tuple(row[0] for row in connection.execute("SELECT typeof(v) FROM t"))
    connection.close()
    assert (
        stored[:2]
        == {
            "INTEGER": ("integer", "integer"),
            "TEXT": ("text", "text"),
            "BLOB": ("text", "real"),
            "REAL": ("real", "real"),
            "NUMERIC": ("integer", "integer"),
        }[expected]
    )


AFFINITY_OF_KIND = {
    Kind.INT: "INTEGER",
    Kind.BOOL: "INTEGER",
    Kind.FLOAT: "REAL",
    Kind.BYTES: "BLOB",
}


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.UNKNOWN])
def test_a_column_of_the_stores_own_has_the_affinity_that_alters_nothing(kind):
    expected = AFFINITY_OF_KIND.get(kind, "TEXT")
    assert affinity(sqlite.types[kind]) == expected
    assert sqlite.column_type(kind, adopted=False) == sqlite.types[kind]
    assert sqlite.column_type(kind, adopted=True) == expected
    assert sqlite.may_hold(sqlite.types[kind], kind)


HOLDS = [
    ("INTEGER", "int bool"),
    ("REAL", "float"),
    ("TEXT", "str bigint decimal json datetime date uuid variant"),
    ("BLOB", "str int bigint float bool decimal json datetime date bytes uuid variant"),
    ("JSON", "str int float bool decimal json datetime date uuid"),
]


@pytest.mark.parametrize(("declared", "kinds"), HOLDS)
def test_an_applications_column_may_hold_what_its_affinity_keeps(declared, kinds):
    assert {str(kind) for kind in Kind if sqlite.may_hold(declared, kind)} == set(kinds.split())


STATEMENTS = [
    (lambda: sqlite.quote("order"), '"order"'),
    (lambda: sqlite.placeholder(3), "?"),
    (lambda: sqlite.column_list(["id", "group"]), '"id", "group"'),
    (
        lambda: sqlite.create_table("order", {}),
        f'CREATE TABLE "order" ("id" TEXT NOT NULL PRIMARY KEY, {OWNED})',
    ),
    (
        lambda: sqlite.create_history("notes", {"id": "TEXT", "_version": "INTEGER"}),
        (
            'CREATE TABLE "notes_history" ("id" TEXT, "_version" INTEGER, "_action" TEXT, "_at" TEXT, "_actor" TEXT,'
            ' "_comment" TEXT, PRIMARY KEY ("id", "_version"))'
        ),
    ),
    (lambda: sqlite.add_columns("notes", {"n": "INTEGER"})[0], 'ALTER TABLE "notes" ADD COLUMN "n" INTEGER'),
    (
        lambda: sqlite.create_index("ix", "notes", ("a", "b"), unique=False),
        'CREATE INDEX "ix" ON "notes" ("a", "b", "id")',
    ),
    (
        lambda: sqlite.create_index("ux", "notes", ("a",), unique=True),
        'CREATE UNIQUE INDEX "ux" ON "notes" ("a") WHERE "deleted_at" IS NULL',
    ),
    (lambda: sqlite.read_list(notes()), COLUMNS),
    (lambda: sqlite.select_to_write(notes()), f'SELECT {COLUMNS} FROM "notes" WHERE "id" = ?'),
    (lambda: sqlite.create_statement(notes(), ("id",)) or "", ""),
    (lambda: sqlite.upsert_statement(notes(), ("n",)) or "", ""),
    (
        lambda: sqlite.select_by_id(notes(), include_deleted=False),
        f'SELECT {COLUMNS} FROM "notes" WHERE "id" = ? AND "deleted_at" IS NULL',
    ),
    (
        lambda: sqlite.select_by_id(notes(), include_deleted=True),
        f'SELECT {COLUMNS} FROM "notes" WHERE "id" = ?',
    ),
    (
        lambda: sqlite.select_by_id(notes(owned=False), include_deleted=False),
        'SELECT "id", "n" FROM "notes" WHERE "id" = ?',
    ),
    (
        lambda: sqlite.insert(notes(), ("id", "n")),
        f'INSERT INTO "notes" ("id", "n") VALUES (?, ?) RETURNING {COLUMNS}',
    ),
    (lambda: sqlite.insert(notes(), ()), f'INSERT INTO "notes" DEFAULT VALUES RETURNING {COLUMNS}'),
    (
        lambda: sqlite.update_by_id(notes(), ("n", "_version")),
        f'UPDATE "notes" SET "n" = ?, "_version" = ? WHERE "id" = ? RETURNING {COLUMNS}',
    ),
    (lambda: sqlite.delete_by_id("notes"), 'DELETE FROM "notes" WHERE "id" = ?'),
    (
        lambda: sqlite.copy_to_history(notes()),
        (
            f'INSERT INTO "notes_history" ({COLUMNS}, "_action", "_at", "_actor", "_comment")'
            f' SELECT {COLUMNS}, ?, ?, ?, ? FROM "notes" WHERE "id" = ?'
        ),
    ),
    (lambda: sqlite.last_version(notes()), 'SELECT MAX("_version") FROM "notes_history" WHERE "id" = ?'),
    (lambda: sqlite.page(None, None), ""),
    (lambda: sqlite.page(5, None), " LIMIT 5"),
    (lambda: sqlite.page(5, 0), " LIMIT 5"),
    (lambda: sqlite.page(5, 10), " LIMIT 5 OFFSET 10"),
    (lambda: sqlite.page(None, 10), " LIMIT -1 OFFSET 10"),
    (lambda: Dialect.page(sqlite, None, 10), " OFFSET 10"),
    (lambda: sqlite.order_term(Column("n", Kind.INT), Kind.INT, descending=False), '"n"'),
    (lambda: sqlite.order_term(Column("n", Kind.INT), Kind.INT, descending=True), '"n" DESC'),
    (
        lambda: sqlite.order_term(Column("d", Kind.DECIMAL), Kind.DECIMAL, descending=True),
        '"d" COLLATE kernel_number DESC',
    ),
    (lambda: sqlite.operand('"big"', Kind.BIGINT), '"big" COLLATE kernel_number'),
    (lambda: sqlite.operand('"s"', Kind.STR), '"s"'),
    (lambda: sqlite.like('"s"', "?", fold_case=False), "\"s\" LIKE ? ESCAPE '\\'"),
    (lambda: sqlite.like('"s"', "?", fold_case=True), "LOWER(\"s\") LIKE LOWER(?) ESCAPE '\\'"),
]


@pytest.mark.parametrize(("spell", "expected"), STATEMENTS, ids=[each[1][:60] or "nothing" for each in STATEMENTS])
def test_a_statement_is_spelled_so(spell, expected):
    assert spell() == expected


def test_a_column_is_retyped_through_a_new_one():
    statements = [sql for sql, params in sqlite.retype_column("notes", "n", Kind.INT, Kind.FLOAT, "REAL")]
    assert statements == [
        'ALTER TABLE "notes" ADD COLUMN "kernel_moved_n" REAL',
        'UPDATE "notes" SET "kernel_moved_n" = kernel_convert(\'int\', \'float\', "n") WHERE "n" IS NOT NULL',
        "PRAGMA writable_schema = ON",
        'ALTER TABLE "notes" DROP COLUMN "n"',
        'ALTER TABLE "notes" RENAME COLUMN "kernel_moved_n" TO "n"',
        "PRAGMA writable_schema = OFF",
    ]
    longest, _ = next(sqlite.retype_column("t", "x" * 63, Kind.INT, Kind.STR, ""))
    assert all(len(part) <= 63 for part in longest.split('"'))


CONVERSIONS = [
    (Kind.INT, Kind.FLOAT, 5, 5.0),
    (Kind.INT, Kind.DECIMAL, 5, "5"),
    (Kind.INT, Kind.BIGINT, 5, "5"),
    (Kind.INT, Kind.VARIANT, 5, "5"),
    (Kind.BIGINT, Kind.DECIMAL, "9223372036854775808", "9223372036854775808"),
    (Kind.STR, Kind.VARIANT, "5", '"5"'),
    (Kind.BOOL, Kind.VARIANT, 1, "true"),
    (Kind.FLOAT, Kind.VARIANT, 5.0, "5.0"),
    (Kind.JSON, Kind.VARIANT, '{"a":1}', '{"a":1}'),
    (Kind.DECIMAL, Kind.VARIANT, "1.50", '{"$kind":"decimal","value":"1.50"}'),
    (Kind.BYTES, Kind.VARIANT, b"\x00", '{"$kind":"bytes","value":"AA=="}'),
    (Kind.INT, Kind.FLOAT, "by hand", "by hand"),
    (Kind.INT, Kind.DECIMAL, "by hand", "by hand"),
    (Kind.JSON, Kind.VARIANT, "no json", "no json"),
]


@pytest.mark.parametrize(("old", "new", "stored", "expected"), CONVERSIONS)
def test_a_stored_value_is_converted_or_stays_as_it_is(old, new, stored, expected):
    converted = convert(sqlite, old, new, stored)
    assert (converted, type(converted)) == (expected, type(expected))
