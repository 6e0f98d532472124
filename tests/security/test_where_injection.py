"""Hostile clauses and orders: each is refused before any SQL exists, or is harmless data.

The table has rows of another tenant and a deleted row; the statements run on a real SQLite whose authorizer reports
every table, column and function that a statement touches, and where text in double quotes is still possible.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import apsw
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app_kernel.core.errors import InvalidName, InvalidQuery
from app_kernel.db.dialects.sqlite import NUMERIC_COLLATION, SqliteDialect
from app_kernel.db.kinds import Kind
from app_kernel.db.query import find_query
from app_kernel.db.table import Column, EntityTable
from app_kernel.db.where import compile_order, compile_where

pytestmark = pytest.mark.acceptance("DB2")

DIALECT = SqliteDialect()
KINDS = {
    "id": Kind.STR,
    "name": Kind.STR,
    "age": Kind.INT,
    "amount": Kind.DECIMAL,
    "settings": Kind.JSON,
    "tenant": Kind.STR,
    "deleted_at": Kind.STR,
}
COLUMNS = {name: Column(name, kind, DIALECT.types[kind]) for name, kind in KINDS.items()}
MINE, ALLOWED = "mine", {"m1", "m2", "m3"}
ROWS = [
    ("m1", "Ann", 1, "1", '{"a":1}', MINE, None),
    ("m2", "b'; DROP TABLE t; --", 2, "2", None, MINE, None),
    ("m3", None, None, None, None, MINE, None),
    ("m4", "gone", 4, "4", None, MINE, "2026-01-01"),
    ("o1", "Ann", 1, "1", '{"a":1}', "other", None),
    ("o2", None, None, None, None, "other", "2026-01-01"),
]
HARMLESS_FUNCTIONS = {
    "lower",
    "upper",
    "length",
    "coalesce",
    "abs",
    "like",
    "json_extract",
    "json_type",
    "typeof",
    "count",
}


class Table:
    """The table, and what the statements that ran on it touched."""

    def __init__(self) -> None:
        self.touched: list[tuple[int, str | None, str | None]] = []
        self.connection = apsw.Connection(":memory:")
        self.connection.execute("PRAGMA case_sensitive_like = ON")
        self.connection.create_collation(NUMERIC_COLLATION, lambda a, b: (float(a) > float(b)) - (float(a) < float(b)))
        self.connection.execute(f"CREATE TABLE t ({', '.join(f'{c.name} {c.declared}' for c in COLUMNS.values())})")
        self.connection.execute("CREATE TABLE users (id, password); INSERT INTO users VALUES ('root', 'hunter2')")
        self.connection.executemany(f"INSERT INTO t VALUES ({', '.join('?' * len(KINDS))})", ROWS)
        self.connection.authorizer = self._note

    def _note(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        self.touched.append((action, first, second))
        return apsw.SQLITE_OK

    def find(self, text: str, params: Sequence[Any] = (), order: str = "") -> set[str]:
        """Ids of the living rows of my tenant for which the clause holds."""
        clause = compile_where(text, params, COLUMNS, DIALECT)
        terms, _ = compile_order(order, COLUMNS, DIALECT)
        condition = f"({clause.sql}) AND " if clause.sql else ""
        sql = f"SELECT id FROM t WHERE {condition}tenant = ? AND deleted_at IS NULL{terms and f' ORDER BY {terms}'}"
        # apsw runs a second statement too, as the worst of drivers would.
        return {row[0] for row in self.connection.execute(sql, [*clause.bind(params), MINE])}

    def check_untouched(self) -> None:
        """Only this table was read, and no function called that is not harmless."""
        for action, first, second in self.touched:
            if action == apsw.SQLITE_READ:
                assert first == "t"
                assert second in KINDS
            elif action == apsw.SQLITE_FUNCTION:
                assert second in HARMLESS_FUNCTIONS
            else:
                assert action == apsw.SQLITE_SELECT
        self.touched.clear()
        assert sum(1 for action in self.connection.execute("SELECT id FROM t")) == len(ROWS)
        self.touched.clear()


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    made = Table()
    made.touched.clear()
    yield made
    made.connection.close()


COMMENTS = ["--", "-- x", "--\n", "/*", "/* x */", "/**/", "*/", "#", "# x", ";--", "/*!50000 x */", "-- -", "--+"]
ENDS = [";", "; DROP TABLE t", "; SELECT 1", ";;", "; DELETE FROM t; --", ";\nUPDATE t SET tenant='mine'", "\\; x"]
SUBSELECTS = [
    "id IN (SELECT id FROM users)",
    "id IN (select id from users)",
    "id IN (SeLeCt id FROM users)",
    "id IN\n(\nSELECT\nid FROM users)",
    "id IN ((SELECT id FROM users))",
    "id IN ('a', SELECT id)",
    "id IN (VALUES ('a'))",
    "id IN (TABLE users)",
    "id IN (WITH x AS (SELECT 1) SELECT * FROM x)",
    "id IN users",
    "id = (SELECT id FROM users)",
    "id = ANY (SELECT id FROM users)",
    "id = ALL (SELECT id FROM users)",
    "id = SOME(SELECT id FROM users)",
    "EXISTS (SELECT 1 FROM users)",
    "EXISTS(SELECT 1)",
    "NOT EXISTS (SELECT 1)",
    "(SELECT 1) = 1",
    "1 = 1 UNION SELECT password FROM users",
    "1 = 1 UNION ALL SELECT password FROM users",
    "1 = 1 INTERSECT SELECT 1",
    "1 = 1 EXCEPT SELECT 1",
    "1=1) UNION SELECT password FROM users WHERE (1=1",
    "COALESCE((SELECT 1), 1) = 1",
    "age BETWEEN (SELECT 1) AND 2",
    "CASE WHEN 1 = 1 THEN 1 ELSE 0 END = 1",
    "age = CAST('1' AS INTEGER)",
    "[id] IN (SELECT [id] FROM [users])",
    "[SELECT] = 1 OR SELECT = 1",
    "name = users.password OR SELECT",
    "select = 1",
    "from = 1",
    "union.x = 1",
]
FUNCTIONS = [
    "pg_sleep(1)",
    "pg_sleep(1) IS NULL",
    "pg_sleep (1) IS NULL",
    "pg_sleep\n(1) IS NULL",
    "1 = pg_sleep(1)",
    "age = pg_sleep(10) OR 1=1",
    "pg_catalog.pg_sleep(1) = 1",
    "PG_SLEEP(1) = 1",
    "[pg_sleep](1) = 1",
    "load_extension('evil.so') = 1",
    "readfile('/etc/passwd') = 'x'",
    "writefile('x', 'y') = 1",
    "sqlite_version() = 'x'",
    "randomblob(1000000000) = 'x'",
    "zeroblob(1000000000) = 'x'",
    "printf('%1000000000d', 1) = 'x'",
    "hex(name) = 'x'",
    "char(65) = 'A'",
    "fts3_tokenizer('x') = 1",
    "json_extract(settings, '$') = 1",
    "current_setting('x') = 'x'",
    "version() = 'x'",
    "SLEEP(5) = 0",
    "BENCHMARK(100000000, 1) = 0",
    "LOAD_FILE('/etc/passwd') = 'x'",
    "dblink('x', 'y') = 'x'",
    "lo_import('/etc/passwd') = 1",
    "xp_cmdshell('dir') = 1",
    "COUNT(*) = 1",
    "MAX(age) = 1",
    "SUM(age) = 1",
    "replace(name, 'a', 'b') = 'x'",
    "substr(name, 1, 1) = 'A'",
    "IF(1=1, 1, 0) = 1",
    "iif(1=1, 1, 0) = 1",
    "LOWER(pg_sleep(1)) = 'x'",
    "COALESCE(age, load_extension('x')) = 1",
    "LOWER((SELECT 1)) = 'x'",
    "name LIKE LOWER(pg_sleep(1))",
    "age IN (random())",
    "age = abs(random())",
    "row_number() OVER () = 1",
    "name(1) = 1",
    "age() = 1",
    "id LIKE lower('x') || '%'",
    "date('now') = 'x'",
]
QUOTES = [
    '"nope"="nope"',
    '"id" = 1',
    'name = "Ann"',
    '"" = ""',
    "`id` = 1",
    "name = `Ann`",
    "'a' = 'a",
    "name = '",
    "name = '''",
    "name = 'a''",
    "name = 'a' 'b'",
    "name = E'a'",
    "name = N'a'",
    "name = U&'a'",
    "name = x'41'",
    "name = _utf8'a'",
    "name = $$a$$",
    "name = $tag$a$tag$",
    "name = q'[a]'",
    r"name = 'a\' OR 1=1 --'",
    r"name = '\' OR 1=1 -- '",
    r"name = 'a\'; DROP TABLE t; --",
    "name = \u2018a\u2019",
    "name = \u201ca\u201d",
    "name = \u02bca\u02bc",
    "name = \uff07a\uff07",
    "name = 'a\u2019 OR \u20181\u2019=\u20181",
    "name = \u00b4a\u00b4",
    "[id = 1",
    "id] = 1",
    "[id]] = 1",
    "[[id]] = 1",
    '[id"] = 1',
    "[id'] = 1",
    "[id`] = 1",
    "[id--] = 1",
    "[id; DROP TABLE t] = 1",
    "[id\x00] = 1",
    "[t].[id] = 1",
    "[*] = 1",
    "[ id ] = 1",
    "[1=1] = 1",
    "[\u0131d] = 1",
    "\u0438d = 1",
    "\uff49d = 1",
    "\uff11 = 1",
    "\u0661 = 1",
]
CHARACTERS = [f"name = 'a{chr(code)}b'" for code in [*range(9), 11, 12, *range(14, 32), 127, 133, 155, 0xD800, 0xDFFF]]
OUTSIDE = [
    f"id = 1{mark}" for mark in ("\x00", "\xa0", "\u2028", "\u200b", "\ufeff", "\u3000", "\u037e", "\u2024", "\x0b")
]
OPERATORS = [
    "name || 'x' = 'x'",
    "age::text = '1'",
    "'x'::regclass = 1",
    "$1 = 1",
    "age = $1",
    ":name = 1",
    "age = :age",
    "@x = 1",
    "@@version = 1",
    "age = %s",
    "age = %(x)s",
    "age = {0}",
    "age = ${x}",
    "?1 = 1",
    "age & 1 = 1",
    "age | 1 = 1",
    "age ^ 1 = 1",
    "~age = 1",
    "!age = 1",
    "age % 2 = 1",
    "age / 2 = 1",
    "age << 1 = 1",
    "age <=> 1",
    "age -> 1",
    "settings -> 'a' = 1",
    "settings ->> 'a' = 1",
    "settings #> 'a' = 1",
    "settings @> 'a'",
    "settings ? 'a'",
    "settings ?| 'a'",
    "name ~ 'x'",
    "name !~ 'x'",
    "name REGEXP 'x'",
    "name GLOB '*'",
    "name MATCH 'x'",
    "name SIMILAR TO 'x'",
    "name COLLATE NOCASE = 'ann'",
    "name = 'a' COLLATE NOCASE",
    "name LIKE 'a' ESCAPE 'b'",
    "age IS 1",
    "age IS DISTINCT FROM 1",
    "age AS x = 1",
    "age = 1 LIMIT 1",
    "age = 1 ORDER BY 1",
    "age = 1 GROUP BY age",
    "age = 1 HAVING 1 = 1",
    "age = 1 FOR UPDATE",
    "age = 1 INTO OUTFILE 'x'",
    "age = 1 PROCEDURE ANALYSE()",
    "age = 1, 2",
    "(age, name) = (1, 'x')",
    "age = 1 XOR 1 = 1",
    "age = 1 && 1 = 1",
    "age = 1 || 1 = 1",
    "WHERE age = 1",
    "SELECT",
    "DROP TABLE t",
    "PRAGMA writable_schema = 1",
    "ATTACH 'x' AS y",
    "* = 1",
    "age = *",
    "age",
    "1",
    "'1'",
    "NULL",
    "TRUE",
    "NOT 0",
    "1 OR 1",
    "rowid(1) = 1",
]
ESCAPES = [
    ")",
    "(",
    "1=1)",
    "(1=1",
    "1=1) OR (1=1",
    "1=1) OR 1=1 --",
    "1=1)) OR ((1=1",
    "1=1) OR deleted_at IS NOT NULL OR (1=1",
    ") OR (1=1",
    "1=1) --",
    "1=1) /*",
    "1=1 OR",
    "OR 1=1",
    "AND",
    "1=1 AND OR 1=1",
    "1=1 OR 1=1)) AND ((1=1",
    "'' = '') OR ('' = ''",
    "[id] = '1') OR ([id] = [id]",
    "age IN (1)) OR (1=1",
    "age IN (1) OR 1=1) --",
    "NOT",
    "NOT (",
    "()",
    "(())",
]
HOSTILE = [
    *(f"{before}{comment}" for before in ("", "1=1 ", "age = 1", "age IN (1) ") for comment in COMMENTS),
    *(f"1=1 {comment} OR 1=1" for comment in COMMENTS),
    "1 --c",
    "1 - - c",
    *(f"{before}{end}" for before in ("", "1=1", "name = 'a'") for end in ENDS),
    *(f"age = 1 {word} {attack}" for word in ("OR", "AND") for attack in SUBSELECTS),
    *SUBSELECTS,
    *FUNCTIONS,
    *(f"NOT ({attack})" for attack in FUNCTIONS),
    *QUOTES,
    *CHARACTERS,
    *OUTSIDE,
    *OPERATORS,
    *ESCAPES,
    "a" * 64 + " = 1",
    "[" + "a" * 300 + "] = 1",
    "(" * 10_000 + "1=1" + ")" * 10_000,
    "(" * 19_000,
    "NOT " * 5_000 + "1=1",
    "'" * 20_001,
    "age IN (" * 2_000,
    "-" * 10_000,
    "- " * 9_000 + "1 = 1",
    "LOWER(" * 3_000,
]


def _shortened(text: str) -> str:
    return ascii(text[:40])


def test_the_corpus_is_large_and_without_repeats() -> None:
    assert len(set(HOSTILE)) >= 300


@pytest.mark.parametrize("text", HOSTILE, ids=_shortened)
def test_a_hostile_clause_is_refused_before_any_sql_exists(text: str) -> None:
    with pytest.raises((InvalidQuery, InvalidName)):
        compile_where(text, [1] * text.count("?"), COLUMNS, DIALECT)


LITERALS = [
    "?",
    "??",
    "[id]",
    "[x",
    "%",
    "%s",
    "$1",
    ":name",
    "@x",
    "--",
    "-- x",
    "/* x */",
    ";",
    "; DROP TABLE t",
    '"',
    '"nope"',
    "`",
    "\\",
    "\\'",
    "'",
    "''",
    "' OR '1'='1",
    "' OR 1=1 --",
    "') OR ('1'='1",
    "SELECT",
    "(SELECT password FROM users)",
    "pg_sleep(1)",
    "NULL",
    "{x}",
    "\u2018\u2019",
    "\t",
    "line\nbreak\ttab",
    "🦆",
    "x" * 1000,
]


@pytest.mark.parametrize("text", LITERALS, ids=_shortened)
def test_text_in_a_literal_or_a_param_is_data_and_stays_as_it_is(table: Table, text: str) -> None:
    doubled = text.replace("'", "''")
    clause = compile_where(f"[name] = '{doubled}' OR name IN ('{doubled}', ?)", (text,), COLUMNS, DIALECT)
    assert clause.sql == '"name" = ? OR "name" IN (?, ?)'
    assert clause.bind((text,)) == [text, text, text]
    assert table.find(f"name = '{doubled}'") == table.find("name = ?", (text,)) == set()
    assert table.find(f"'{doubled}' = ?", (text,)) == ALLOWED
    table.check_untouched()


def test_a_stored_attack_is_found_by_its_text_alone(table: Table) -> None:
    assert table.find("name = 'b''; DROP TABLE t; --'") == table.find("name LIKE '%DROP TABLE%'") == {"m2"}
    table.check_untouched()


@pytest.mark.parametrize(
    "name", ["nope", "rowid", "oid", "_rowid_", "ctid", "sqlite_master", "users", "password", "DELETED_AT"]
)
def test_a_name_that_is_no_column_is_null_and_never_text(table: Table, name: str) -> None:
    assert table.find(f"[{name}] = '{name}'") == table.find(f"{name} = {name}") == set()
    assert table.find(f"[{name}] IS NULL") == ALLOWED
    table.check_untouched()


@pytest.mark.parametrize(
    "text",
    [
        "1=1",
        "1=1 OR 1=1",
        "1=0 OR 1=1",
        "age = 1 OR deleted_at IS NOT NULL",
        "deleted_at IS NOT NULL OR deleted_at IS NULL",
        "NOT deleted_at IS NULL",
        "tenant <> 'mine' OR tenant = 'mine'",
        "tenant = 'other'",
        "NOT (1=0)",
        "NOT 1=0 AND NOT 1=0",
        "((1=1) OR (1=1))",
        "nope IS NULL",
        "nope = 1 OR 1=1",
        "age BETWEEN 0 AND 9 OR 1=1",
        "age NOT IN (?) OR name IS NULL",
        "COALESCE(tenant, 'mine') = 'other' OR 1=1",
        "id LIKE '%'",
        "id ILIKE '%' OR name ILIKE '%'",
        "",
        " ",
    ],
)
@pytest.mark.parametrize("order", ["", "deleted_at DESC", "nope"])
def test_no_clause_reaches_a_deleted_row_or_another_tenant(table: Table, text: str, order: str) -> None:
    assert table.find(text, ([5],) * text.count("?"), order) <= ALLOWED
    table.check_untouched()


def test_or_in_a_clause_stays_inside_its_parentheses(table: Table) -> None:
    assert table.find("1=0 OR 1=1") == ALLOWED
    assert table.find("age = 1 OR age = 2 AND 1=0") == {"m1"}
    assert table.find("(age = 1 OR age = 2) AND 1=0") == table.find("NOT (age = 1 OR 1=1)") == set()
    assert table.find("NOT (1=1 AND 1=0) AND age = 1") == {"m1"}
    table.check_untouched()


def test_the_query_of_a_find_keeps_its_filter_beside_every_clause(table: Table) -> None:
    entity = EntityTable("t", 1, COLUMNS).prepare({}.get)
    for text in ("1=0 OR deleted_at IS NOT NULL", "age = 1 OR 1=1", "deleted_at = '2026-01-01' OR age = 4 OR 1=0"):
        query = find_query(entity, DIALECT, text, (), "id", include_deleted=False)
        found = [
            row[entity.names.index("deleted_at")] for row in table.connection.execute(query.select_sql, query.params)
        ]
        assert set(found) <= {None}
    table.check_untouched()


@pytest.mark.parametrize("params", [(), (1,), (1, 2, 3), [1]])
def test_a_wrong_number_of_params_says_both_numbers(params: Sequence[Any]) -> None:
    with pytest.raises(InvalidQuery, match=rf"2 \? and {len(params)} params"):
        compile_where("age = ? AND name <> '?' OR age = ?", params, COLUMNS, DIALECT)


FRAGMENTS = [
    *("id", "name", "age", "amount", "settings", "settings.a", "nope", "[name]", "[deleted_at]", "tenant", "[users]"),
    *("?", "1", "2.5", "'x'", "'it''s'", "'--'", "TRUE", "NULL", "5e1"),
    *(
        "=",
        "<>",
        "<",
        ">=",
        "+",
        "-",
        "*",
        "(",
        ")",
        ",",
        "AND",
        "OR",
        "NOT",
        "LIKE",
        "IN",
        "IN (",
        "BETWEEN",
        "IS NULL",
    ),
    *("LOWER(", "ABS(", "COALESCE(", "LENGTH("),
    *(
        ";",
        "--",
        "/*",
        "*/",
        "'",
        '"',
        "`",
        "[",
        "]",
        "\\",
        "||",
        "::",
        "$1",
        ":x",
        "@",
        "#",
        "\x00",
        "\u2019",
        "\n",
        "%",
    ),
    *("SELECT", "FROM users", "UNION", "pg_sleep(", "x'", "EXISTS (", "(SELECT password FROM users)", "ESCAPE '\\'"),
]
PARAMS = st.one_of(
    st.none(), st.integers(), st.text(max_size=5), st.lists(st.integers(0, 3), max_size=3), st.booleans()
)


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=14), st.sampled_from(["", " "]), st.data())
def test_a_random_clause_is_refused_or_reads_no_more_than_it_may(
    table: Table, pieces: list[str], glue: str, data: st.DataObject
) -> None:
    text = glue.join(pieces)
    params = data.draw(st.lists(PARAMS, min_size=text.count("?"), max_size=text.count("?")))
    try:
        assert table.find(text, params) <= ALLOWED
    except (InvalidQuery, InvalidName):
        return
    except apsw.SQLError as problem:
        if "integer overflow" not in str(problem):
            raise
    finally:
        table.check_untouched()


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=30))
@example("' OR 1=1 --")
def test_any_text_as_a_clause_an_order_or_a_value_does_no_harm(table: Table, text: str) -> None:
    for attempt in ((text,), ("name = ?", [text]), ("1=1", (), text), (f"name = '{text}'",), (f"[{text}] = 1",)):
        try:
            assert table.find(*attempt) <= ALLOWED
        except (InvalidQuery, InvalidName):
            continue
        finally:
            table.check_untouched()


ORDERS = [
    "1",
    "1 DESC",
    "?",
    "'name'",
    '"name"',
    '"nope"',
    "`name`",
    "(name)",
    "(SELECT 1)",
    "(SELECT password FROM users)",
    "SELECT 1",
    "name; DROP TABLE t",
    "name;",
    "name --",
    "name -- x",
    "name /* x */",
    "name #",
    "name DESC; SELECT 1",
    "name, (CASE WHEN 1=1 THEN 1 ELSE 0 END)",
    "CASE WHEN 1=1 THEN name ELSE id END",
    "LOWER(name)",
    "pg_sleep(1)",
    "random()",
    "name COLLATE NOCASE",
    "name COLLATE BINARY DESC",
    "name NULLS FIRST",
    "name DESC NULLS LAST",
    "name USING >",
    "name ASC DESC",
    "name DESCENDING",
    "name LIMIT 1",
    "name LIMIT 1 OFFSET 1",
    "name OFFSET 1",
    "name UNION SELECT password FROM users",
    "name || id",
    "name::text",
    "name + 1",
    "-age",
    "NOT age",
    "age = 1",
    "age IS NULL",
    "NULL",
    "TRUE",
    "name,",
    ",name",
    "name,,id",
    "name id",
    "name.id",
    "t.name",
    "[t].[name]",
    "[name",
    "name]",
    "[na me]",
    "[name]]",
    "[name\x00]",
    "name\x00",
    "name\xa0DESC",
    "n\u0430me",
    "name \u037e",
    "settings",
    "settings.a",
    "*",
    "[*]",
    "a" * 64,
    "name, " * 4000,
    "$1",
    ":x",
    "@x",
    "%s",
    "\\",
]


@pytest.mark.parametrize("text", ORDERS, ids=_shortened)
def test_a_hostile_order_is_refused(text: str) -> None:
    with pytest.raises((InvalidQuery, InvalidName)):
        compile_order(text, COLUMNS, DIALECT)


@pytest.mark.parametrize(
    "text", [" , ".join(names) for names in itertools.permutations(["[nope] DESC", "rowid", "password asc", "name"], 2)]
)
def test_an_order_by_unknown_names_orders_by_the_known_ones_only(table: Table, text: str) -> None:
    assert set(compile_order(text, COLUMNS, DIALECT)[1]) <= {"name"}
    assert table.find("", (), text) == ALLOWED
    table.check_untouched()
