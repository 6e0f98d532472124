"""Tables of the application's with types and character sets that only MySQL has."""

from decimal import Decimal

import pytest

from app_kernel.core.errors import InvalidQuery, UnsupportedValue
from tests.conformance.backends import BACKENDS
from tests.conformance.steps import expect_same


@pytest.fixture
async def db():
    async with BACKENDS["mysql"]() as fresh:
        yield await fresh.open()


async def found(db, clause, *params):
    return [row["id"] for row in await db.find_entities("own", clause, params, "[id]")]


async def test_a_number_of_single_precision_is_read_as_it_is_and_found_by_it(db):
    await db.execute("CREATE TABLE [own] ([id] INT PRIMARY KEY, [f] FLOAT)")
    await db.execute("INSERT INTO [own] ([id], [f]) VALUES (1, 16777216), (2, 0.1)")
    rows = await db.find_entities("own", order_by="[id]")
    expect_same([row["f"] for row in rows], [16777216.0, 0.10000000149011612])
    assert await found(db, "[f] = ?", rows[1]["f"]) == [2]
    with pytest.raises(UnsupportedValue, match="would alter"):
        await db.save_entity("own", {"id": 3, "f": 0.1})
    saved = await db.save_entity("own", {"id": 2, "f": rows[1]["f"], "note": "x"})
    expect_same(saved["f"], rows[1]["f"])
    expect_same((await db.get_entity_history("own", "2"))[-1]["entity"]["f"], rows[1]["f"])


ARITHMETIC = ["[u] - 5 < 0", "[u] * -1 = -3", "[u] + -5 = -2", "-[u] = -3", "1 - [u] = -2", "ABS([u] - 5) = 2"]


@pytest.mark.parametrize("clause", ARITHMETIC)
async def test_arithmetic_over_unsigned_columns_may_fall_below_zero(db, clause):
    await db.execute("CREATE TABLE [own] ([id] INT PRIMARY KEY, [u] INT UNSIGNED)")
    await db.execute("INSERT INTO [own] ([id], [u]) VALUES (1, 3)")
    assert await found(db, clause) == [1]


async def test_arithmetic_over_what_fits_no_signed_integer_is_refused(db):
    await db.execute("CREATE TABLE [own] ([id] INT PRIMARY KEY, [u] BIGINT UNSIGNED)")
    await db.execute("INSERT INTO [own] ([id], [u]) VALUES (1, 18446744073709551615)")
    with pytest.raises(InvalidQuery):
        await found(db, "[u] - 1 > 0")


async def test_an_unsigned_column_holds_integers_up_to_64_bits(db):
    await db.execute("CREATE TABLE [own] ([id] INT PRIMARY KEY, [u] BIGINT UNSIGNED, [s] BIGINT)")
    saved = await db.save_entity("own", {"id": 1, "u": 2**64 - 1, "s": 5})
    expect_same(saved["u"], 2**64 - 1)
    await db.save_entity("own", {**saved, "s": 6})
    await db.save_entity("own", {"id": 2, "u": 7})
    assert await found(db, "[u] = ?", 2**64 - 1) == [1]
    assert await found(db, "[u] < ?", 2**63) == [2]
    for beyond in (2**64, -1):
        with pytest.raises(UnsupportedValue):
            await db.save_entity("own", {"id": 3, "u": beyond})
    with pytest.raises(UnsupportedValue):
        await db.save_entity("own", {"id": 3, "s": 2**63})


@pytest.mark.parametrize("collation", ["latin1_general_cs", "latin1_swedish_ci", "utf8mb3_general_ci", "ucs2_bin"])
async def test_an_id_that_a_column_has_no_characters_for_is_an_unknown_one(db, collation):
    await db.execute(f"CREATE TABLE [own] ([id] VARCHAR(20) COLLATE {collation} PRIMARY KEY, [n] INT)")
    await db.save_entity("own", {"id": "?", "n": 1})
    for id in ("\N{GRINNING FACE}", "a\N{GRINNING FACE}"):
        assert await db.get_entity("own", id) is None
        assert await db.delete_entity("own", id) is False
        assert await db.get_entity_history("own", id) == []
        with pytest.raises(UnsupportedValue, match="character set"):
            await db.save_entity("own", {"id": id, "n": 1})
    expect_same((await db.get_entity("own", "?"))["n"], 1)
    await db.save_entity("own", {"id": "\xe9", "n": 2})
    expect_same((await db.get_entity("own", "\xe9"))["n"], 2)
    assert await db.get_entity("own", "\xc9") is None


async def test_a_decimal_of_a_statement_of_ones_own_keeps_all_its_digits(db):
    await db.execute("CREATE TABLE [plain] ([d] DECIMAL(50, 38))")
    value = Decimal("0.12345678901234567890123456789012345678")
    await db.execute("INSERT INTO [plain] ([d]) VALUES (?)", (value,))
    expect_same((await db.execute("SELECT [d] FROM [plain]"))[0][0], value)


async def test_points_are_read_and_written_as_text(db):
    await db.execute("CREATE TABLE [own] ([id] INT PRIMARY KEY, [at] POINT, [n] INT)")
    await db.execute("INSERT INTO [own] ([id], [at]) VALUES (1, POINT(1, 2.5)), (2, NULL)")
    first = await db.get_entity("own", 1)
    expect_same(first["at"], "POINT(1 2.5)")
    assert (await db.save_entity("own", {**first, "n": 1}))["at"] == first["at"]
    assert (await db.save_entity("own", {"id": 2, "at": "POINT(3 4)"}))["at"] == "POINT(3 4)"
    assert await found(db, "[at] = ?", "POINT(3 4)") == [2]
    assert (await db.get_entity_version("own", 2, 2))["at"] == "POINT(3 4)"
    with pytest.raises((InvalidQuery, UnsupportedValue)):
        await db.save_entity("own", {"id": 3, "at": "nowhere"})
    assert await db.count_entities("own") == 2


async def test_an_applications_column_of_the_name_that_unique_indexes_need_is_no_part_of_one(db):
    await db.execute("CREATE TABLE [own] ([id] INT PRIMARY KEY, [_alive] INT, [n] INT)")
    await db.save_entity("own", {"id": 1, "n": 1})
    with pytest.raises(InvalidQuery, match="_alive"):
        await db.ensure_index("own", ["n"], unique=True)
