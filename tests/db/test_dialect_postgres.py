"""PostgreSQL's words, as tables of strings."""

import pytest

from app_kernel.db import jsontext
from app_kernel.db.dialects import postgres_retype
from app_kernel.db.dialects.postgres import PostgresDialect
from app_kernel.db.dialects.postgres_catalog import PostgresQueries
from app_kernel.db.dialects.postgres_storage import Storage, storage_of
from app_kernel.db.kinds import Kind
from app_kernel.db.table import OWNED_FIELDS, Column, EntityTable
from app_kernel.db.where import compile_order, compile_where

postgres = PostgresDialect()
TEXT = 'text COLLATE "C"'
OWNED = (
    f'"created_at" {TEXT}, "updated_at" {TEXT}, "created_by" {TEXT}, "updated_by" {TEXT}, "deleted_at" {TEXT},'
    ' "_version" bigint'
)
COLUMNS = '"id", "n", "created_at", "updated_at", "created_by", "updated_by", "deleted_at", "_version"'
GENERATION = """(SELECT "value" FROM "kernel_meta" WHERE "key" = 'generation') AS "kernel generation\""""


def notes(**more):
    columns = {"id": Column("id", Kind.STR, TEXT), "n": Column("n", Kind.INT, "bigint"), **more}
    columns |= {name: Column(name, kind, postgres.types[kind]) for name, kind in OWNED_FIELDS.items()}
    return EntityTable("notes", 1, columns).prepare(postgres.decoder)


STORAGES = [
    ("text", Storage.TEXT),
    (TEXT, Storage.TEXT),
    ("text COLLATE de_x_icu", Storage.TEXT),
    ("character varying(20)", Storage.TEXT),
    ("character(3)", Storage.TEXT),
    ("integer", Storage.INT),
    ("smallint", Storage.INT),
    ("numeric(10,2)", Storage.NUMERIC),
    ("numeric(10,-2)", Storage.NUMERIC),
    ("real", Storage.FLOAT),
    ("timestamp(3) without time zone", Storage.TIMESTAMP),
    ("timestamp with time zone", Storage.TIMESTAMPTZ),
    ("time with time zone", Storage.OTHER),
    ("integer[]", Storage.OTHER),
    ("text[]", Storage.OTHER),
    ("shop.mood", Storage.OTHER),
    ('"Mood"', Storage.OTHER),
    ("json", Storage.JSON),
    ("uuid", Storage.UUID),
]


@pytest.mark.parametrize(("declared", "expected"), STORAGES)
def test_a_declared_type_comes_to_its_storage(declared, expected):
    assert storage_of(declared) is expected


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.UNKNOWN])
def test_a_column_of_the_stores_own_is_written_read_and_compared_as_it_is(kind):
    column = Column("v", kind, postgres.types[kind])
    assert postgres.may_hold(column.declared, kind)
    assert postgres.storage(column) == ""
    assert postgres.value(column) == '"v"'
    assert postgres.read_list(notes(v=column)).split(", ")[2] == '"v"'
    assert postgres.written(3, column) == postgres.placeholder(3, kind)


MARKS = [
    ("integer", Kind.BOOL, "$1::boolean::integer", '(CASE "v" WHEN 1 THEN TRUE WHEN 0 THEN FALSE END)'),
    ("smallint", Kind.INT, "$1::bigint", '"v"'),
    ("numeric", Kind.FLOAT, "$1::double precision::text::numeric", '"v"'),
    (
        "timestamp without time zone",
        Kind.DATETIME,
        "($1::text::timestamptz AT TIME ZONE 'UTC')",
        "(\"v\" AT TIME ZONE 'UTC')",
    ),
    ("uuid", Kind.STR, "$1::text::uuid", '"v"::text'),
    ("json", Kind.JSON, "$1::jsonb", '"v"::jsonb'),
    ("text", Kind.DECIMAL, "$1::numeric::text", None),
    ("text", Kind.DATETIME, "$1::text", None),
    ("mood", Kind.STR, "$1::text::mood", '"v"::text'),
]


@pytest.mark.parametrize(("declared", "kind", "written", "value"), MARKS)
def test_a_column_of_the_applications_is_written_and_compared_by_its_type(declared, kind, written, value):
    column = Column("v", kind, declared, adopted=True)
    assert postgres.written(1, column) == written
    assert value in (None, postgres.value(column))


