"""Tables of the application's with what only SQLite has: STRICT, ANY, no type at all, generated columns, triggers."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from app_kernel.core.errors import (
    ConstraintViolation,
    MissingValue,
    UniqueViolation,
    UnsupportedTable,
    UnsupportedValue,
)
from app_kernel.db import connect
from tests.conformance.steps import expect_same

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
async def db():
    async with connect("sqlite://:memory:") as store:
        yield store


async def kept(db, table, id):
    return await db.find_entities(f"{table}_history", "[id] = ?", (id,), "[_version]")


async def test_a_strict_table_takes_new_fields_of_every_kind(db):
    await db.execute("CREATE TABLE own (id TEXT PRIMARY KEY, name TEXT, n INTEGER) STRICT")
    fields = {
        "name": "x",
        "n": 5,
        "flag": True,
        "f": 1.5,
        "d": Decimal("1.50"),
        "j": {"a": 1},
        "t": NOON,
        "day": date(2024, 1, 1),
        "x": b"x",
        "big": 2**70,
    }
    saved = await db.save_entity("own", {"id": "a", **fields})
    expect_same({name: saved[name] for name in fields}, fields)
    await db.save_entity("own", {"id": "b", "d": 5, "big": "mixed", "flag": "mixed"})
    rows = await db.find_entities("own", order_by="[id]")
    expect_same([row["flag"] for row in rows], [True, "mixed"])
    expect_same([row["big"] for row in rows], [2**70, "mixed"])
    expect_same([row["d"] for row in rows], [Decimal("1.50"), Decimal(5)])


async def test_a_strict_table_refuses_what_a_column_cannot_hold(db):
    await db.execute("CREATE TABLE own (id TEXT PRIMARY KEY, n INTEGER, f REAL, s TEXT) STRICT")
    for name, value in (("n", "x"), ("n", 1.5), ("f", "x"), ("s", 5)):
        with pytest.raises(UnsupportedValue, match=rf"\[{name}\]"):
            await db.save_entity("own", {"id": "a", name: value})
    row = await db.save_entity("own", {"id": "a", "n": 1, "f": 1, "s": "1"})
    expect_same([row["n"], row["f"], row["s"]], [1, 1.0, "1"])


@pytest.mark.parametrize("declared", ["", "ANY"])
async def test_a_column_that_keeps_everything_learns_its_kind(db, declared):
    strict = "STRICT" if declared else ""
    values = ["007", 5, 1.5, True, b"x", {"a": 1}, Decimal("1.50"), NOON, 2**70]
    columns = ", ".join(f"v{number} {declared}" for number in range(len(values)))
    await db.execute(f"CREATE TABLE own (id TEXT PRIMARY KEY, {columns}) {strict}")
    fields = {f"v{number}": value for number, value in enumerate(values)}
    saved = await db.save_entity("own", {"id": "a", **fields})
    expect_same([saved[name] for name in fields], values)
    expect_same([(await kept(db, "own", "a"))[0][name] for name in fields], values)
    for name, value in fields.items():
        assert await db.count_entities("own", f"[{name}] = ?", (value,)) == 1


NUMERIC = [
    ("DECIMAL(10, 2)", Decimal("19.99")),
    ("DECIMAL(10, 2)", 5),
    ("DECIMAL(10, 2)", 9.5),
    ("NUMERIC", Decimal("1.50")),
    ("BOOLEAN", True),
    ("BOOLEAN", False),
    ("DATE", date(2024, 1, 1)),
    ("DATETIME", NOON),
    ("TIMESTAMP", NOON),
    ("JSON", {"a": [1, None, "x"]}),
    ("JSON", [1, 2]),
    ("JSON", {}),
    ("STRING", "text"),
    ("VARCHAR(5)", "longer than five"),
    ("VARCHAR(5)", "007"),
]


@pytest.mark.parametrize(("declared", "value"), NUMERIC, ids=[f"{each[0]} {each[1]}" for each in NUMERIC])
async def test_a_usual_declaration_keeps_what_it_is_meant_for(db, declared, value):
    await db.execute(f"CREATE TABLE own (id TEXT PRIMARY KEY, v {declared})")
    expect_same((await db.save_entity("own", {"id": "a", "v": value}))["v"], value)
    expect_same((await db.get_entity("own", "a"))["v"], value)
    expect_same((await kept(db, "own", "a"))[0]["v"], value)
    again = await db.save_entity("own", {"id": "a", "v": value})
    assert again["_version"] == 1


ALTERED = [
    ("STRING", "007"),
    ("STRING", "1e3"),
    ("DECIMAL(30, 20)", Decimal("0.12345678901234567890")),
    ("NUMERIC", Decimal("12345678901234567890123")),
    ("DATETIME", "2024"),
]


@pytest.mark.parametrize(("declared", "value"), ALTERED)
async def test_a_value_that_the_column_would_alter_is_refused(db, declared, value):
    await db.execute(f"CREATE TABLE own (id TEXT PRIMARY KEY, v {declared})")
    with pytest.raises(UnsupportedValue, match=r"\[v\].*alter"):
        await db.save_entity("own", {"id": "a", "v": value})
    assert await db.get_entity("own", "a") is None
    assert (await db.save_entity("own", {"id": "b"}))["v"] is None


async def test_an_id_that_the_column_would_alter_is_refused(db):
    await db.execute("CREATE TABLE own (id UUID PRIMARY KEY, n INTEGER)")
    with pytest.raises(UnsupportedValue, match=r"\[id\]"):
        await db.save_entity("own", {"id": "007", "n": 1})
    saved = await db.save_entity("own", {"n": 1})
    assert (await db.get_entity("own", saved["id"]))["n"] == 1


async def test_a_numeric_column_takes_ints_floats_and_decimals_one_after_the_other(db):
    await db.execute("CREATE TABLE own (id TEXT PRIMARY KEY, price DECIMAL(10, 2))")
    for id, price in (("a", 5), ("b", 9.5)):
        assert (await db.save_entity("own", {"id": id, "price": price}))["price"] == price
    expect_same([row["price"] for row in await db.find_entities("own", order_by="[id]")], [5.0, 9.5])
    with pytest.raises(UnsupportedValue, match="float"):
        await db.save_entity("own", {"id": "c", "price": "much"})


async def test_an_int_beyond_exact_floats_is_not_read_as_one(db):
    await db.execute("CREATE TABLE own (id TEXT PRIMARY KEY, n NUMERIC)")
    await db.save_entity("own", {"id": "a", "n": 2**53 + 1})
    with pytest.raises(UnsupportedValue, match=r"\[n\]"):
        await db.save_entity("own", {"id": "b", "n": 0.5})
    expect_same((await db.get_entity("own", "a"))["n"], 2**53 + 1)


@pytest.mark.parametrize("stored", ["VIRTUAL", "STORED"])
async def test_a_generated_column_is_read_found_and_never_written(db, stored):
    await db.execute(
        f"CREATE TABLE own (id TEXT PRIMARY KEY, n INTEGER, twice INTEGER GENERATED ALWAYS AS (n * 2) {stored})"
    )
    saved = await db.save_entity("own", {"id": "a", "n": 4})
    assert saved["twice"] == 8
    again = await db.save_entity("own", {**saved, "n": 5, "twice": 99})
    assert (again["n"], again["twice"]) == (5, 10)
    assert await db.count_entities("own", "[twice] = ?", (10,)) == 1
    assert [row["twice"] for row in await kept(db, "own", "a")] == [8, 10]


async def test_what_a_trigger_refuses_is_told_in_its_own_words(db):
    await db.execute("CREATE TABLE own (id TEXT PRIMARY KEY, n INTEGER)")
    await db.execute(
        "CREATE TRIGGER guard BEFORE INSERT ON own WHEN new.n < 0 BEGIN SELECT RAISE(ABORT, 'no debts here'); END"
    )
    with pytest.raises(ConstraintViolation, match="no debts here"):
        await db.save_entity("own", {"id": "a", "n": -1})
    assert (await db.save_entity("own", {"id": "a", "n": 1}))["n"] == 1


async def test_a_trigger_that_asks_a_table_which_is_gone_is_an_error_and_not_a_loop(db):
    await db.execute("CREATE TABLE own (id TEXT PRIMARY KEY, n INTEGER)")
    await db.execute("CREATE TABLE log (n INTEGER)")
    await db.execute("CREATE TRIGGER note AFTER INSERT ON own BEGIN INSERT INTO log VALUES (new.n); END")
    await db.execute("DROP TABLE log")
    with pytest.raises(Exception, match="log") as failure:
        await db.save_entity("own", {"id": "a", "n": 1})
    assert failure.value.status in (422, 503)
    assert await db.get_entity("own", "a") is None


async def test_a_table_without_rowid_and_one_with_a_composite_key_beside_it(db):
    await db.execute("CREATE TABLE own (id TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID")
    assert (await db.save_entity("own", {"n": 1}))["n"] == 1
    await db.execute("CREATE TABLE counted (id INTEGER PRIMARY KEY, n INTEGER) WITHOUT ROWID")
    with pytest.raises(MissingValue, match=r"\[id\]"):
        await db.save_entity("counted", {"n": 1})
    assert (await db.save_entity("counted", {"id": 5, "n": 1}))["id"] == 5


async def test_an_autoincrement_id_is_never_assigned_again(db):
    await db.execute("CREATE TABLE own (id INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER)")
    assert (await db.save_entity("own", {"n": 1}))["id"] == 1
    await db.delete_entity("own", 1, permanent=True)
    assert (await db.save_entity("own", {"n": 2}))["id"] == 2


async def test_an_id_that_is_assigned_again_counts_on_where_its_history_ends(db):
    await db.execute("CREATE TABLE own (id INTEGER PRIMARY KEY, n INTEGER)")
    await db.save_entity("own", {"n": 1})
    await db.delete_entity("own", 1, permanent=True)
    saved = await db.save_entity("own", {"n": 2})
    assert (saved["id"], saved["_version"]) == (1, 3)
    assert [row["_version"] for row in await kept(db, "own", 1)] == [1, 2, 3]


async def test_a_virtual_table_is_refused_with_a_sentence(db):
    await db.execute("CREATE VIRTUAL TABLE search USING fts5 (body)")
    with pytest.raises(UnsupportedTable, match=r"\[id\]"):
        await db.save_entity("search", {"body": "x"})
    await db.execute("INSERT INTO search (body) VALUES ('still works')")
    assert len(await db.execute("SELECT body FROM search WHERE search MATCH 'works'")) == 1


async def test_a_partial_or_expression_index_that_is_violated_is_named(db):
    await db.execute("CREATE TABLE own (id TEXT PRIMARY KEY, email TEXT, live INTEGER, code TEXT)")
    await db.execute("CREATE UNIQUE INDEX one_live ON own (email) WHERE live = 1")
    await db.execute("CREATE UNIQUE INDEX one_folded ON own (lower(code))")
    await db.save_entity("own", {"id": "a", "email": "x", "live": 1, "code": "c"})
    with pytest.raises(UniqueViolation, match="email"):
        await db.save_entity("own", {"id": "b", "email": "x", "live": 1})
    with pytest.raises(UniqueViolation, match="one_folded"):
        await db.save_entity("own", {"id": "b", "code": "C"})


async def test_the_definition_of_an_adopted_table_is_only_added_to(db):
    sql = (
        "CREATE TABLE own (id TEXT PRIMARY KEY, name VARCHAR(20) NOT NULL DEFAULT 'x' COLLATE NOCASE,"
        " n INTEGER CHECK (n > 0))"
    )
    await db.execute(sql)
    await db.execute("CREATE INDEX by_name ON own (name)")
    await db.save_entity("own", {"id": "a", "n": 1, "more": {"a": 1}})
    await db.save_entity("own", {"id": "b", "n": 2, "more": "mixed"})
    (row,) = await db.execute("SELECT sql FROM sqlite_master WHERE name = 'own'")
    assert row["sql"].startswith(sql[:-1])
    assert await db.execute("SELECT sql FROM sqlite_master WHERE name = 'by_name'") == [
        ("CREATE INDEX by_name ON own (name)",)
    ]
    assert (await db.get_entity("own", "a"))["more"] == {"a": 1}
