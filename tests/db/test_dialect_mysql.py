"""The words of MySQL's dialect as text, for MariaDB and for MySQL 8: wherever the two differ, both are here.

`$1` stands for a parameter, `$1t` for one that is written as an instant, and `;;` between what goes in one round trip.
"""

import pytest

from app_kernel.db.dialects import mysql_outbox, row_sets
from app_kernel.db.dialects.mysql import MySqlDialect
from app_kernel.db.dialects.mysql_catalog import MySqlQueries
from app_kernel.db.dialects.mysql_marks import MARK, THEN, Values, mark, placed, then
from app_kernel.db.drivers.mysql_connection import OLDEST, _settings
from app_kernel.db.drivers.mysql_layout import _own_tables
from app_kernel.db.drivers.mysql_options import parse_mysql_url
from app_kernel.db.drivers.mysql_snapshot import _UNLIMITED
from app_kernel.db.drivers.mysql_text import render
from app_kernel.db.kinds import Kind
from app_kernel.db.table import OWNED_FIELDS, Column, EntityTable
from app_kernel.db.where import compile_order, compile_where

SERVERS = {"MariaDB": True, "MySQL 8": False}
BIN = {True: "utf8mb4_nopad_bin", False: "utf8mb4_0900_bin"}
ROW = '"id", "n", "j", "created_at", "updated_at", "created_by", "updated_by", "deleted_at", "_version"'
EXTRA = '"_action", "_at", "_actor", "_comment"'
AT_GENERATION = (
    """FROM "kernel_meta" WHERE "key" = 'generation' AND "value" & 1099511627775 = {} AND "value" >> 40 <> {}"""
)
OF_NOTES = 1812113
"""The mark of `notes`, when its columns are being changed."""


@pytest.fixture(params=SERVERS)
def is_mariadb(request):
    return SERVERS[request.param]


def dialect_of(is_mariadb):
    dialect = MySqlDialect()
    dialect.use(is_mariadb=is_mariadb)
    return dialect


def notes(dialect, **more):
    columns = {"id": Column("id", Kind.STR, dialect.id_type), "n": Column("n", Kind.INT, "BIGINT")}
    columns |= {"j": Column("j", Kind.JSON, dialect.types[Kind.JSON]), **more}
    columns |= {name: Column(name, kind, dialect.owned_types[name]) for name, kind in OWNED_FIELDS.items()}
    return EntityTable("notes", 7, columns).prepare(dialect.decoder)


def shown(sql):
    return MARK.sub(lambda found: f"${found[1]}{found[2]}", sql).replace(THEN, " ;; ")


def steps(work, *answers):
    """The statements of a generator that is answered so."""
    made, left = [], list(answers)
    try:
        sql, _ = next(work)
        while True:
            made.append(shown(sql))
            sql, _ = work.send(left.pop(0) if left else [])
    except StopIteration:
        return made


def text(declared, is_mariadb):
    return f"{declared} CHARACTER SET utf8mb4 COLLATE {BIN[is_mariadb]}"


def test_each_kind_has_its_type_and_says_so(is_mariadb):
    long = text("LONGTEXT", is_mariadb)
    assert dialect_of(is_mariadb).types == {
        Kind.STR: f"{long} COMMENT 'kernel:str'",
        Kind.UUID: f"{long} COMMENT 'kernel:uuid'",
        Kind.VARIANT: f"{long} COMMENT 'kernel:variant'",
        Kind.JSON: f"{long if is_mariadb else 'JSON'} COMMENT 'kernel:json'",
        Kind.INT: "BIGINT COMMENT 'kernel:int'",
        Kind.BIGINT: "DECIMAL(65,0) COMMENT 'kernel:bigint'",
        Kind.FLOAT: "DOUBLE COMMENT 'kernel:float'",
        Kind.BOOL: "TINYINT(1) COMMENT 'kernel:bool'",
        Kind.DECIMAL: "DECIMAL(65,30) COMMENT 'kernel:decimal'",
        Kind.DATETIME: "DATETIME(6) COMMENT 'kernel:datetime'",
        Kind.DATE: "DATE COMMENT 'kernel:date'",
        Kind.BYTES: "LONGBLOB COMMENT 'kernel:bytes'",
    }


