"""A statement of the caller's runs alone on MySQL, leaves nothing in its connection, and what it defines is noticed."""

import asyncio

import pytest
from asyncmy import errors

from app_kernel.core.errors import ConnectionLost, InvalidQuery
from app_kernel.db.dialects.mysql_marks import mark
from app_kernel.db.drivers.mysql_connection import Connection
from app_kernel.db.drivers.mysql_statements import RawStatement, first_word
from tests.db.mysql_tools import place_on
from tests.db.server_tools import until


@pytest.fixture
async def place(mysql_url):
    async with place_on(mysql_url) as fresh:
        yield fresh


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("select 1", "SELECT"),
        ("  \n((SELECT 1))", "SELECT"),
        ("-- COMMIT\nUPDATE x", "UPDATE"),
        ("# COMMIT\n# x\n  /* a */ -- z\n delete from t", "DELETE"),
        ("/* a /* not nested */ COMMIT", "COMMIT"),
        ("/*/ */ COMMIT", "COMMIT"),
        ("--\tx\nCOMMIT", "COMMIT"),
        ("--x\nCOMMIT", ""),
        ("/* open", ""),
        ("'text'", ""),
    ],
)
def test_the_first_word_is_found_behind_space_comments_and_parentheses(sql, word):
    assert first_word(sql) == word


LASTING = [
    "BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK", "SAVEPOINT x", "RELEASE SAVEPOINT x", "XA START 'x'",
    "XA RECOVER", "SET x = 1", "SET SESSION sql_mode = ''", "SET NAMES latin1", "SET @x = 1",
    "SET STATEMENT max_statement_time = 0 FOR SELECT 1", "set autocommit = 0", "SET PASSWORD = 'x'",
    "LOCK TABLES x READ", "UNLOCK TABLES", "USE other", "PREPARE p FROM 'COMMIT'", "EXECUTE p",
    "EXECUTE IMMEDIATE 'COMMIT'", "DEALLOCATE PREPARE p", "HANDLER x OPEN", "KILL 1",
    "LOAD DATA INFILE 'x' INTO TABLE y",
    "FLUSH TABLES WITH READ LOCK", "RESET MASTER", "GET DIAGNOSTICS @x = NUMBER", "DELIMITER //", "SHUTDOWN",
    "BEGIN NOT ATOMIC COMMIT", "/* x */ COMMIT", "# x\nCOMMIT", "-- x\nCOMMIT", "(((COMMIT", "/* /* */ COMMIT",
    "CREATE TEMPORARY TABLE x (i int)", "create  or\nreplace temporary table x (i int)",
    "CREATE/**/TEMPORARY TABLE x (i int)", "CREATE # x\n TEMPORARY TABLE x (i int)",
    "SELECT 1 INTO @x", "SELECT 1 INTO\n@x", "SELECT @x := 1", "SELECT @x:=1", "SELECT 1 INTO OUTFILE '/tmp/x'",
    "SELECT 1 INTO/**/OUTFILE '/tmp/x'", "SELECT 1 into dumpfile '/tmp/x'",
]  # fmt: skip
SECOND = [
    "SELECT 1; SELECT 2", "SELECT 1;;", "SELECT '\\'; SELECT 2 -- '", "SELECT 1; # x\nSELECT 2",
    'SELECT "a\\"; SELECT 2 -- "', "SELECT `a\\`; SELECT 2 -- `", "SELECT 1 --x\n; SELECT 2", "SELECT 1 --\xa0; COMMIT",
    "IF 1 THEN COMMIT; END IF", "x: LOOP COMMIT; END LOOP", "CREATE PROCEDURE p() SELECT 1; SET x = 1",
    "CREATE PROCEDURE p() BEGIN SELECT 1; END; SET x = 1", "CREATE PROCEDURE p() BEGIN END; COMMIT; BEGIN END",
    "CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW SET NEW.a = 1; COMMIT",
    "CREATE PROCEDURE p() BEGIN IF 1 THEN SELECT 1; END IF; END; COMMIT",
    "CREATE PROCEDURE p() BEGIN DROP TABLE IF EXISTS x; END; COMMIT", "CREATE TABLE x (i int); COMMIT",
]  # fmt: skip
OPEN = ["SELECT 'a", 'SELECT "a', "SELECT `a", "SELECT 1 /* a", "SELECT 'it''s", "SELECT ''''' "]
HIDDEN = ["SELECT /*!50000 1 */", "/*! COMMIT */", "CREATE /*M!100000 TEMPORARY */ TABLE x (i int)", "/*!1*/ SELECT 1"]


