"""A statement of the caller's runs alone, leaves nothing in its connection, and what it defines is noticed."""

import asyncpg
import pytest

from app_kernel.core.errors import ConnectionLost, InvalidQuery
from app_kernel.db.drivers.postgres_connection import Connection
from app_kernel.db.drivers.postgres_statements import RawStatement, first_word
from tests.db.postgres_tools import place_on


@pytest.fixture
async def place(postgres_url):
    async with place_on(postgres_url) as fresh:
        yield fresh


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("select 1", "SELECT"),
        ("  \n((SELECT 1))", "SELECT"),
        ("-- COMMIT\nUPDATE x", "UPDATE"),
        ("--x\n--y\n  /* a /* nested */ COMMIT */ -- z\n delete from t", "DELETE"),
        ("/* open", ""),
        ("-- only", ""),
        ("'text'", ""),
        ("/*/ */ COMMIT", "COMMIT"),
    ],
)
def test_the_first_word_is_found_behind_space_comments_and_parentheses(sql, word):
    assert first_word(sql) == word


FORBIDDEN = [
    "BEGIN", "START TRANSACTION", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT x", "RELEASE x",
    "PREPARE x AS SELECT 1", "EXECUTE x", "DEALLOCATE ALL", "SET x = 1", "SET LOCAL search_path = x", "RESET ALL",
    "DISCARD ALL", "LISTEN x", "UNLISTEN *", "LOAD 'x'", "DECLARE c CURSOR FOR SELECT 1",
    "FETCH c", "CLOSE c", "COPY notes FROM STDIN",
    "CREATE TEMP TABLE x (i int)", "create temporary view v as select 1", "CREATE TABLE pg_temp.x (i int)",
    "SELECT 1 AS i INTO TEMP x", "WITH a AS (SELECT 1) SELECT * INTO TEMPORARY x FROM a", "/* x */ COMMIT",
    'CREATE TABLE "pg_temp".x (i int)', "CREATE TABLE pg_temp_3.x (i int)",
    r"SELECT E'\'' AS a INTO TEMP x FROM (SELECT 'b') c",
]  # fmt: skip


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_what_would_outlast_the_statement_is_refused(sql):
    with pytest.raises(InvalidQuery, match="everybody"):
        RawStatement(sql)


@pytest.mark.parametrize(
    ("sql", "defines"),
    [
        ("SELECT temp FROM notes", False),
        ("SELECT 1 INTO x", True),
        ("SELECT 'into', \"into\" FROM notes -- into", False),
        ("CREATE TABLE notes (temp int, temporary text)", True),
        ("ALTER TABLE notes ADD COLUMN temp int", True),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1 INTO temp $$", True),
        ("INSERT INTO notes VALUES (1)", False),
        ("WITH a AS (SELECT 1) INSERT INTO notes SELECT * FROM a", False),
        ("WITH a AS (SELECT 1) SELECT * FROM a", False),
        ("CREATE TABLE x (i int)", True),
        ("DO $$ BEGIN END $$", True),
        ("TABLE notes", False),
        ("TRUNCATE notes", False),
    ],
)
def test_what_a_statement_does_is_told_by_its_text(sql, defines):
    assert RawStatement(sql).defines is defines


async def test_definitions_move_the_generation_on_and_other_statements_do_not(place):
    driver = await place.open()
    generation = driver.generation
    for sql, moves in {
        "CREATE TABLE notes (id text PRIMARY KEY, x int)": True,
        "INSERT INTO notes VALUES ('a', 1)": False,
        "SELECT * FROM notes": False,
        "WITH a AS (SELECT 2) INSERT INTO notes SELECT 'b', 2 FROM a": False,
        "ALTER TABLE notes ADD COLUMN y varchar(20)": True,
        "CREATE INDEX CONCURRENTLY ON notes (x)": True,
        "TRUNCATE notes": False,
        "VACUUM notes": False,
        "SELECT 1 AS id INTO made": True,
        "DO $$ BEGIN ALTER TABLE notes DROP COLUMN y; END $$": True,
        "DROP TABLE notes": True,
    }.items():
        await driver.execute(sql, ())
        generation += moves
        assert (sql, driver.generation) == (sql, generation)
    assert await place.look("SELECT value FROM kernel_meta WHERE key = 'generation'") == [(generation,)]