def test_tables_have_the_collation_of_their_server(is_mariadb):
    dialect = dialect_of(is_mariadb)
    id, short, long = (text(each, is_mariadb) for each in ("VARCHAR(191)", "VARCHAR(32)", "LONGTEXT"))
    assert dialect.create_table("notes", {"n": "BIGINT"}) == (
        f"""CREATE TABLE "notes" ("id" {id} COMMENT 'kernel:str' NOT NULL PRIMARY KEY, "n" BIGINT,"""
        f' "created_at" {short}, "updated_at" {short}, "created_by" {long}, "updated_by" {long}, "deleted_at" {short},'
        ' "_version" BIGINT) ENGINE = InnoDB'
    )
    assert dialect.create_history("notes", {"id": id, "_version": "BIGINT"}) == (
        f'CREATE TABLE "notes_history" ("id" {id}, "_version" BIGINT, "_action" {long}, "_at" {short},'
        f' "_actor" {long}, "_comment" {long}, PRIMARY KEY ("id", "_version")) ENGINE = InnoDB'
    )
    own = [*_own_tables(is_mariadb=is_mariadb), *mysql_outbox.create_outbox(is_mariadb=is_mariadb)]
    assert len(own) == 9
    other = BIN[not is_mariadb]
    assert all(statement.endswith(") ENGINE = InnoDB") and other not in statement for statement in own)
    assert sum(statement.count(f"COLLATE {BIN[is_mariadb]}") for statement in own) == 24
    assert 'KEY "kernel_outbox_unsent" ("batch", "topic", "seq")' in own[5]


@pytest.mark.parametrize(
    ("names", "values", "found"),
    [
        (("id", "n"), '("id", "n") VALUES ($1, $2)', "$1"),
        (("n", "id"), '("n", "id") VALUES ($1, $2)', "$2"),
        (("n",), '("n") VALUES ($1)', "LAST_INSERT_ID()"),
        ((), "() VALUES ()", "LAST_INSERT_ID()"),
    ],
)
def test_an_insert_gives_its_row_back(is_mariadb, names, values, found):
    sql = shown(dialect_of(is_mariadb).insert(notes(dialect_of(is_mariadb)), names))
    if is_mariadb:
        assert sql == f'INSERT INTO "notes" {values} RETURNING {ROW}'
    else:
        assert sql == f'INSERT INTO "notes" {values} ;; SELECT {ROW} FROM "notes" WHERE "id" = {found}'


def test_an_update_is_followed_by_a_look_at_its_row_on_both(is_mariadb):
    dialect = dialect_of(is_mariadb)
    assert shown(dialect.update_by_id(notes(dialect), ("n",))) == (
        f'UPDATE "notes" SET "n" = $1 WHERE "id" = $2 ;; SELECT {ROW} FROM "notes" WHERE "id" = $2'
    )


def test_a_create_is_one_text_of_row_history_and_messages(is_mariadb):
    dialect = dialect_of(is_mariadb)
    given = '"id", "j", "created_at", "updated_at", "created_by", "updated_by", "_version"'
    names = tuple(given.replace('"', "").split(", "))
    insert = f'INSERT INTO "notes" ({given}) SELECT $1, $2, $3, $4, $5, $6, $7 {AT_GENERATION.format("$12", OF_NOTES)}'
    row = f" RETURNING {ROW}" if is_mariadb else f' ;; SELECT {ROW} FROM "notes" WHERE "id" = $1'
    history = (
        f'INSERT INTO "notes_history" ({ROW}, {EXTRA}) SELECT {ROW}, $8, $9, $10, $11 FROM "notes" WHERE "id" = $1'
    )
    into = 'INSERT INTO "kernel_outbox" ("id", "topic", "key", "body", "created_at") SELECT'
    first, second = (
        f"""{into} {", ".join(f"${start + at}" for at in range(5))} FROM "notes" WHERE "id" = $1"""
        for start in (13, 18)
    )
    assert (
        shown(dialect.create_statement(notes(dialect), names, 2))
        == f"{insert}{row} ;; {history} ;; {first} ;; {second}"
    )
    table = notes(dialect)
    table.keeps_history = False
    assert shown(dialect.create_statement(table, names)) == f"{insert}{row}"


@pytest.mark.parametrize("expected", [False, True])
def test_a_save_to_an_id_is_one_text_that_copies_only_what_it_wrote(is_mariadb, expected):
    dialect = dialect_of(is_mariadb)
    document = "$3" if is_mariadb else "CAST($3 AS JSON)"
    update = (
        'UPDATE "notes" SET "n" = $2, "j" = $3, "updated_at" = $4, "updated_by" = $5, "_version" = "_version" + 1'
        f""" WHERE "id" = $1 AND "deleted_at" IS NULL AND "_version" {"= $8" if expected else "IS NOT NULL"}"""
        f" AND EXISTS (SELECT 1 {AT_GENERATION.format('$7', OF_NOTES)})"
        f' AND (NOT ("n" <=> $2) OR NOT ("j" <=> {document}))'
    )
    history = (
        f"""INSERT INTO "notes_history" ({ROW}, {EXTRA}) SELECT {ROW}, 'update', $4, $5, $6 FROM "notes\""""
        ' WHERE "id" = $1 AND IF(ROW_COUNT() < 0, (SELECT 1 UNION SELECT 2), ROW_COUNT() = 1)'
    )
    look = (
        f'SELECT {ROW} FROM "notes" WHERE "id" = $1 AND IF(ROW_COUNT() < 0, (SELECT 1 UNION SELECT 2), ROW_COUNT() = 1)'
    )
    sql = shown(dialect.upsert_statement(notes(dialect), ("n", "j"), expected=expected))
    assert sql == f"{update} ;; {history} ;; {look}"