@pytest.mark.parametrize("sql", LASTING)
def test_what_would_outlast_the_statement_is_refused(sql):
    with pytest.raises(InvalidQuery, match="everybody"):
        RawStatement(sql)


@pytest.mark.parametrize("sql", SECOND)
def test_a_second_statement_is_refused(sql):
    with pytest.raises(InvalidQuery, match="one statement at a time"):
        RawStatement(sql)


@pytest.mark.parametrize("sql", OPEN)
def test_a_quote_or_a_comment_without_an_end_is_refused(sql):
    with pytest.raises(InvalidQuery, match="no end"):
        RawStatement(sql)


@pytest.mark.parametrize("sql", HIDDEN)
def test_a_comment_that_is_executed_is_refused(sql):
    with pytest.raises(InvalidQuery, match="some servers"):
        RawStatement(sql)


@pytest.mark.parametrize(
    "sql", ["SELECT `{}`", "SELECT 1 # {}\n", "SELECT '{}'", 'SELECT "{}"', "SELECT 1 --'\n{} '", "SELECT /* {} */ 1"]
)
def test_a_parameter_that_would_stand_in_a_name_a_text_or_a_comment_is_refused(sql):
    with pytest.raises(InvalidQuery, match="in a comment or in quotes"):
        RawStatement(sql.format(mark(1)))


@pytest.mark.parametrize(
    ("sql", "defines"),
    [
        ("SELECT 1;", False),
        ("SELECT ';', \"a;b\", `c;d` FROM x -- ; COMMIT\n # ; COMMIT\n /* ; COMMIT */", False),
        ("SELECT '/*! COMMIT */', '@x := 1', 'INTO OUTFILE'", False),
        ("SELECT 'it''s \\'", False),
        ("SELECT '' FROM x", False),
        ("SELECT 1--1", False),
        ("INSERT INTO x VALUES (1)", False),
        ("REPLACE INTO x VALUES (1)", False),
        ("WITH a AS (SELECT 1) SELECT * FROM a", False),
        ("SELECT * FROM x FOR UPDATE", False),
        ("SHOW TABLES", False),
        ("DO SLEEP(0)", False),
        ("CREATE TABLE x (temporary int, begin_at int)", True),
        ("ALTER TABLE x ADD COLUMN i int", True),
        ("TRUNCATE x", True),
        ("CALL p()", True),
        ("CACHE INDEX x IN y", True),
        ("CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW BEGIN SET NEW.a = 1; SET NEW.b = 2; END", True),
        ("CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW IF (NEW.a) THEN SET NEW.b = IF(1, 2, 3); END IF;", True),
        ("CREATE PROCEDURE p() BEGIN DECLARE i INT; CASE i WHEN 1 THEN SELECT 1; ELSE SELECT 2; END CASE; END", True),
        ("CREATE PROCEDURE p() BEGIN w: WHILE 1 DO LEAVE w; END WHILE w; SELECT REPEAT('x', 2); END;", True),
        ("CREATE DEFINER = 'a'@'b' FUNCTION f() RETURNS INT BEGIN RETURN CASE WHEN 1 THEN 2 END; END", True),
        ("CREATE OR REPLACE PROCEDURE p() BEGIN FOR i IN 1..2 DO SELECT i; END FOR; SELECT 1 FOR UPDATE; END", True),
    ],
)
def test_what_a_statement_does_is_told_by_its_text(sql, defines):
    assert RawStatement(sql).defines is defines


async def test_definitions_move_the_generation_on_and_other_statements_do_not(place):
    driver = await place.open()
    generation = driver.generation
    fill = "INSERT INTO notes (id) VALUES ('b'); INSERT INTO notes (id) VALUES (';')"
    trigger = "CREATE TRIGGER t BEFORE INSERT ON notes FOR EACH ROW"
    for sql, moves in {
        "CREATE TABLE notes (id VARCHAR(20) PRIMARY KEY, x int)": True,
        "INSERT INTO notes VALUES ('a', 1)": False,
        "SELECT * FROM notes": False,
        "ALTER TABLE notes ADD COLUMN y varchar(20)": True,
        "CREATE INDEX ix ON notes (x)": True,
        f"{trigger} BEGIN SET NEW.x = 7; SET NEW.y = 'of the trigger'; END": True,
        f"CREATE PROCEDURE fill() BEGIN {fill}; END": True,
        "CALL fill()": True,
        "DELETE FROM notes WHERE id = ';'; -- and no more": False,
    }.items():
        await driver.execute(sql, ())
        generation += moves
        assert (sql, driver.generation) == (sql, generation)
    assert await place.look("SELECT id, x, y FROM notes ORDER BY 1") == [("a", 1, None), ("b", 7, "of the trigger")]
    names, rows = await driver.execute("SELECT x AS one, y AS two FROM notes WHERE id = 'b'", ())
    assert (names, [tuple(row) for row in rows]) == (("one", "two"), [(7, "of the trigger")])


