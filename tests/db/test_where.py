"""What where clauses and orders mean: as SQL text and values, and as rows found by a real SQLite."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_kernel.core.errors import InvalidQuery
from app_kernel.db.dialects.sqlite import NUMERIC_COLLATION, SqliteDialect
from app_kernel.db.kinds import Kind
from app_kernel.db.table import Column
from app_kernel.db.where import Clause, compile_order, compile_where, signature

DIALECT = SqliteDialect()
KINDS = {
    "id": Kind.STR,
    "name": Kind.STR,
    "nick": Kind.STR,
    "age": Kind.INT,
    "size": Kind.INT,
    "score": Kind.FLOAT,
    "active": Kind.BOOL,
    "amount": Kind.DECIMAL,
    "big": Kind.BIGINT,
    "due": Kind.DATETIME,
    "day": Kind.DATE,
    "settings": Kind.JSON,
    "owner": Kind.UUID,
    "raw": Kind.BYTES,
    "mixed": Kind.VARIANT,
    "order": Kind.STR,
}
COLUMNS = {name: Column(name, kind, DIALECT.types[kind]) for name, kind in KINDS.items()}
COLUMNS["ghost"] = Column("ghost", Kind.UNKNOWN)
COLUMNS["app_int"] = Column("app_int", Kind.UNKNOWN, "INTEGER", adopted=True)
COLUMNS["app_flag"] = Column("app_flag", Kind.BOOL, "INTEGER", adopted=True)
COLUMNS["app_number"] = Column("app_number", Kind.UNKNOWN, "NUMERIC(10,2)", adopted=True)

OWNER = UUID("0190a6f0-0000-7000-8000-000000000001")
NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {
        "id": "a",
        "name": "Ann",
        "nick": "Ann",
        "age": 30,
        "size": 4,
        "score": 1.5,
        "active": True,
        "amount": Decimal("10.50"),
        "big": 2**70,
        "due": NOON,
        "day": date(2026, 1, 2),
        "settings": {"theme": "dark", "n": 5, "on": True, "deep": {"x": [1, 2]}},
        "owner": OWNER,
        "raw": b"\x00\x01",
        "mixed": 5,
        "order": "first",
        "app_int": 7,
        "app_flag": True,
        "app_number": 2.5,
    },
    {
        "id": "b",
        "name": "bob",
        "nick": "BOB",
        "age": -1,
        "size": -1,
        "score": -1.0,
        "active": False,
        "amount": Decimal("9.5"),
        "big": -(2**70),
        "due": NOON + timedelta(days=1),
        "day": date(2025, 12, 31),
        "settings": {"theme": "Light", "n": 2.5, "on": False, "none": None},
        "raw": b"",
        "mixed": "5",
        "app_int": 1,
        "app_flag": False,
        "app_number": 10,
    },
    {
        "id": "c",
        "name": "100%_\\",
        "nick": "",
        "age": 2**63 - 1,
        "size": 0,
        "score": 9007199254740992.0,
        "amount": Decimal(100),
        "big": 5,
        "settings": {"theme": 5, "n": "5", "on": 1},
        "mixed": {"a": 1},
    },
    {"id": "d"},
]


def _compare_numbers(left: str, right: str) -> int:
    a, b = Decimal(left), Decimal(right)
    return (a > b) - (a < b)


def _stored(name: str, value: Any) -> Any:
    kind = COLUMNS[name].kind
    return value if value is None or kind is Kind.UNKNOWN else DIALECT.encode(kind, value)


@pytest.fixture(scope="module")
def rows() -> Iterator[apsw.Connection]:
    """A table of ROWS. Double-quoted text is left possible, as SQLite has it, so that none may come out of a clause."""
    connection = apsw.Connection(":memory:")
    connection.execute("PRAGMA case_sensitive_like = ON")
    connection.create_collation(NUMERIC_COLLATION, _compare_numbers)
    physical = [column for column in COLUMNS.values() if column.physical]
    connection.execute(f"CREATE TABLE t ({', '.join(f'[{column.name}] {column.declared}' for column in physical)})")
    marks = ", ".join("?" for _ in physical)
    for row in ROWS:
        values = [_stored(column.name, row.get(column.name)) for column in physical]
        connection.execute(f"INSERT INTO t VALUES ({marks})", values)
    yield connection
    connection.close()


def compiled(text: str, *params: Any) -> Clause:
    return compile_where(text, params, COLUMNS, DIALECT)


def found(connection: apsw.Connection, text: str, params: Sequence[Any] = ()) -> str:
    clause = compile_where(text, params, COLUMNS, DIALECT)
    sql = f"SELECT id FROM t WHERE ({clause.sql}) AND id IS NOT NULL ORDER BY id"
    return "".join(row[0] for row in connection.execute(sql, clause.bind(params)))


def _shortened(text: str) -> str:
    return ascii(text[:40])


# SQL and values.


@pytest.mark.parametrize(
    ("text", "params", "sql", "values"),
    [
        ("[age] = ?", (5,), '"age" = ?', [5]),
        ("age == 5", (), '"age" = ?', [5]),
        ("age != 5", (), '"age" <> ?', [5]),
        ("name = 'it''s'", (), '"name" = ?', ["it's"]),
        (r"name = 'a\'", (), '"name" = ?', ["a\\"]),
        ("[order] = 'x'", (), '"order" = ?', ["x"]),
        ("? = [age]", (True,), '? = "age"', [1]),
        ("age=1 OR age=2 AND age=3", (), '"age" = ? OR ("age" = ? AND "age" = ?)', [1, 2, 3]),
        ("(age=1 OR age=2) AND age=3", (), '("age" = ? OR "age" = ?) AND "age" = ?', [1, 2, 3]),
        ("NOT age=1 AND age=2", (), 'NOT ("age" = ?) AND "age" = ?', [1, 2]),
        ("((age)) = ((5))", (), '"age" = ?', [5]),
        ("age NOT IN (?)", ([1, 2],), 'NOT ("age" IN (?, ?))', [1, 2]),
        ("age IN (?, 2, ?)", (1, 3), '"age" IN (?, ?, ?)', [1, 2, 3]),
        ("age IN (?)", (7,), '"age" IN (?)', [7]),
        ("age IN (?)", ([],), "1 = 0", []),
        ("age NOT IN (?)", ((),), "NOT (1 = 0)", []),
        ("age IN (?)", ([1, None],), '("age" IN (?) OR NULL = 1)', [1]),
        ("age BETWEEN ? AND 9 AND age=1", (1,), '("age" >= ? AND "age" <= ?) AND "age" = ?', [1, 9, 1]),
        ("age IS NOT NULL", (), '"age" IS NOT NULL', []),
        ("nope = ? OR age = ?", (1, 2), 'NULL = 1 OR "age" = ?', [2]),
        ("ghost IN (?)", ([1, "a"],), "NULL = 1", []),
        ("nope IS NULL", (), "1 = 1", []),
        ("nope IS NOT NULL", (), "1 = 0", []),
        ("COALESCE(nope, 5) = 5", (), "? = ?", [5, 5]),
        ("score * 2 > ?", (3,), '("score" * ?) > ?', [2, 3.0]),
        ("age = -9223372036854775808", (), '"age" = ?', [-(2**63)]),
        ("age > - - 5", (), '"age" > ?', [5]),
        ("name LIKE ?", ("a%",), "\"name\" LIKE ? ESCAPE '\\'", ["a%"]),
        ("name NOT LIKE 'a'", (), "NOT (\"name\" LIKE ? ESCAPE '\\')", ["a"]),
        ("amount = 1.10", (), f'"amount" COLLATE {NUMERIC_COLLATION} = ? COLLATE {NUMERIC_COLLATION}', ["1.10"]),
        ("", (), "", []),
        (" \t\r\n ", (), "", []),
    ],
)
def test_a_clause_becomes_this_sql_with_these_values(text: str, params: Any, sql: str, values: list[Any]) -> None:
    clause = compile_where(text, params, COLUMNS, DIALECT)
    assert clause.sql == sql
    assert clause.bind(params) == values
    assert len(clause.slots) == clause.sql.count("?")


@pytest.mark.parametrize(
    ("column", "given", "stored"),
    [
        ("name", "x", "x"),
        ("name", OWNER, str(OWNER)),
        ("age", True, 1),
        ("age", 2.5, 2.5),
        ("age", 2**63, str(2**63)),
        ("age", Decimal("1.5"), "1.5"),
        ("score", 3, 3.0),
        ("score", Decimal("0.5"), 0.5),
        ("active", True, 1),
        ("active", 0, 0),
        ("app_flag", True, 1),
        ("app_int", True, 1),
        ("amount", 3, "3"),
        ("amount", 0.1, format(Decimal.from_float(0.1), "f")),
        ("amount", Decimal("1E+3"), "1000"),
        ("big", 5, "5"),
        ("due", NOON.astimezone(timezone(timedelta(hours=2))), "2026-01-02T12:00:00.000000Z"),
        ("due", "2026-01-02T14:00:00+02:00", "2026-01-02T12:00:00.000000Z"),
        ("due", "2026-01-02T12:00:00Z", "2026-01-02T12:00:00.000000Z"),
        ("day", date(2026, 1, 2), "2026-01-02"),
        ("day", "2026-01-02", "2026-01-02"),
        ("owner", OWNER, str(OWNER)),
        ("owner", str(OWNER).upper(), str(OWNER)),
        ("owner", "not a uuid", "not a uuid"),
        ("raw", b"x", b"x"),
        ("settings", {"b": 1, "a": [2]}, '{"a":[2],"b":1}'),
        ("settings", [1], "[1]"),
        ("mixed", 5, "5"),
        ("mixed", "5", '"5"'),
        ("mixed", b"x", '{"$kind":"bytes","value":"eA=="}'),
        ("settings.theme", "x", "x"),
        ("settings.theme", {"b": 1, "a": 2}, '{"a":2,"b":1}'),
        ("settings.theme", 2**70, 2.0**70),
        ("app_number", Decimal("2.50"), "2.50"),
        ("app_number", "text", "text"),
    ],
)
def test_a_value_is_encoded_by_the_kind_of_its_column(column: str, given: Any, stored: Any) -> None:
    (value,) = compiled(f"[{column}] = ?", given).bind((given,))
    assert value == stored
    assert type(value) is type(stored)


class _Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("column", "given", "reason"),
    [
        ("name", 5, "[name] (str) with a value of type int"),
        ("name", _Colour.RED, "_Colour"),
        ("name", NOON, "[name] holds text, not datetimes"),
        ("name", ["x"], "a list of values goes into IN (?)"),
        ("name", ("x",), "it goes into IN (?)"),
        ("name", {"x"}, "set"),
        ("name", "a\x00", "NUL"),
        ("name", "\ud800", "surrogate"),
        ("age", "5", "[age] (int) with a value of type str"),
        ("age", float("nan"), "NaN"),
        ("age", float("inf"), "infinities"),
        ("age", Decimal("sNaN"), "NaN"),
        ("score", True, "[score] (float) with a value of type bool"),
        ("score", Decimal("0.1"), "pass float(value)"),
        ("score", 2**53 + 1, "pass float(value)"),
        ("score", 10**400, "pass float(value)"),
        ("active", 2, "True, False, 1 and 0"),
        ("active", "true", "[active] (bool)"),
        ("amount", True, "[amount] (decimal)"),
        ("amount", "1.5", "[amount] (decimal)"),
        ("amount", Decimal("1E+9999"), "digits"),
        pytest.param("big", 10**5000, "digits", id="5000 digits"),
        ("due", datetime(2026, 1, 2), "replace(tzinfo=UTC)"),  # noqa: DTZ001 - naive is the point
        ("due", "2026-01-02T12:00:00", "replace(tzinfo=UTC)"),
        ("due", "yesterday", "ISO 8601"),
        ("due", date(2026, 1, 2), "[due] (datetime)"),
        ("day", NOON, "[day] (date)"),
        ("day", "2026-13-01", "ISO 8601"),
        ("owner", 5, "[owner] (uuid)"),
        ("raw", "x", "[raw] (bytes)"),
        ("raw", bytearray(b"x"), "bytearray"),
        ("settings", "x", "[settings] (json)"),
        ("settings", {"a": {1}}, "JSON types"),
        ("settings.theme", NOON, "inside JSON"),
        ("settings.theme", Decimal(1), "inside JSON"),
        ("settings.theme", OWNER, "inside JSON"),
        ("settings.theme", b"x", "inside JSON"),
        ("mixed", float("nan"), "NaN"),
    ],
)
def test_a_value_that_the_column_cannot_hold_is_refused_with_its_reason(column: str, given: Any, reason: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        compiled(f"[{column}] = ?", given).bind((given,))
    assert reason in refused.value.message


def test_a_refusal_never_repeats_a_value() -> None:
    for column, value in (("due", "secret"), ("score", 987654321987654321), ("raw", "secret"), ("name", "secret\x00")):
        with pytest.raises(InvalidQuery) as refused:
            compiled(f"[{column}] = ?", value).bind((value,))
        assert "secret" not in refused.value.message
        assert "98765" not in refused.value.message


@pytest.mark.parametrize(
    ("text", "params", "place"),
    [
        ("age = 1 age", (), "character 9"),
        ("age = ", (), "at the end, character 7"),
        ("age = 1 AND", (), "character 12"),
        ("(age = 1", (), "Expected ). (at the end, character 9)"),
        ("age = 1)", (), "(near ')', character 8)"),
        ("age = 1 -- x", (), "Comments have no place in a clause. (near '-- x', character 9)"),
        ("age IN (SELECT 1)", (), "character 9"),
        ("name = 'x", (), 'no closing quote. (near "\'x", character 8)'),
        ("age = ?", (), "1 ? and 0 params"),
        ("age = 1", (1, 2), "0 ? and 2 params"),
        ("'?' = ?", (), "1 ? and 0 params"),
        ("name LIKE 5", (), "character 11"),
        ("due > 'x'", (), "character 7"),
        ("amount + 1 > 0", (), "(near 'amount + 1 > 0', character 1)"),
    ],
)
def test_a_refusal_names_the_place(text: str, params: Any, place: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        compile_where(text, params, COLUMNS, DIALECT)
    assert place in refused.value.message


@pytest.mark.parametrize(
    "text",
    [
        "age",
        "NOT age",
        "TRUE",
        "(age = 1) = TRUE",
        "age = (name = 'x')",
        "age = 1 = 1",
        "age < 1 < 2",
        "()",
        "age IN ()",
        "age IN (1,)",
        "age IN 1",
        "age IN ((1, 2))",
        "LOWER() = 'x'",
        "LOWER(name, nick) = 'x'",
        "COALESCE() = 1",
        "age IS TRUE",
        "age IS 1",
        "age NOT = 1",
        "age NOT NULL",
        "age ISNULL",
        "name LIKE 'a' ESCAPE 'b'",
        "name LIKE nick",
        "name LIKE COALESCE(nick, 'a')",
        "age LIKE 'x'",
        "name LIKE 5",
        "age = name",
        "amount = score",
        "big = score",
        "active = age",
        "due = day",
        "settings.a = settings.b",
        "settings.a = amount",
        "name.x = 1",
        "amount + 1 > 2",
        "ABS(amount) > 1",
        "ABS(active) = 1",
        "name + 1 = 2",
        "score + TRUE = 1",
        "-name = 1",
        "- TRUE = 1",
        "+1 = 1",
        "LENGTH(age) = 1",
        "LOWER(settings) = 'x'",
        "COALESCE(age, 'x') = 1",
        "COALESCE(settings.a, settings.b) = 1",
        "settings > ?",
        "mixed > 1",
        "mixed BETWEEN 1 AND 2",
        "mixed LIKE 'x'",
        "1.5.2 = 1",
        "12x = 1",
        ".5 = 1",
        "5. = 1",
        "0x10 = 16",
        "1_000 = 1000",
        "1e = 1",
        "1e99999 = 1",
        "age = 1e400",
        "9" * 5000 + " = 1",
        "[a b] = 1",
        "[] = 1",
        "[1a] = 1",
        "[a.] = 1",
        "[settings.0] = 1",
        "[settings].[a] = 1",
        "a" * 64 + " = 1",
        "[" + "a" * 64 + "] = 1",
        "settings." + ".".join("a" * 60) + " = 1",
        "(" * 51 + "age = 1" + ")" * 51,
        "NOT " * 51 + "age = 1",
        "age = " + "- " * 51 + "age",
        "LOWER(" * 51 + "name" + ")" * 51 + " = 'x'",
        "age = 1" + " " * 20_000,
        "age = " + "+".join("1" * 102),
        "COALESCE(" + ",".join("1" * 101) + ") = 1",
    ],
    ids=_shortened,
)
def test_what_is_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(InvalidQuery):
        compile_where(text, [{"a": 1}] * text.count("?"), COLUMNS, DIALECT)


@pytest.mark.parametrize("text", [None, 5, b"age = 1", ["age = 1"]])
def test_a_clause_is_text(text: Any) -> None:
    with pytest.raises(InvalidQuery, match="A clause is text"):
        compile_where(text, (), COLUMNS, DIALECT)


@pytest.mark.parametrize("params", ["ab", {"a": 1}, {1, 2}, 5, None, b"ab"])
def test_params_are_a_tuple_or_a_list(params: Any) -> None:
    with pytest.raises(InvalidQuery, match="params is a tuple or a list"):
        signature(params)


def test_more_values_than_a_statement_takes_are_refused() -> None:
    params = (["x"] * 30_001,)
    with pytest.raises(InvalidQuery, match="at most 30000 values"):
        compile_where("name IN (?)", params, COLUMNS, DIALECT)


@pytest.mark.parametrize("pattern", ["a\\", "\\", "a\\\\\\", "é" * 25_001, "x" * 50_001], ids=_shortened)
def test_a_pattern_that_a_database_would_refuse_is_refused(pattern: str) -> None:
    for text in ("name LIKE ?", "name ILIKE ?", "name LIKE LOWER(?)", "settings.a NOT LIKE ?"):
        with pytest.raises(InvalidQuery, match="pattern"):
            compiled(text, pattern).bind((pattern,))
    if "'" not in pattern and len(pattern) < 100:
        with pytest.raises(InvalidQuery, match="pattern"):
            compiled(f"name LIKE '{pattern}'")


def test_a_signature_is_what_a_compiled_clause_depends_on() -> None:
    assert signature((5, "x")) == signature([6, "y"])
    assert (
        len({signature((value,)) for value in (1, 2**63, 1.0, True, "1", None, [1], (1,), [1, 2], ["a"], [2**63])})
        == 11
    )
    hash(signature(([{"a": 1}, [1], None], {"a": 1}, {1})))


@given(st.lists(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.none()), max_size=4))
def test_a_clause_compiled_for_other_values_of_the_signature_binds_these(values: list[Any]) -> None:
    others = [
        type(value)(1) if value is not None and signature((value,)) != signature((2**70,)) else value
        for value in values
    ]
    for params, other in (((values,), (others,)), (tuple(values), tuple(others))):
        assert signature(params) == signature(other)
        text = (
            "age IN (?)" if isinstance(params[0] if params else None, list) else " AND ".join("age = ?" for _ in params)
        )
        one, two = compile_where(text, params, COLUMNS, DIALECT), compile_where(text, other, COLUMNS, DIALECT)
        assert one.sql == two.sql
        assert one.bind(params) == two.bind(params)


# Rows.


@pytest.mark.parametrize(
    ("text", "params", "ids"),
    [
        ("1=1", (), "abcd"),
        ("1 = 0", (), ""),
        ("'a' = 'b'", (), ""),
        ("? = 1", (1.0,), "abcd"),
        ("? = ?", (2**70, 2**70), "abcd"),
        ("? < ?", (Decimal("9.5"), 10), "abcd"),
        ("NULL = NULL", (), ""),
        ("NULL IS NULL", (), "abcd"),
        ("? IS NULL", (None,), "abcd"),
        ("? IS NULL", (1,), ""),
        ("name = ?", (None,), ""),
        ("name <> ?", (None,), ""),
        ("NOT (name = ?)", (None,), ""),
        ("nope = 1", (), ""),
        ("NOT nope = 1", (), ""),
        ("nope IS NULL", (), "abcd"),
        ("ghost = 'ghost'", (), ""),
        ("nope IN (1) OR age = 30", (), "a"),
        ("LENGTH(nope) = 1 OR nope + 1 = 1 OR ABS(nope) = 1", (), ""),
        ("COALESCE(nope, age) = 30", (), "a"),
        ("nope LIKE '%'", (), ""),
        ("nope.a.b = 1", (), ""),
        ("age = 2 OR age = 30 AND 1 = 0", (), ""),
        ("(age = 2 OR age = 30) AND 1 = 1", (), "a"),
        # Text
        ("name = 'ann'", (), ""),
        ("LOWER(name) = 'ann'", (), "a"),
        ("UPPER(name) = nick", (), "b"),
        ("name = nick", (), "a"),
        ("name < 'b'", (), "ac"),
        ("name LIKE 'a%'", (), ""),
        ("name ILIKE 'a%'", (), "a"),
        ("name LIKE 'A__'", (), "a"),
        (r"name LIKE '%\%\_\\'", (), "c"),
        (r"name LIKE '%\\'", (), "c"),
        ("name NOT LIKE '%n%'", (), "bc"),
        ("name ILIKE LOWER(?)", ("%N%",), "a"),
        ("LENGTH(name) = 6", (), "c"),
        ("name IN (?)", (["Ann", "bob", "zoe"],), "ab"),
        ("name IN ('Ann', ?)", ("bob",), "ab"),
        ("name NOT IN (?)", (["Ann"],), "bc"),
        ("name NOT IN (?)", (["Ann", None],), ""),
        ("name IN (?)", (["Ann", None],), "a"),
        ("name IN (?)", ([],), ""),
        ("name NOT IN (?)", ([],), "abcd"),
        ("NOT name IN (?)", ([],), "abcd"),
        ("COALESCE(nick, 'none') = 'none'", (), "d"),
        ("owner = ?", (OWNER,), "a"),
        ("owner LIKE '0190%'", (), "a"),
        # Numbers
        ("age = 30.0", (), "a"),
        ("age < 30.5", (), "ab"),
        ("age > ?", (-1.5,), "abc"),
        ("age = ?", (2**63,), ""),
        ("age < ?", (2**63,), "abc"),
        ("age > ?", (-(2**63) - 1,), "abc"),
        ("NOT age = ?", (2**63,), "abc"),
        ("age = ?", (Decimal(30),), "a"),
        ("age < ?", (Decimal("30.000000000000000000001"),), "ab"),
        ("age = ?", (9223372036854775807.0,), ""),
        ("age IN (?)", ([30, 2.5, Decimal(-1), 2**70, True],), "ab"),
        ("age = size", (), "b"),
        ("size = score", (), "b"),
        ("size < score", (), "c"),
        ("size < amount", (), "abc"),
        ("big > age", (), "a"),
        ("amount > big", (), "bc"),
        ("amount > 9.5", (), "ac"),
        ("amount = 10.5", (), "a"),
        ("amount = 10.500", (), "a"),
        ("amount BETWEEN 9 AND 11", (), "ab"),
        ("amount IN (100, 9.50)", (), "bc"),
        ("amount = 0.1", (), ""),
        ("big = ?", (2**70,), "a"),
        ("big < ?", (0.5,), "b"),
        ("score = 1.5", (), "a"),
        ("score = ?", (Decimal("1.5"),), "a"),
        ("score > 1", (), "ac"),
        ("size + 1 = 5", (), "a"),
        ("size * 2 + 1 = -1", (), "b"),
        ("1 + size * 2 = -1", (), "b"),
        ("(1 + size) * 2 = 10", (), "a"),
        ("-size = 1", (), "b"),
        ("ABS(size) = 1", (), "b"),
        ("size - 1.5 = 2.5", (), "a"),
        ("COALESCE(size, 0) + 1 = 1", (), "cd"),
        ("app_int = 7", (), "a"),
        ("app_int = ?", (True,), "b"),
        ("app_number > 2.5", (), "b"),
        ("app_number = ?", (Decimal("2.50"),), "a"),
        # Booleans
        ("active = TRUE", (), "a"),
        ("active = ?", (False,), "b"),
        ("active = 1", (), "a"),
        ("active <> TRUE", (), "b"),
        ("NOT active = TRUE", (), "b"),
        ("COALESCE(active, FALSE) = FALSE", (), "bcd"),
        ("app_flag = 1", (), "a"),
        ("app_flag = ?", (True,), "a"),
        # Times, bytes, JSON and variants
        ("due = ?", (NOON,), "a"),
        ("due > '2026-01-02T13:00:00+02:00'", (), "ab"),
        ("due > '2026-01-02T12:00:00Z'", (), "b"),
        ("day < ?", (date(2026, 1, 1),), "b"),
        ("raw = ?", (b"\x00\x01",), "a"),
        ("raw = ?", (b"",), "b"),
        ("settings = ?", ({"n": 2.5, "theme": "Light", "on": False, "none": None},), "b"),
        ("settings <> ?", ({},), "abc"),
        ("settings IN (?)", ([{}, {"theme": 5, "n": "5", "on": 1}],), "c"),
        ("settings IS NULL", (), "d"),
        ("settings.theme = 'dark'", (), "a"),
        ("[settings.theme] <> 'dark'", (), "b"),
        ("settings.theme = 5", (), "c"),
        ("settings.theme IS NULL", (), "d"),
        ("settings.none IS NULL", (), "abcd"),
        ("settings.n > 2", (), "ab"),
        ("settings.n = 5", (), "a"),
        ("settings.n = ?", ("5",), "c"),
        ("settings.n IN (?)", ([5, 2.5, "5"],), "abc"),
        ("settings.n + 1 = 3.5", (), "b"),
        ("settings.n * 2 > size", (), "ab"),
        ("COALESCE(settings.n, 0) + 1 > 3", (), "ab"),
        ("settings.n = age OR settings.n > size", (), "ab"),
        ("settings.on = TRUE", (), "a"),
        ("settings.on = FALSE", (), "b"),
        ("settings.on = 1", (), "c"),
        ("settings.theme ILIKE 'l%'", (), "b"),
        ("LOWER(settings.theme) = 'light'", (), "b"),
        ("settings.deep.x = ?", ([1, 2],), "a"),
        ("settings.deep = ?", ({"x": [1, 2]},), "a"),
        ("settings.deep.x IS NOT NULL", (), "a"),
        ("mixed = 5", (), "a"),
        ("mixed = ?", ("5",), "b"),
        ("mixed IN (?)", ([5, {"a": 1}],), "ac"),
        ("mixed <> 5", (), "bc"),
        ("mixed IS NULL", (), "d"),
        ("[order] = 'first'", (), "a"),
    ],
)
def test_a_clause_finds_these_rows(rows: apsw.Connection, text: str, params: Any, ids: str) -> None:
    assert found(rows, text, params) == ids


@pytest.mark.parametrize(
    "text", ["age + 1 > 0", "-(0 - age) + 1 > 0", "age * age = 1", "(age + 1) * 0.5 > 0", "age + 1 - 1 = 0"]
)
def test_an_overflow_of_int_arithmetic_is_an_error_of_the_database(rows: apsw.Connection, text: str) -> None:
    with pytest.raises(apsw.SQLError, match="integer overflow"):
        found(rows, text)
    assert found(rows, f"id <> 'c' AND COALESCE({text.partition(' ')[0].strip('-(')}, 0) * 0 = 0") == "abd"


def test_arithmetic_does_not_grow_with_its_depth(rows: apsw.Connection) -> None:
    assert len(compiled("+".join(["size"] * 100) + " > 0").sql) < 5000
    nested = "COALESCE(" * 40 + "size" + ", 0) + 1" * 40
    assert len(compiled(f"{nested} = 44").sql) < 5000
    assert found(rows, f"{nested} = 44") == "a"


@pytest.mark.parametrize(
    "text",
    [
        "(" * 50 + "size = 4" + ")" * 50,
        "NOT " * 50 + "size = 4",
        "size = " + "- " * 50 + "size AND size = 4",
        "(" * 50 + "size = 4" + " OR size = 99)" * 50,
        "size = 4 OR " + " OR ".join(["size=9"] * 1600),
        "size = 4 AND " + " AND ".join(["id>''"] * 1500),
        "(" * 49 + "size = 4" + "".join([" OR size=8" * 7 + ")" + " AND size=4" * 7] * 49),
        "size = " + "0 + " * 100 + "size AND size = 4",
        "size IN (" + ",".join(["9"] * 9000) + ", 4)",
        "size IN (" + ",".join(["9.5"] * 1000 + ["'x'"] * 0 + ["4"]) + ")",
        "size = 4 AND NOT ? IN (" + ",".join(["9"] * 3000) + ")",
    ],
    ids=_shortened,
)
def test_the_largest_clauses_run(rows: apsw.Connection, text: str) -> None:
    assert found(rows, text, [1] * text.count("?")) == "a"


def test_the_deepest_clause_compiles_in_a_deep_stack(rows: apsw.Connection) -> None:
    def descend(levels: int) -> str:
        return descend(levels - 1) if levels else found(rows, "(" * 50 + "size = 4" + ")" * 50)

    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(descend(sys.getrecursionlimit() // 2 - 40)))
    thread.start()
    thread.join()
    assert answers == ["a"]


def test_30_000_values_run(rows: apsw.Connection) -> None:
    assert found(rows, "name IN (?)", (["x"] * 29_999 + ["bob"],)) == "b"


# Random clauses, beside a model of three-valued logic.

Truth = bool | None


@dataclass(frozen=True)
class Clue:
    """A clause with its params, and what it means for a row."""

    text: str
    params: tuple[Any, ...]
    holds: Callable[[dict[str, Any]], Truth]
    binding: int = 3
    """How tightly its outermost word binds: OR 0, AND 1, NOT 2."""


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 4, 5, 30, 2**63 - 1, 2**63, -(2**63) - 1, 2**70, 2**53, 2**53 + 1]),
    st.sampled_from([1.5, -1.0, 4.0, 9007199254740992.0, 1e300, 0.1]),
    st.sampled_from([Decimal("10.5"), Decimal("9.50"), Decimal(100), Decimal("0.1"), Decimal(2**70)]),
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "age": NUMBERS,
    "size": NUMBERS,
    "amount": NUMBERS,
    "big": NUMBERS,
    "score": st.sampled_from([1.5, -1, 0, 2**53, 1e300, Decimal("1.5")]),
    "name": st.sampled_from(["Ann", "ann", "bob", "", "100%_\\", "é", "🦆", "a' OR 1=1 --", "?", "[name]", "$1"]),
    "nick": st.sampled_from(["Ann", "BOB", ""]),
    "active": st.sampled_from([True, False, 0, 1]),
    "due": st.sampled_from([NOON, NOON + timedelta(days=1), NOON.astimezone(timezone(timedelta(hours=5)))]),
    "day": st.sampled_from([date(2026, 1, 2), date(2025, 12, 31), date(1, 1, 1)]),
    "raw": st.sampled_from([b"", b"\x00\x01", b"\xff"]),
    "nope": st.sampled_from([1, "x", None, True]),
}
COLUMN_PAIRS = [
    ("age", "size"),
    ("size", "score"),
    ("size", "amount"),
    ("big", "amount"),
    ("age", "big"),
    ("name", "nick"),
]


def _lifted(operator: Callable[..., bool]) -> Callable[..., Truth]:
    return lambda *values: None if None in values else operator(*values)


def _literal(value: Any) -> str | None:
    if type(value) is str:
        return "'" + value.replace("'", "''") + "'"
    if type(value) is bool:
        return str(value).lower()
    return str(value) if type(value) is int else None


@st.composite
def operands(draw: st.DrawFn, column: str) -> tuple[str, tuple[Any, ...], Any]:
    value = draw(VALUES[column] if draw(st.integers(0, 9)) else st.none())
    literal = "NULL" if value is None else _literal(value)
    if literal is not None and draw(st.booleans()):
        return literal, (), value
    return "?", (value,), value


@st.composite
def comparisons(draw: st.DrawFn) -> Clue:
    column, operator = draw(st.sampled_from(sorted(VALUES))), draw(st.sampled_from(sorted(OPERATORS)))
    mark, params, value = draw(operands(column))
    compare = _lifted(OPERATORS[operator])
    if draw(st.booleans()):
        return Clue(f"[{column}] {operator} {mark}", params, lambda row: compare(row.get(column), value))
    return Clue(f"{mark}{operator}{column}", params, lambda row: compare(value, row.get(column)))


@st.composite
def column_comparisons(draw: st.DrawFn) -> Clue:
    pair = draw(st.sampled_from(COLUMN_PAIRS))
    left, right = pair if draw(st.booleans()) else pair[::-1]
    operator = draw(st.sampled_from(sorted(OPERATORS)))
    compare = _lifted(OPERATORS[operator])
    return Clue(f"{left} {operator} [{right}]", (), lambda row: compare(row.get(left), row.get(right)))


@st.composite
def lists(draw: st.DrawFn) -> Clue:
    column, negated = draw(st.sampled_from(sorted(VALUES))), draw(st.booleans())
    values = draw(st.lists(st.one_of(st.none(), VALUES[column]), max_size=4))
    one_param = not values or draw(st.booleans())
    marks = "?" if one_param else ", ".join("?" for _ in values)

    def holds(row: dict[str, Any]) -> Truth:
        equal = [_lifted(OPERATORS["="])(row.get(column), value) for value in values]
        inside = True if True in equal else (None if None in equal else False)
        return inside if inside is None else inside is not negated

    return Clue(f"{column} {'NOT ' * negated}IN ({marks})", (values,) if one_param else tuple(values), holds)


@st.composite
def ranges(draw: st.DrawFn) -> Clue:
    column, negated = draw(st.sampled_from(sorted(VALUES))), draw(st.booleans())
    (low_mark, low_params, low), (high_mark, high_params, high) = draw(operands(column)), draw(operands(column))

    def holds(row: dict[str, Any]) -> Truth:
        value = row.get(column)
        sides = _lifted(OPERATORS[">="])(value, low), _lifted(OPERATORS["<="])(value, high)
        inside = False if False in sides else (None if None in sides else True)
        return inside if inside is None else inside is not negated

    text = f"{column} {'not ' * negated}between {low_mark} and {high_mark}"
    return Clue(text, low_params + high_params, holds)


def _like(text: str, pattern: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(_like(text[start:], pattern[1:]) for start in range(len(text) + 1))
    if pattern[0] == "\\":
        return text[:1] == pattern[1] and _like(text[1:], pattern[2:])
    return bool(text) and pattern[0] in {"_", text[0]} and _like(text[1:], pattern[1:])


@st.composite
def patterns(draw: st.DrawFn) -> Clue:
    column, word = draw(st.sampled_from(["name", "nick", "nope"])), draw(st.sampled_from(["LIKE", "ILIKE"]))
    pattern = "".join(
        draw(st.lists(st.sampled_from(["%", "_", "\\%", "\\_", "\\\\", "A", "n", "B", "1", "0"]), max_size=6))
    )
    fold: Callable[[str], str] = str.lower if word == "ILIKE" else str
    match = _lifted(lambda value: _like(fold(value), fold(pattern)))
    mark, params = ("?", (pattern,)) if draw(st.booleans()) else (f"'{pattern}'", ())
    return Clue(f"{column} {word} {mark}", params, lambda row: match(row.get(column)))


@st.composite
def null_tests(draw: st.DrawFn) -> Clue:
    column, negated = draw(st.sampled_from(sorted({*VALUES, "mixed", "settings"}))), draw(st.booleans())
    return Clue(f"[{column}] IS {'NOT ' * negated}NULL", (), lambda row: (row.get(column) is None) is not negated)


@st.composite
def sums(draw: st.DrawFn) -> Clue:
    column, operator = draw(st.sampled_from(["size", "score"])), draw(st.sampled_from(sorted(OPERATORS)))
    factor, addend, value = (draw(st.integers(-5, 5)) for _ in range(3))
    compare = _lifted(OPERATORS[operator])

    def holds(row: dict[str, Any]) -> Truth:
        number = row.get(column)
        return compare(None if number is None else addend + number * factor, value)

    text = f"{addend} + {column} * ? {operator} {value}"
    return Clue(text, (factor,), holds)


def _both(word: str, parts: Sequence[Clue]) -> Clue:
    decisive = word == "OR"
    binding = 0 if decisive else 1

    def holds(row: dict[str, Any]) -> Truth:
        truths = [part.holds(row) for part in parts]
        return decisive if decisive in truths else (None if None in truths else not decisive)

    texts = [part.text if part.binding >= binding else f"({part.text})" for part in parts]
    params = tuple(param for part in parts for param in part.params)
    return Clue(f" {word} ".join(texts), params, holds, binding)


def _opposite(part: Clue) -> Clue:
    def holds(row: dict[str, Any]) -> Truth:
        truth = part.holds(row)
        return None if truth is None else not truth

    text = part.text if part.binding >= 2 else f"({part.text})"
    return Clue(f"NOT {text}", part.params, holds, 2)


LEAVES = st.one_of(comparisons(), column_comparisons(), lists(), ranges(), patterns(), null_tests(), sums())
CLUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(_both, st.sampled_from(["AND", "OR"]), st.lists(inner, min_size=2, max_size=4)),
        st.builds(_opposite, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(clue=CLUES)
def test_random_clauses_mean_in_sqlite_what_three_valued_logic_says(rows: apsw.Connection, clue: Clue) -> None:
    truths = [clue.holds(row) for row in ROWS]
    ids = [row["id"] for row in ROWS]
    assert found(rows, clue.text, clue.params) == "".join(at for at, truth in zip(ids, truths, strict=True) if truth)
    opposite = found(rows, f"NOT ({clue.text})", clue.params)
    assert opposite == "".join(at for at, truth in zip(ids, truths, strict=True) if truth is False)


# Orders.


@pytest.mark.parametrize(
    ("text", "sql", "names"),
    [
        ("", "", ()),
        ("  ", "", ()),
        ("[name] DESC, age", '"name" DESC, "age"', ("name", "age")),
        ("name asc,age desc", '"name", "age" DESC', ("name", "age")),
        ("[order]", '"order"', ("order",)),
        ("nope, ghost DESC, age", '"age"', ("age",)),
        ("nope", "", ()),
        ("age, age DESC", '"age"', ("age",)),
        ("amount DESC", f'"amount" COLLATE {NUMERIC_COLLATION} DESC', ("amount",)),
        ("app_int", '"app_int"', ("app_int",)),
    ],
)
def test_an_order_becomes_these_terms(text: str, sql: str, names: tuple[str, ...]) -> None:
    assert compile_order(text, COLUMNS, DIALECT) == (sql, names)


@pytest.mark.parametrize(
    "text",
    [
        "settings",
        "mixed DESC",
        "settings.theme",
        "age NULLS FIRST",
        "age,",
        ",age",
        "age,,name",
        "age name",
        "age DESC ASC",
        "ASC",
        "1",
        "?",
        "'age'",
        "LOWER(name)",
        "(age)",
        "age + 1",
        "-age",
        "NULL",
        "a" * 64,
        "[a b]",
    ],
)
def test_an_order_is_names_only(text: str) -> None:
    with pytest.raises(InvalidQuery):
        compile_order(text, COLUMNS, DIALECT)


def test_an_order_sorts_as_the_kinds_do(rows: apsw.Connection) -> None:
    for text, ids in (("amount", "dbac"), ("big DESC", "acbd"), ("name", "dcab"), ("age DESC, id", "cabd")):
        sql = f"SELECT id FROM t ORDER BY {compile_order(text, COLUMNS, DIALECT)[0]}"
        assert "".join(row[0] for row in rows.execute(sql)) == ids