def test_a_save_inside_a_workspace_touches_rows_of_it_only(is_mariadb):
    dialect = dialect_of(is_mariadb)
    field = Column("workspace_id", Kind.STR, dialect.types[Kind.STR])
    table = notes(dialect, workspace_id=field).within("w1", None)
    update = shown(dialect.upsert_statement(table, ("n", "workspace_id"))).partition(" ;; ")[0]
    assert update.endswith(' AND "workspace_id" = $3')


CLAUSES = [
    ("[j] = ?", ({"a": 1},), '"j" = $1', '"j" = CAST($1 AS JSON)'),
    ("[j] <> [j]", (), '"j" <> "j"', '"j" <> "j"'),
    (
        "[j.a] = ?",
        ({"b": 1},),
        "(CASE WHEN JSON_TYPE({a}) IN ('OBJECT', 'ARRAY') THEN JSON_COMPACT({a}) END) = $1",
        "(CASE WHEN JSON_TYPE({a}) IN ('OBJECT', 'ARRAY') THEN {a} END) = CAST($1 AS JSON)",
    ),
    (
        "[j.a] = ?",
        ("x",),
        "(CASE WHEN JSON_TYPE({a}) IN ('STRING') THEN JSON_UNQUOTE({a}) COLLATE {bin} END) = $1",
        None,
    ),
    (
        "[j.a] = ?",
        (True,),
        "(CASE WHEN JSON_TYPE({a}) = 'BOOLEAN' THEN JSON_UNQUOTE({a}) COLLATE {bin} = 'true' END) = $1",
        None,
    ),
    ("[j.a] IS NULL", (), "(CASE WHEN JSON_TYPE({a}) <> 'NULL' THEN {a} END) IS NULL", None),
    (
        "LOWER([id]) = ?",
        ("x",),
        'CONVERT(CAST(LOWER(CONVERT(CAST("id" AS BINARY) USING tis620)) AS BINARY) USING utf8mb4) COLLATE {bin} = $1',
        None,
    ),
    ("[app] = ?", ("x",), '"app" COLLATE {bin} = $1', None),
    ("[latin] = ?", ("x",), 'CONVERT("latin" USING utf8mb4) COLLATE {bin} = $1', None),
    (
        "[doc] = ?",
        ({"a": 1},),
        '"doc" = $1',
        '(CASE WHEN JSON_VALID("doc") THEN CAST("doc" AS JSON) END) = CAST($1 AS JSON)',
    ),
]


@pytest.mark.parametrize(("clause", "params", "mariadb", "mysql"), CLAUSES, ids=range(len(CLAUSES)))
def test_a_clause_compares_alike_on_both(is_mariadb, clause, params, mariadb, mysql):
    dialect = dialect_of(is_mariadb)
    own = {
        "app": Column("app", Kind.STR, "varchar(20) COLLATE utf8mb4_general_ci", adopted=True),
        "latin": Column("latin", Kind.STR, "varchar(20) COLLATE latin1_swedish_ci", adopted=True),
        "doc": Column("doc", Kind.JSON, "longtext COLLATE utf8mb4_general_ci", adopted=True),
    }
    expected = mariadb if is_mariadb or mysql is None else mysql
    found = """JSON_EXTRACT("j", '$."a"')"""
    sql = shown(compile_where(clause, params, notes(dialect, **own).columns, dialect).sql)
    assert sql == expected.replace("{a}", found).replace("{bin}", BIN[is_mariadb])


def test_text_of_another_collation_sorts_by_its_bytes(is_mariadb):
    dialect = dialect_of(is_mariadb)
    columns = {"app": Column("app", Kind.STR, "varchar(20) COLLATE utf8mb4_general_ci", adopted=True)}
    columns |= notes(dialect).columns
    assert compile_order("[app] DESC", columns, dialect)[0] == f'"app" COLLATE {BIN[is_mariadb]} DESC'


def test_a_document_matches_as_a_document(is_mariadb):
    dialect = dialect_of(is_mariadb)
    document = "$2" if is_mariadb else "CAST($2 AS JSON)"
    assert shown(row_sets.select_matches(dialect, notes(dialect), ("j",), 1)) == (
        f'SELECT $1, "id" FROM "notes" WHERE "j" = {document} AND "deleted_at" IS NULL FOR UPDATE'
    )