async def test_a_definition_that_fails_moves_nothing(place):
    driver = await place.open()
    generation = driver.generation
    for sql in ("CREATE TABLE x (i nothing)", "ALTER TABLE kernel_meta ADD COLUMN value int", "CALL nothing()"):
        with pytest.raises(InvalidQuery, match=r"nothing|value"):
            await driver.execute(sql, ())
    assert driver.generation == generation
    assert await place.look("SELECT value FROM kernel_meta WHERE \"key\" = 'generation'") == [(generation,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT GET_LOCK('f_4711', 0)",
        "SELECT LAST_INSERT_ID(4711)",
        "DO GET_LOCK('f_4711', 0)",
        "SELECT `GET_LOCK`('f_4711', 0)",
        "CALL keep()",
    ],
)
async def test_a_connection_that_may_keep_something_is_not_used_again(place, sql):
    driver = await place.open(pool_size=1)
    await driver.execute("CREATE PROCEDURE keep() BEGIN SET @kept = 4711; SET SESSION sql_mode = ''; END", ())
    numbers = {number for number, _ in await place.backends()}
    await driver.execute(sql, ())
    (row,) = (await driver.execute("SELECT CONNECTION_ID(), @@sql_mode LIKE '%BACKSLASH%', LAST_INSERT_ID()", ()))[1]
    assert row[1:] == (1, 0)
    assert row[0] not in numbers or sql.startswith("CALL")

    async def free():
        return await place.look("SELECT IS_FREE_LOCK('f_4711')") == [(1,)]

    await until(free)
    # The connections that define are closed as well.
    await driver.execute("CREATE TABLE later (i int)", ())
    assert await driver.execute("SELECT @kept", ()) == (("@kept",), [(None,)])


@pytest.mark.acceptance("DB11")
async def test_a_call_whose_connection_broke_is_never_made_again(place, monkeypatch):
    """Nobody knows how far it came: a procedure may have committed what it did."""
    driver = await place.open(pool_size=1)
    await driver.execute("CREATE TABLE paid (n int)", ())
    await driver.execute("CREATE PROCEDURE pay() BEGIN INSERT INTO paid VALUES (1); COMMIT; END", ())
    fetch = Connection.fetch

    async def cut(self, sql, *args, **options):
        rows = await fetch(self, sql, *args, **options)
        if "pay()" in sql:
            self.terminate()
            raise errors.OperationalError(2013, "Lost connection to MySQL server during query")
        return rows

    monkeypatch.setattr(Connection, "fetch", cut)
    with pytest.raises(ConnectionLost):
        await driver.execute("CALL pay()", ())
    assert await place.look("SELECT n FROM paid") == [(1,)]


async def test_a_procedure_that_commits_ends_no_transaction_of_the_callers(place):
    driver = await place.open(pool_size=1)
    await driver.execute("CREATE TABLE notes (id VARCHAR(20) PRIMARY KEY)", ())
    await driver.execute("CREATE TABLE paid (n int)", ())
    await driver.execute("CREATE PROCEDURE pay() BEGIN INSERT INTO paid VALUES (1); COMMIT; END", ())
    transaction = await driver.begin(5)
    await transaction.run("INSERT INTO notes VALUES ('a')", ())
    await transaction.execute("CALL pay()", ())
    await transaction.rollback()
    assert await place.look("SELECT id FROM notes") == []


async def test_a_session_that_lost_its_settings_is_not_used_again(place):
    """What took them away would let a backslash end a text elsewhere than it seems."""
    driver = await place.open(pool_size=2)
    await asyncio.gather(*(driver.fetch("SELECT SLEEP(0.05)", ()) for _ in range(2)))
    for connection in driver._pool._idle:
        await connection._wire.query("SET SESSION sql_mode = 'ANSI_QUOTES'")
    numbers = {number for number, _ in await place.backends()}
    for value in ("\\", "a\\nb", "\\'; SELECT 2 -- ", "'"):
        assert [tuple(row) for row in await driver.fetch(f"SELECT {mark(1)}", (value,))] == [(value,)]

    async def gone():
        return numbers.isdisjoint({number for number, _ in await place.backends()})

    await until(gone)
