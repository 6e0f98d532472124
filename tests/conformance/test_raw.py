"""execute() runs the caller's SQL, and what it defines is known to the verbs at once."""

import pytest

from app_kernel.core.errors import InvalidQuery
from tests.conformance.cases import raw
from tests.conformance.steps import check_case


@pytest.mark.parametrize("case", raw.SPELLING, ids=str)
async def test_raw_sql_has_portable_spelling(place, case):
    await check_case(place, case)


@pytest.mark.parametrize("case", raw.TRANSACTIONS, ids=str)
async def test_raw_sql_is_one_statement_in_one_transaction(place, case):
    await check_case(place, case)


@pytest.mark.parametrize("case", raw.DEFINITIONS, ids=str)
async def test_what_raw_sql_defines_is_known_at_once(place, case):
    await check_case(place, case)


async def test_a_raw_row_reads_by_name_by_position_and_as_a_dict(db):
    await db.save_entity("notes", {"id": "a", "x": 1, "y": "two"})
    (row,) = await db.execute("SELECT [id], [x] AS [number], [y] FROM [notes]")
    assert (row[0], row["number"], row[-1], row["y"], len(row)) == ("a", 1, "two", "two", 3)
    assert list(row.keys()) == ["id", "number", "y"]
    assert dict(row.items()) == {"id": "a", "number": 1, "y": "two"}
    with pytest.raises(KeyError):
        row["nope"]
    with pytest.raises(IndexError):
        row[3]


async def test_a_column_that_was_added_since_reads_by_its_name(db):
    await db.save_entity("notes", {"id": "a", "x": 1})
    await db.execute("SELECT * FROM [notes]")
    await db.save_entity("notes", {"id": "a", "color": "red"})
    (row,) = await db.execute("SELECT * FROM [notes]")
    assert (row["x"], row["color"], len(row.keys())) == (1, "red", len(row))


async def test_another_handle_sees_raw_definitions_at_its_next_verb(place):
    one, other = await place.open(), await place.open()
    await one.save_entity("notes", {"id": "a", "x": 1})
    assert (await other.get_entity("notes", "a"))["x"] == 1
    await one.execute("ALTER TABLE [notes] ADD COLUMN [color] " + place.words["text"])
    await one.execute("UPDATE [notes] SET [color] = 'red'")
    assert (await other.get_entity("notes", "a"))["color"] == "red"
    await one.execute("DROP TABLE [notes]")
    assert await other.get_entity("notes", "a") is None
    with pytest.raises(InvalidQuery):
        await other.execute("SELECT [x] FROM [notes]")


@pytest.mark.parametrize("sql", ["SELECT 1\0", "SELECT '\0'", "SELECT '\ud800'", "\ud800"], ids=ascii)
async def test_text_that_no_database_takes_is_refused_before_it_is_sent(db, sql):
    with pytest.raises(InvalidQuery, match="SQL"):
        await db.execute(sql)
    async with db.transaction():
        with pytest.raises(InvalidQuery, match="SQL"):
            await db.execute(sql)
        assert await db.execute("SELECT 1") == [(1,)]