def test_a_unique_index_bounds_its_text_and_leaves_the_deleted_out(is_mariadb):
    declared = [("s", "longtext COMMENT 'kernel:str'", 2**32 - 1), ("n", "bigint COMMENT 'kernel:int'", None)]
    work = dialect_of(is_mariadb).make_index("ux", "notes", ("s", "n"), unique=True, lengths={})
    alive = 'IF("deleted_at" IS NULL, 1, NULL)'
    assert steps(work, declared)[-3:] == [
        f"""ALTER TABLE "notes" MODIFY "s" {text("VARCHAR(255)", is_mariadb)} COMMENT 'kernel:str'""",
        f'ALTER TABLE "notes" ADD COLUMN "_alive" TINYINT GENERATED ALWAYS AS ({alive}) VIRTUAL',
        'CREATE UNIQUE INDEX "ux" ON "notes" ("s", "n", "_alive")',
    ]
    assert dialect_of(is_mariadb).drop_index("ux", "notes") == 'DROP INDEX "ux" ON "notes"'


def test_a_kind_changes_beside_its_column_and_takes_the_place_in_one_statement(is_mariadb):
    dialect = dialect_of(is_mariadb)
    work = dialect.retype_column("notes", "n", Kind.INT, Kind.VARIANT, dialect.types[Kind.VARIANT])
    made = steps(work, [("ix", 1, "n", None), ("ix", 1, "m", 9)], [], [], [("a", 5)])
    variant = text("VARCHAR(255)", is_mariadb)
    swap = f"""DROP COLUMN "n", CHANGE "_moved_n" "n" {variant} COMMENT 'kernel:variant'"""
    assert made[2:] == [
        f'ALTER TABLE "notes" ADD COLUMN "_moved_n" {variant}',
        'SELECT "id", "n" FROM "notes" WHERE "n" IS NOT NULL ORDER BY "id" LIMIT 500',
        'UPDATE "notes" SET "_moved_n" = $1 WHERE "id" = $2',
        'SELECT "id", "n" FROM "notes" WHERE "n" IS NOT NULL AND ("id") > ($1) ORDER BY "id" LIMIT 500',
        f'ALTER TABLE "notes" DROP INDEX "ix", {swap}, ADD INDEX "ix" ("n", "m"(9))',
    ]
    in_place = dialect.retype_column("notes", "n", Kind.INT, Kind.FLOAT, dialect.types[Kind.FLOAT])
    assert steps(in_place) == ["""ALTER TABLE "notes" MODIFY "n" DOUBLE COMMENT 'kernel:float'"""]


def test_only_mariadb_is_asked_which_text_is_json(is_mariadb):
    sql, params = MySqlQueries(dialect_of(is_mariadb)).list_columns("notes")
    # Its table of checks has the name of their table; that of MySQL has not, and a column of JSON says so itself.
    assert ("check_constraints" in sql) is is_mariadb
    assert params == ("notes",)


def test_a_session_is_set_up_as_its_server_knows_it(is_mariadb):
    options = parse_mysql_url("mysql://me:secret@h/app?statement_timeout=2.5")
    mode = (
        "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,ANSI_QUOTES,NO_BACKSLASH_ESCAPES,"
        "NO_AUTO_VALUE_ON_ZERO,NO_UNSIGNED_SUBTRACTION"
    )
    limits = (
        "SESSION max_statement_time = 2.5, SESSION idle_transaction_timeout = 60"
        if is_mariadb
        else "SESSION max_execution_time = 2500, SESSION wait_timeout = 120"
    )
    assert _settings(options, is_mariadb=is_mariadb) == (
        f"SET NAMES utf8mb4 COLLATE {BIN[is_mariadb]}; SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;"
        f" SET SESSION sql_mode = '{mode}', SESSION time_zone = '+00:00', SESSION lock_wait_timeout = 2,"
        f" SESSION innodb_lock_wait_timeout = 2, {limits}"
    )
    # A snapshot lives as long as it takes.
    assert all(name in _UNLIMITED[is_mariadb] for name in [part.split()[1] for part in limits.split(", ")])
    assert OLDEST[is_mariadb] == ((10, 6) if is_mariadb else (8, 0, 19))


def test_marks_move_to_other_positions_with_their_form():
    sql = f"a = {mark(1)} AND b = {mark(2, 't')} AND c = {mark(1)}"
    assert shown(placed(sql, (7, 3))) == "a = $7 AND b = $3t AND c = $7"
    assert shown(placed(sql, ("'x'", 3))) == "a = 'x' AND b = $3t AND c = 'x'"
    assert render(then([mark(1), f"b IN ({mark(2)})"]), ("it's", Values([1, 2]))) == "'it''s'; b IN (1, 2)"
