"""What where clauses and orders mean on a real PostgreSQL: the same as the tests of SQLite say, row by row."""

import asyncio
from dataclasses import replace

import asyncpg
import pytest
from hypothesis import Phase, given, settings

from app_kernel.db.dialects.postgres import PostgresDialect
from app_kernel.db.kinds import Kind
from app_kernel.db.where import compile_order, compile_where
from tests.conformance.postgres_place import empty_schema
from tests.db import test_where
from tests.db.test_where import CLUES, ROWS

DIALECT = PostgresDialect()
OWN_TYPES = {"app_int": "integer", "app_flag": "integer", "app_number": "numeric(10,2)", "ghost": ""}
COLUMNS = {
    name: replace(column, declared=OWN_TYPES[name] if name in OWN_TYPES else DIALECT.types[column.kind])
    for name, column in test_where.COLUMNS.items()
}
PHYSICAL = [column for column in COLUMNS.values() if column.physical]
CASES = test_where.test_a_clause_finds_these_rows.pytestmark[0].args[1]
LARGEST = test_where.test_the_largest_clauses_run.pytestmark[0].args[1]
OVERFLOWS = test_where.test_an_overflow_of_int_arithmetic_is_an_error_of_the_database.pytestmark[0].args[1]
ORDERS = ["name", "age DESC", "score", "active DESC", "amount", "big", "due DESC", "day", "app_int", "app_number"]


@pytest.fixture
async def rows():
    """The rows of the tests of SQLite, in columns of PostgreSQL's types."""
    async with empty_schema() as url:
        schema = url.partition("schema=")[2].partition("&")[0]
        connection = await asyncpg.connect(url.partition("?")[0])
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        await connection.execute(f"SET search_path = {schema}")
        await connection.execute("DROP TABLE IF EXISTS t")
        definition = ", ".join(f'"{column.name}" {column.declared}' for column in PHYSICAL)
        await connection.execute(f"CREATE TABLE t ({definition})")
        marks = ", ".join(DIALECT.written(at + 1, column) for at, column in enumerate(PHYSICAL))
        for row in ROWS:
            values = [encoded(column, row.get(column.name)) for column in PHYSICAL]
            await connection.execute(f"INSERT INTO t VALUES ({marks})", *values)
        yield connection
        await connection.execute("DROP TABLE t")
        await connection.close()


def encoded(column, value):
    return value if value is None or column.kind is Kind.UNKNOWN else DIALECT.encode(column.kind, value)


async def found(connection, text, params=(), then="ORDER BY id"):
    clause = compile_where(text, params, COLUMNS, DIALECT)
    sql = f"SELECT id FROM t WHERE ({clause.sql}) {then}"
    async with asyncio.timeout(20):
        return "".join(row[0] for row in await connection.fetch(sql, *clause.bind(params)))


async def test_a_clause_finds_the_rows_that_it_finds_in_sqlite(rows):
    answers = [(text, params, await found(rows, text, params)) for text, params, _ in CASES]
    assert answers == [tuple(case) for case in CASES]
    assert len(CASES) > 100


async def test_the_largest_clauses_run(rows):
    for text in LARGEST:
        assert await found(rows, text, [1] * text.count("?")) == "a"
    assert await found(rows, "name IN (?)", (["x"] * 29_999 + ["bob"],)) == "b"


async def test_an_overflow_of_int_arithmetic_is_an_error_of_the_database(rows):
    for text in OVERFLOWS:
        with pytest.raises(asyncpg.NumericValueOutOfRangeError):
            await found(rows, text)


async def test_random_clauses_mean_what_three_valued_logic_says(rows):
    clues = []

    @settings(max_examples=250, database=None, phases=[Phase.generate], deadline=None)
    @given(clue=CLUES)
    def collect(clue):
        clues.append(clue)

    collect()
    for clue in clues:
        truths = {row["id"]: clue.holds(row) for row in ROWS}
        expected = "".join(id for id, truth in truths.items() if truth)
        opposite = "".join(id for id, truth in truths.items() if truth is False)
        answer = await found(rows, clue.text, clue.params), await found(rows, f"NOT ({clue.text})", clue.params)
        assert (clue.text, clue.params, *answer) == (clue.text, clue.params, expected, opposite)


async def test_an_order_puts_none_first_and_sorts_as_the_kinds_do(rows):
    for order in ORDERS:
        name, _, descending = order.partition(" ")
        terms, _ = compile_order(order, COLUMNS, DIALECT)
        ordered = sorted(ROWS, key=lambda row: row["id"])
        ordered.sort(
            key=lambda row: (row.get(name) is not None, 0 if row.get(name) is None else row[name]),
            reverse=bool(descending),
        )
        if descending:
            ordered = [
                *(row for row in ordered if row.get(name) is not None),
                *(r for r in ROWS if r.get(name) is None),
            ]
        assert await found(rows, "1 = 1", (), f"ORDER BY {terms}, id") == "".join(row["id"] for row in ordered)