STATEMENTS = [
    (lambda: postgres.placeholder(3), "$3"),
    (lambda: postgres.table("order"), '"order"'),
    (lambda: PostgresDialect("mine").table("pg_class"), '"mine"."pg_class"'),
    (lambda: postgres.create_table("order", {}), f'CREATE TABLE "order" ("id" {TEXT} NOT NULL PRIMARY KEY, {OWNED})'),
    (
        lambda: postgres.create_index("ux", "notes", ("a", "id"), unique=True),
        ('CREATE UNIQUE INDEX "ux" ON "notes" ("a" NULLS FIRST, "id") WHERE "deleted_at" IS NULL'),
    ),
    (
        lambda: postgres.create_index("ix", "notes", ("a",), unique=False, aside=True),
        'CREATE INDEX CONCURRENTLY IF NOT EXISTS "ix" ON "notes" ("a" NULLS FIRST)',
    ),
    (
        lambda: postgres.add_columns("notes", {"a": "text", "b": "bigint"})[0],
        'ALTER TABLE "notes" ADD COLUMN "a" text, ADD COLUMN "b" bigint',
    ),
    (lambda: postgres.analyze(["notes", "pg_x"]) or "", 'ANALYZE (SKIP_LOCKED) "notes", "public"."pg_x"'),
    (
        lambda: postgres.select_by_id(notes(), include_deleted=False),
        f'SELECT {COLUMNS}, {GENERATION} FROM "notes" WHERE "id" = $1::text AND "deleted_at" IS NULL',
    ),
    (
        lambda: postgres.select_to_write(notes()),
        f'SELECT {COLUMNS} FROM "notes" WHERE "id" = $1::text FOR UPDATE',
    ),
    (
        lambda: postgres.insert(notes(), ("id", "n")),
        f'INSERT INTO "notes" ("id", "n") VALUES ($1::text, $2::bigint) RETURNING {COLUMNS}',
    ),
    (
        lambda: postgres.update_by_id(notes(), ("n", "_version")),
        f'UPDATE "notes" SET "n" = $1::bigint, "_version" = $2::bigint WHERE "id" = $3::text RETURNING {COLUMNS}',
    ),
    (
        lambda: postgres.copy_to_history(notes()),
        (
            f'INSERT INTO "notes_history" ({COLUMNS}, "_action", "_at", "_actor", "_comment")'
            f' SELECT {COLUMNS}, $1::text, $2::text, $3::text, $4::text FROM "notes" WHERE "id" = $5::text'
        ),
    ),
    (lambda: postgres.page(None, 10), " OFFSET 10"),
    (lambda: postgres.order_term(Column("n", Kind.INT), Kind.INT, descending=False), '"n" NULLS FIRST'),
    (lambda: postgres.order_term(Column("n", Kind.INT), Kind.INT, descending=True), '"n" DESC NULLS LAST'),
    (lambda: postgres.order_term(Column("id", Kind.STR, TEXT), Kind.STR, descending=True), '"id" DESC'),
    (lambda: postgres.order_term(Column("s", Kind.STR, TEXT), Kind.STR, descending=False), '"s" NULLS FIRST'),
    (
        lambda: postgres.order_term(Column("s", Kind.STR, "text"), Kind.STR, descending=False),
        '"s" COLLATE "C" NULLS FIRST',
    ),
    (lambda: postgres.like('"s"', "$1", fold_case=False), '"s" COLLATE "C" LIKE $1 ESCAPE \'\\\''),
    (lambda: postgres.call("LENGTH", ['"s"']), 'LENGTH("s")::bigint'),
    (lambda: postgres.json_value('"j"', ("a", "null"), None), """("j" #>> '{"a","null"}')"""),
]


@pytest.mark.parametrize(("spell", "expected"), STATEMENTS, ids=[each[1][:60] for each in STATEMENTS])
def test_a_statement_is_spelled_so(spell, expected):
    assert spell() == expected


CLAUSES = [
    ("[n] = ?", (1,), '"n" = $1::bigint'),
    ("[n] = ?", (1.5,), '"n" = $1::numeric'),
    ("[s] = ?", ("x",), '"s" = $1::text'),
    ("[s] > ?", ("x",), '"s" COLLATE "C" > $1::text COLLATE "C"'),
    ("[n] IN (?)", ([1, 2],), '"n" IN ($1::bigint, $2::bigint)'),
    ("[j] = ?", ([1],), '"j"::text = $1::jsonb::text'),
    ("[t] = ?", ("2024-01-01T00:00:00Z",), '"t" = $1::text::timestamptz'),
    ("[own_t] = ?", ("2024-01-01T00:00:00Z",), "\"own_t\" = ($1::text::timestamptz AT TIME ZONE 'UTC')"),
    ("[own_json] = ?", ({},), '"own_json" = $1::text'),
    ("[flag] IS NULL", (), '"flag" IS NULL'),
    ("[n] + 1 = 2", (), '("n" + $1::bigint) = $2::bigint'),
    ("[nope] = ?", (1,), "NULL = 1"),
]
KNOWN = notes(
    s=Column("s", Kind.STR, TEXT),
    j=Column("j", Kind.JSON, "jsonb"),
    t=Column("t", Kind.DATETIME, "timestamp with time zone"),
    own_t=Column("own_t", Kind.DATETIME, "timestamp without time zone", adopted=True),
    own_json=Column("own_json", Kind.JSON, "text", adopted=True),
    flag=Column("flag", Kind.BOOL, "integer", adopted=True),
).columns