async def test_a_definition_that_fails_leaves_nothing(place):
    driver = await place.open()
    generation = driver.generation
    with pytest.raises(InvalidQuery):
        await driver.execute("CREATE TABLE x (i nothing)", ())
    with pytest.raises(InvalidQuery, match="one statement"):
        await driver.execute("CREATE TABLE x (i int); CREATE TABLE y (i int)", ())
    assert driver.generation == generation
    assert await place.look("SELECT value FROM kernel_meta WHERE key = 'generation'") == [(generation,)]
    assert await place.look("SELECT 1 FROM pg_tables WHERE tablename = 'x' AND schemaname = $1", place.schema) == []


async def test_a_dropped_table_is_forgotten_as_the_store_s_own(place):
    driver = await place.open()
    await driver.execute("CREATE TABLE notes (id text)", ())
    await driver.execute("CREATE TABLE kept (id text)", ())
    await driver.run(
        "INSERT INTO kernel_catalog VALUES ('notes', 'id', 'str', 0), ('kept', 'id', 'str', 0),"
        " ('mine', 'id', 'str', 1)",
        (),
    )
    await driver.execute("DROP TABLE notes", ())
    rows = await place.look("SELECT entity, adopted FROM kernel_catalog ORDER BY 1")
    assert rows == [("kept", 0), ("mine", 1), ("notes", 1)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT set_config('search_path', 'nowhere', false)",
        "SELECT pg_advisory_lock(4711)",
        "DO $$ BEGIN SET work_mem = '5MB'; END $$",
        "SELECT setseed(0.5)",
        """SELECT "set_config"('search_path', 'nowhere', false)""",
        """SELECT "pg_catalog"."set_config"('work_mem', '5MB', false)""",
        """SELECT U&"set\\005fconfig"('work_mem', '5MB', false)""",
        'SELECT "pg_advisory_lock"(4711)',
        r"""SELECT E'\'', set_config('work_mem', '5MB', false), ''""",
    ],
)
async def test_a_connection_that_may_keep_something_is_not_used_again(place, sql):
    driver = await place.open(pool_size=1)
    (before,) = await place.backends()
    await driver.execute(sql, ())
    await driver.execute("SELECT 1", ())
    (after,) = await place.backends()
    assert before[0] != after[0]
    assert await place.look("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711") == []
    assert (await driver.execute("SHOW work_mem", ()))[1] != [("5MB",)]
    assert (await driver.execute("SHOW search_path", ()))[1] == [(f'"{place.schema}"',)]


async def test_a_connection_that_may_keep_something_of_a_statement_that_failed_is_not_used_again(place):
    driver = await place.open(pool_size=1)
    with pytest.raises(InvalidQuery, match="zero"):
        await driver.execute("SELECT pg_advisory_lock(4712), 1 / (random() * 0)::int", ())
    await driver.execute("SELECT 1", ())
    assert await place.look("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4712") == []


async def test_names_and_rows_of_an_answer(place):
    driver = await place.open()
    names, rows = await driver.execute("SELECT 1 AS one, 'two' AS two", ())
    assert (names, rows) == (("one", "two"), [(1, "two")])
    await driver.execute("CREATE TABLE notes (id text)", ())
    assert await driver.execute("UPDATE notes SET id = 'x';", ()) == ((), [])
    assert (await driver.execute("INSERT INTO notes VALUES ($1) RETURNING id", ("a",)))[1] == [("a",)]
    for params in ((), ("a", "b")):
        with pytest.raises(InvalidQuery, match="params"):
            await driver.execute("SELECT * FROM notes WHERE id = $1", params)


async def test_a_statement_that_was_sent_is_never_sent_again(place, monkeypatch):
    """Also a SELECT may write, by its functions; nobody knows whether it did when its connection broke."""
    driver = await place.open(pool_size=1)
    await driver.execute("CREATE TABLE paid (n int)", ())
    await driver.execute(
        "CREATE FUNCTION pay() RETURNS int LANGUAGE sql AS 'INSERT INTO paid VALUES (1) RETURNING n'", ()
    )
    fetch = Connection.fetch

    async def cut(self, sql, *args, **options):
        rows = await fetch(self, sql, *args, **options)
        if "pay()" in sql:
            self.terminate()
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return rows

    monkeypatch.setattr(Connection, "fetch", cut)
    with pytest.raises(ConnectionLost):
        await driver.execute("SELECT pay()", ())
    assert await place.look("SELECT n FROM paid") == [(1,)]
