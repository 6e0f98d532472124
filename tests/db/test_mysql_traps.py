"""What MySQL does behind one's back, each trap with the name of what the store does instead."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from app_kernel.core.errors import (
    InvalidQuery,
    SchemaChangeInTransaction,
    SchemaLimit,
    UniqueViolation,
    UnsupportedValue,
)
from app_kernel.db.database import create_database
from tests.db.mysql_tools import place_on

pytestmark = pytest.mark.acceptance("DB10")


@pytest.fixture
async def place(mysql_url):
    async with place_on(mysql_url) as fresh:
        yield fresh


@pytest.fixture
async def db(place):
    database = create_database(place.url())
    await database.open()
    yield database.connection()
    await database.close()


@pytest.fixture
async def other(place):
    """Another process, which knows what is in the database only."""
    database = create_database(place.url())
    await database.open()
    yield database.connection()
    await database.close()


async def kept(db, other, values):
    """Saves the values; they come back equal and of the same type, there and elsewhere."""
    row = await db.save_entity("things", values)
    for handle in (db, other):
        found = await handle.get_entity("things", row["id"])
        for name, value in values.items():
            assert (type(found[name]), found[name]) == (type(value), value)
    return row


async def test_a_definition_commits_so_a_table_that_a_transaction_wrote_to_cannot_grow_in_it(db):
    await db.save_entity("things", {"id": "a", "n": 1})
    with pytest.raises(SchemaChangeInTransaction, match="ensure_fields"):
        async with db.transaction():
            await db.save_entity("things", {"id": "a", "n": 2})
            await db.save_entity("things", {"id": "b", "later": "x"})
    assert (await db.get_entity("things", "a"))["n"] == 1
    await db.ensure_fields("things", {"later": str})
    async with db.transaction():
        await db.save_entity("things", {"id": "a", "n": 2})
        await db.save_entity("things", {"id": "b", "later": "x"})
    assert await db.count_entities("things") == 2


async def test_a_refused_change_in_a_transaction_leaves_the_transaction_usable(db):
    await db.save_entity("things", {"id": "a", "n": 1})
    async with db.transaction():
        await db.save_entity("things", {"id": "a", "n": 2})
        with pytest.raises(SchemaChangeInTransaction):
            await db.save_entity("things", {"id": "a", "n": "text"})
        with pytest.raises(SchemaChangeInTransaction):
            await db.ensure_index("things", ["n"])
        await db.save_entity("things", {"id": "b", "n": 3})
    assert [row["n"] for row in await db.find_entities("things", order_by="id")] == [2, 3]


async def test_other_tables_are_made_beside_an_open_transaction_and_stay(db, other):
    await db.save_entity("things", {"id": "a", "n": 1})
    with pytest.raises(ZeroDivisionError):
        async with db.transaction():
            await db.save_entity("things", {"id": "a", "n": 2})
            await db.save_entity("fresh", {"id": "f", "n": 1})
            assert (await db.get_entity("fresh", "f"))["n"] == 1
            raise ZeroDivisionError
    assert (await db.get_entity("things", "a"))["n"] == 1
    assert await other.get_entity("fresh", "f") is None
    assert (await other.save_entity("fresh", {"id": "f", "n": 2}))["_version"] == 1


async def test_a_table_that_a_transaction_only_read_can_grow_in_it(db):
    await db.save_entity("things", {"id": "a", "n": 1})
    async with db.transaction():
        assert (await db.get_entity("things", "a"))["n"] == 1
        await db.save_entity("things", {"id": "a", "later": "x"})
    assert (await db.get_entity("things", "a"))["later"] == "x"


async def test_a_fraction_is_not_rounded_into_a_column_of_integers(db, other):
    await kept(db, other, {"id": "a", "n": 5})
    await kept(db, other, {"id": "b", "n": 1.5})
    assert (await other.get_entity("things", "a"))["n"] == 5
    await kept(db, other, {"id": "c", "m": 2**53 + 1})
    await kept(db, other, {"id": "d", "m": 0.1})
    assert (await other.get_entity("things", "c"))["m"] == 2**53 + 1


async def test_an_instant_with_an_offset_is_the_same_instant_to_its_microsecond(db, other):
    for at, moment in enumerate(
        [
            datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30))),
            datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=-11))),
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
        ]
    ):
        await db.save_entity("things", {"id": f"t{at}", "at": moment, "day": moment.date()})
        for handle in (db, other):
            row = await handle.get_entity("things", f"t{at}")
            assert (row["at"], row["at"].utcoffset(), row["day"]) == (moment, timedelta(0), moment.date())
            assert [row["id"] for row in await handle.find_entities("things", "[at] = ?", (moment,))] == [f"t{at}"]
    await kept(db, other, {"id": "d", "day": date(1, 1, 1)})


async def test_a_row_of_many_short_texts_is_refused_by_name_and_nothing_of_it_is_kept(db):
    fields = {f"f{number}": "x" * 39 for number in range(300)}
    await db.ensure_fields("things", dict.fromkeys(fields, str))
    with pytest.raises(UnsupportedValue, match="row is too large"):
        await db.save_entity("things", {"id": "a", **fields})
    assert await db.get_entity("things", "a") is None
    assert await db.find_entities("things_history") == []
    long = {f"f{number}": "x" * 3000 for number in range(50)}
    assert (await db.save_entity("things", {"id": "a", "f99": "short", **long}))["f99"] == "short"


async def test_more_columns_than_a_table_takes_are_refused_by_name(db):
    columns = ", ".join(f"[f{number}] INT" for number in range(1_012))
    await db.execute(f"CREATE TABLE [wide] ([id] VARCHAR(50) PRIMARY KEY, {columns})")
    with pytest.raises(SchemaLimit, match="no further column"):
        await db.save_entity("wide", {"id": "a", "f1011": 7})
    with pytest.raises(SchemaLimit, match="no further column"):
        await db.execute("ALTER TABLE [wide] " + ", ".join(f"ADD COLUMN [g{number}] INT" for number in range(9)))
    assert await db.execute("SELECT COUNT(*) FROM [wide]") == [(0,)]


async def test_text_in_an_index_is_bounded_and_a_longer_value_is_refused_by_field_and_length(db, other):
    await kept(db, other, {"id": "a", "t": "x" * 255})
    await db.ensure_index("things", ["t"])
    await kept(db, other, {"id": "b", "t": "\U0001f600" * 255})
    for handle in (db, other):
        with pytest.raises(UnsupportedValue, match=r"\[t\].*255"):
            await handle.save_entity("things", {"id": "c", "t": "x" * 256})
        with pytest.raises(UnsupportedValue, match=r"\[t\].*255"):
            await handle.save_entities("things", [{"id": "d", "t": "x"}, {"id": "e", "t": "x" * 256}])
    assert await db.count_entities("things") == 2
    await db.save_entity("longer", {"id": "a", "t": "x" * 256})
    with pytest.raises(UnsupportedValue, match=r"\[t\].*255 characters"):
        await db.ensure_index("longer", ["t"])
    await kept(db, other, {"id": "f", "u": "x" * 100_000})


async def test_an_index_takes_four_fields_of_text_and_no_fifth(db, other):
    row = {"id": "a", **{f"t{number}": "x" * 180 for number in range(5)}}
    await kept(db, other, row)
    with pytest.raises(InvalidQuery, match="four fields"):
        await db.ensure_index("things", [f"t{number}" for number in range(5)])
    await db.ensure_index("things", [f"t{number}" for number in range(4)], unique=True)
    with pytest.raises(UniqueViolation, match="t0"):
        await db.save_entity("things", {**row, "id": "b"})
    await kept(db, other, {**row, "id": "c", "t3": "other"})


async def test_a_decimal_keeps_every_digit_and_becomes_a_variant_where_there_are_too_many(db, other):
    longest = Decimal("9" * 35 + "." + "9" * 29 + "8")
    await kept(db, other, {"id": "a", "d": longest})
    await kept(db, other, {"id": "b", "d": Decimal("0." + "0" * 29 + "1")})
    for at, beyond in enumerate([Decimal("9" * 36), Decimal("0." + "0" * 30 + "1"), Decimal("1E+80")]):
        found = (await db.save_entity("things", {"id": f"v{at}", "d": beyond}))["d"]
        assert (type(found), found) == (Decimal, beyond)
    for id, value in {"a": longest, "b": Decimal("0." + "0" * 29 + "1")}.items():
        assert (await other.get_entity("things", id))["d"] == value


async def test_an_integer_keeps_every_digit_and_becomes_a_variant_where_there_are_too_many(db, other):
    for at, number in enumerate([2**63 - 1, -(2**63), 2**63, 10**65 - 1, -(10**65) + 1]):
        await kept(db, other, {"id": f"i{at}", "n": number})
    await kept(db, other, {"id": "beyond", "n": 10**65})
    assert (await other.get_entity("things", "i3"))["n"] == 10**65 - 1
    await kept(db, other, {"id": "beyond", "m": 10**99})


async def test_json_may_be_nested_a_hundred_deep_and_keeps_its_numbers(db, other):
    nested = {"z": [1, 1.5, 1e300, None, True, "\U0001f600'\\"], "a": {"b": 10**15}}
    for _ in range(97):
        nested = [nested]
    await kept(db, other, {"id": "a", "j": {"deep": nested}})
    assert (await other.get_entity("things", "a"))["j"] == {"deep": nested}


async def test_text_compares_by_its_bytes_also_in_a_table_with_a_languages_collation(db, other):
    await db.execute("CREATE TABLE [made] ([id] VARCHAR(50) COLLATE utf8mb4_general_ci PRIMARY KEY, [t] VARCHAR(50))")
    for handle, entity in ((db, "things"), (other, "made")):
        pairs = {"1": "a", "2": "A", "3": "a ", "4": "ä", "5": "ß", "6": "ss", "7": "İ", "8": "i", "9": "\U0001f600"}
        for id, text in pairs.items():
            await handle.save_entity(entity, {"id": id, "t": text})
        for id, text in pairs.items():
            assert [row["id"] for row in await handle.find_entities(entity, "[t] = ?", (text,))] == [id]
            assert [row["id"] for row in await handle.find_entities(entity, "[t] LIKE ?", (text,))] == [id]
        ordered = [row["t"] for row in await handle.find_entities(entity, order_by="t")]
        assert ordered == sorted(pairs.values(), key=str.encode)
        assert await handle.count_entities(entity, "[t] LIKE 'a%'") == 2
        assert await handle.count_entities(entity, "LENGTH([t]) = 1") == 7


async def test_trailing_spaces_and_the_case_of_ids_tell_rows_apart(db, other):
    ids = ["a", "a ", "A", " a"]
    for id in ids:
        await db.save_entity("things", {"id": id, "t": id})
    assert sorted(row["t"] for row in await other.find_entities("things")) == sorted(ids)
    await db.ensure_index("things", ["t"], unique=True)
    for id in ids:
        assert (await other.get_entity("things", id))["t"] == id


async def test_backslashes_percents_and_underscores_are_plain_characters_in_literals(db):
    for at, text in enumerate(["\\", "a\\nb", "100%", "a_b", "axb", "\\%"]):
        await db.save_entity("things", {"id": str(at), "t": text})
    where = {r"[t] = '\'": "0", r"[t] = 'a\nb'": "1", "[t] = '100%'": "2", "[t] = 'a_b'": "3", r"[t] = '\%'": "5"}
    for clause, id in where.items():
        assert [row["id"] for row in await db.find_entities("things", clause)] == [id]
    assert [row["id"] for row in await db.find_entities("things", r"[t] LIKE 'a\_b'")] == ["3"]
    assert await db.count_entities("things", "[t] LIKE 'a_b'") == 2


async def test_a_unique_index_leaves_out_deleted_rows_and_null(db, other):
    await db.ensure_fields("things", {"t": str})
    await db.ensure_index("things", ["t"], unique=True)
    await db.save_entity("things", {"id": "a", "t": "x"})
    for id in ("n1", "n2"):
        await db.save_entity("things", {"id": id, "t": None})
    with pytest.raises(UniqueViolation, match=r"\[t\]") as caught:
        await other.save_entity("things", {"id": "b", "t": "x"})
    assert caught.value.field == "t"
    await db.delete_entity("things", "a")
    await other.save_entity("things", {"id": "b", "t": "x"})
    with pytest.raises(UniqueViolation):
        await db.restore_entity("things", "a")
    assert "_alive" not in await db.get_entity("things", "b")