@pytest.mark.parametrize(("clause", "params", "expected"), CLAUSES, ids=[each[0] for each in CLAUSES])
def test_a_clause_is_spelled_so_that_an_index_serves_where_one_can(clause, params, expected):
    assert compile_where(clause, params, KNOWN, postgres).sql == expected


def test_an_order_names_the_columns_and_leaves_out_what_is_none():
    assert compile_order("[n] DESC, nope, s", KNOWN, postgres) == ('"n" DESC NULLS LAST, "s" NULLS FIRST', ("n", "s"))


PLAIN = [
    (1e17, "100000000000000000.0"),
    (-1e22, "-10000000000000000000000.0"),
    (1e-7, "0.0000001"),
    (-0.0, "0.0"),
    (10**17, "100000000000000000"),
    ("1e17", '"1e17"'),
    ('quote " 1e17 \\ -0.0', '"quote \\" 1e17 \\\\ -0.0"'),
    ({"1e17": [1e16, -0.05, "\u2028"]}, '{"1e17":[10000000000000000.0,-0.05,"\u2028"]}'),
]


@pytest.mark.parametrize(("value", "expected"), PLAIN)
def test_plain_json_has_no_exponents_outside_of_text(value, expected):
    assert jsontext.dump_plain(value) == expected
    assert jsontext.load(expected) == value


def test_questions_about_a_column_are_worded_for_its_table():
    queries = PostgresQueries(postgres)
    assert queries.find_value("pg_x", "n")[0] == 'SELECT 1 FROM "public"."pg_x" WHERE "n" IS NOT NULL LIMIT 1'
    assert queries.find_beyond("t", "n", 5)[1] == (5, -5)
    remembered = queries.remember("t", {"n": Kind.INT, "s": Kind.STR}, adopted=True)
    assert remembered[1] == ("t", "n", "int", 1, "t", "s", "str", 1)
    assert "($1::text, $2::text, $3::text, $4::bigint), ($5::text," in remembered[0]


def steps(old, new, declared, *answers):
    """The statements of a change of kind, each answered with the next rows."""
    work = postgres_retype.retype_column(postgres, "notes", "n", old, new, declared)
    given, rows = [], iter(answers)
    try:
        statement = next(work)
        while True:
            given.append(statement)
            statement = work.send(next(rows, []))
    except StopIteration:
        return given


def test_a_column_is_retyped_in_place_where_sql_is_exact():
    assert [sql for sql, _ in steps(Kind.INT, Kind.FLOAT, "double precision")][2:] == [
        'ALTER TABLE "notes" ALTER COLUMN "n" TYPE double precision USING "n"::double precision'
    ]
    assert steps(Kind.BIGINT, Kind.DECIMAL, "numeric") == []


def test_variants_are_written_as_python_writes_them():
    done = steps(Kind.FLOAT, Kind.VARIANT, TEXT, [], [], [], [("(0,1)", 1e16), ("(0,2)", 0.5)], [], [])
    assert done[4][1] == (["(0,1)", "(0,2)"], ["1e+16", "0.5"])
    assert done[5][1] == ("(0,2)",)
    assert [sql for sql, _ in done[-2:]] == [
        f'ALTER TABLE "notes" ALTER COLUMN "n" TYPE {TEXT} USING "kernel_moved_n"',
        'ALTER TABLE "notes" DROP COLUMN "kernel_moved_n"',
    ]


def test_views_and_triggers_step_aside_and_come_back_with_owner_and_rights():
    view = ("seen", "v", None, " SELECT n FROM notes;", "ann", 7)
    trigger = ("DROP TRIGGER watch ON notes", "CREATE TRIGGER watch ...")
    grant = ("GRANT SELECT ON seen TO bob",)
    done = steps(Kind.INT, Kind.DECIMAL, "numeric", [view], [trigger], [], [], [grant])
    assert [sql for sql, _ in done[5:]] == [
        "DROP VIEW seen",
        "DROP TRIGGER watch ON notes",
        'ALTER TABLE "notes" ALTER COLUMN "n" TYPE numeric USING "n"::numeric',
        "CREATE VIEW seen AS  SELECT n FROM notes",
        'ALTER VIEW seen OWNER TO "ann"',
        "GRANT SELECT ON seen TO bob",
        "CREATE TRIGGER watch ...",
    ]
