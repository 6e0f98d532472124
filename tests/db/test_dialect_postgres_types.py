"""Tables of the application's with PostgreSQL's own types: storage that the store writes, reads and compares."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import Phase, given, settings

from app_kernel.core.errors import UniqueViolation, UnsupportedValue
from tests.conformance.backends import postgres
from tests.conformance.steps import expect_same
from tests.db.test_kinds import VALUES

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
SOME_ID = UUID("018f5c2e-7e7b-7cc3-98c4-dc0c0c07398f")


@pytest.fixture
async def place():
    async with postgres() as fresh:
        yield fresh


@pytest.fixture
async def db(place):
    return await place.open()


HELD = [
    ("varchar(20)", "text"),
    ("varchar", "007"),
    ("char(3)", "abc"),
    ("text", '{"a": 1}'),
    ("name", "x"),
    ("smallint", 32767),
    ("integer", -5),
    ("bigint", 2**63 - 1),
    ("smallint", True),
    ("integer", False),
    ("boolean", True),
    ("real", 0.5),
    ("double precision", 0.30000000000000004),
    ("numeric", 5),
    ("numeric", 0.30000000000000004),
    ("numeric", 2**70),
    ("numeric(10, 2)", Decimal("19.99")),
    ("numeric(10, 2)", 9.5),
    ("jsonb", {"a": [1, 1.0, 1e17, None, "x"]}),
    ("json", {"b": 1, "a": [1, 2.5]}),
    ("json", [1, 2]),
    ("text", {"a": 1e22}),
    ("timestamptz", NOON),
    ("timestamp", NOON),
    ("timestamp", datetime(2024, 2, 29, 23, 59, 59, 123456, UTC)),
    ("text", NOON),
    ("varchar(40)", datetime.max.replace(tzinfo=UTC)),
    ("timestamptz", datetime.max.replace(tzinfo=UTC)),
    ("timestamp", datetime.min.replace(tzinfo=UTC)),
    ("date", date(2024, 1, 1)),
    ("date", date.max),
    ("date", date.min),
    ("text", date.max),
    ("bytea", b"\x00\xff"),
    ("uuid", SOME_ID),
    ("uuid", str(SOME_ID)),
    ("text", SOME_ID),
    ("text", Decimal("10.50")),
    ("text", 2**80),
    ("inet", "10.0.0.0/8"),
    ("interval", "1 day"),
    ("text[]", "{a,b}"),
]


@pytest.mark.acceptance("DB4")
@pytest.mark.parametrize(("declared", "value"), HELD, ids=[f"{each[0]} {each[1]!r}"[:50] for each in HELD])
async def test_a_type_keeps_what_it_is_meant_for(place, declared, value):
    db = await place.open()
    await db.execute(f"CREATE TABLE own (id text PRIMARY KEY, v {declared})")
    expect_same((await db.save_entity("own", {"id": "a", "v": value}))["v"], value)
    expect_same((await db.get_entity("own", "a"))["v"], value)
    assert (await db.save_entity("own", {"id": "a", "v": value}))["_version"] == 1
    assert [row["id"] for row in await db.find_entities("own", "[v] = ?", (value,))] == ["a"]
    assert [row["id"] for row in await db.find_entities("own", "[v] IS NOT NULL")] == ["a"]
    await db.save_entity("own", {"id": "a", "v": None})
    assert (await db.save_entity("own", {"id": "a", "v": value}))["_version"] == 3
    await place.close()
    db = await place.open()
    kept = await db.find_entities("own_history", "[id] = ?", ("a",), "[_version]")
    expect_same([row["v"] for row in kept], [value, None, value])
    assert [row["id"] for row in await db.find_entities("own", "[v] = ?", (value,))] == ["a"]


ALTERED = [
    ("varchar(3)", "long"),
    ("char(5)", "abc"),
    ("smallint", 40_000),
    ("integer", 2**31),
    ("real", 0.1),
    ("real", 1e300),
    ("numeric(10, 2)", Decimal("0.125")),
    ("numeric(4, 2)", Decimal("1000")),
    ("uuid", "no uuid"),
    ("uuid", str(SOME_ID).upper()),
    ("inet", "no address"),
    ("integer", "text"),
    ("boolean", 1),
    ("jsonb", "text"),
    ("date", NOON),
    ("timestamptz", "yesterday"),
    ("integer", 1.5),
]


@pytest.mark.acceptance("DB4")
@pytest.mark.parametrize(("declared", "value"), ALTERED, ids=[f"{each[0]} {each[1]!r}" for each in ALTERED])
async def test_a_value_that_the_type_would_alter_or_refuse_is_refused(db, declared, value):
    await db.execute(f"CREATE TABLE own (id text PRIMARY KEY, v {declared})")
    with pytest.raises(UnsupportedValue):
        await db.save_entity("own", {"id": "a", "v": value})
    assert await db.find_entities("own") == []
    assert (await db.save_entity("own", {"id": "a", "v": None}))["_version"] == 1


async def test_rows_written_by_other_hands_read_as_their_types_tell(db):
    await db.execute("CREATE TYPE mood AS ENUM ('sad', 'happy')")
    await db.execute(
        "CREATE TABLE own (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), j jsonb, t timestamp, m mood,"
        " n numeric, u uuid)"
    )
    await db.execute(
        "INSERT INTO own VALUES (?, ?, '2024-01-01 12:00', 'happy', 1.50, ?)", (SOME_ID, {"a": 1}, SOME_ID)
    )
    row = await db.get_entity("own", str(SOME_ID))
    expected = {"id": str(SOME_ID), "j": {"a": 1}, "t": NOON, "m": "happy", "n": Decimal("1.50"), "u": SOME_ID}
    expect_same({name: row[name] for name in expected}, expected)
    for clause, value in (
        ("[m] = ?", "happy"),
        ("[t] = ?", NOON),
        ("[n] = ?", 1.5),
        ("[j.a] = ?", 1),
        ("[u] = ?", SOME_ID),
    ):
        assert await db.count_entities("own", clause, (Decimal("1.5") if value == 1.5 else value,)) == 1
    assert (await db.save_entity("own", row))["_version"] is None
    changed = await db.save_entity("own", {**row, "m": "sad"})
    assert (changed["m"], changed["_version"], changed["t"]) == ("sad", 2, NOON)
    made = await db.save_entity("own", {"m": "happy"})
    assert UUID(made["id"]).version == 7


async def test_a_table_with_uuid_ids_is_found_changed_paged_and_deleted(db):
    await db.execute("CREATE TABLE own (id uuid PRIMARY KEY, n integer)")
    ids = [(await db.save_entity("own", {"n": n}))["id"] for n in range(5)]
    assert [row["id"] for row in await db.find_entities("own", limit=2, offset=1)] == ids[1:3]
    assert (await db.get_entity("own", UUID(ids[0])))["n"] == 0
    assert await db.get_entity("own", "no uuid") is None
    assert (await db.save_entity("own", {"id": ids[0], "n": 9}))["_version"] == 2
    assert await db.count_entities("own", "[id] IN (?)", (ids[:3],)) == 3
    assert await db.delete_entity("own", ids[1])
    assert await db.delete_entity("own", ids[2], permanent=True)
    assert await db.count_entities("own") == 3
    with pytest.raises(UnsupportedValue):
        await db.save_entity("own", {"id": "no uuid", "n": 1})


@pytest.mark.parametrize(
    "id",
    [
        "serial PRIMARY KEY",
        "bigserial PRIMARY KEY",
        "integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
        "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    ],
)
async def test_the_database_assigns_ids_of_its_own_making(db, id):
    await db.execute(f"CREATE TABLE own (id {id}, n integer)")
    assert [(await db.save_entity("own", {"n": n}))["id"] for n in (1, 2)] == [1, 2]
    assert (await db.save_entity("own", {"id": 2, "n": 3}))["_version"] == 2
    assert await db.get_entity("own", 2**62) is None
    assert await db.count_entities("own", "[id] = ?", (2**62,)) == 0


async def test_times_of_the_applications_own_columns_are_the_kernels(db):
    await db.execute(
        "CREATE TABLE own (id text PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamp,"
        " deleted_at timestamptz, n integer)"
    )
    await db.execute("INSERT INTO own (id, created_at, n) VALUES ('raw', '2024-01-01 12:00Z', 1)")
    assert (await db.get_entity("own", "raw"))["created_at"] == "2024-01-01T12:00:00.000000Z"
    saved = await db.save_entity("own", {"id": "a", "n": 1})
    assert saved["created_at"] == saved["updated_at"] > "2024-01-01T12:00:00.000000Z"
    assert [row["id"] for row in await db.find_entities("own", "[created_at] > ?", (NOON,))] == ["a"]
    assert [row["id"] for row in await db.find_entities("own", order_by="[created_at] DESC")] == ["a", "raw"]
    assert await db.delete_entity("own", "a")
    assert [row["id"] for row in await db.find_entities("own")] == ["raw"]
    assert (await db.restore_entity("own", "a"))["created_at"] == saved["created_at"]


async def test_generated_columns_are_read_found_and_never_written(db):
    await db.execute(
        "CREATE TABLE own (id text PRIMARY KEY, n integer, twice integer GENERATED ALWAYS AS (n * 2) STORED,"
        " number bigint GENERATED ALWAYS AS IDENTITY)"
    )
    saved = await db.save_entity("own", {"id": "a", "n": 4})
    assert (saved["twice"], saved["number"]) == (8, 1)
    again = await db.save_entity("own", {**saved, "n": 5, "twice": 99, "number": 7})
    assert (again["twice"], again["number"]) == (10, 1)
    assert await db.count_entities("own", "[twice] = ?", (10,)) == 1
    assert [row["twice"] for row in await db.find_entities("own_history", order_by="[_version]")] == [8, 10]


async def test_a_path_into_text_that_is_no_json_finds_nothing(db):
    await db.execute("CREATE TABLE own (id text PRIMARY KEY, j text, k json)")
    await db.save_entity("own", {"id": "a", "j": {"x": 1, "y": {"z": "deep"}}, "k": {"x": 2}})
    await db.execute("INSERT INTO own (id, j) VALUES ('b', 'no json')")
    assert [row["id"] for row in await db.find_entities("own", "[j.x] = ?", (1,))] == ["a"]
    assert [row["id"] for row in await db.find_entities("own", "[j.y.z] LIKE ?", ("d%",))] == ["a"]
    assert [row["id"] for row in await db.find_entities("own", "[k.x] > ?", (1.5,))] == ["a"]
    assert [row["id"] for row in await db.find_entities("own", "[j.x] IS NULL")] == ["b"]


async def test_text_of_the_applications_sorts_and_folds_by_bytes_whatever_its_collation(db):
    await db.execute('CREATE TABLE own (id text PRIMARY KEY, s varchar(9), g text COLLATE "de-x-icu")')
    for number, word in enumerate(["a", "B", "ä", "Z", "É", "é"]):
        await db.save_entity("own", {"id": str(number), "s": word, "g": word})
    for name in ("s", "g"):
        ordered = [row[name] for row in await db.find_entities("own", order_by=f"[{name}]")]
        assert ordered == ["B", "Z", "a", "É", "ä", "é"]
        assert [row["id"] for row in await db.find_entities("own", f"[{name}] > ?", ("Z",), "[id]")] == list("0245")
        assert await db.count_entities("own", f"[{name}] ILIKE ?", ("É",)) == 1
        assert await db.count_entities("own", f"LOWER([{name}]) = ?", ("É",)) == 1
        assert await db.count_entities("own", f"LENGTH([{name}]) = 1") == 6
    assert await db.count_entities("own", "[s] = [g]") == 6
    assert await db.count_entities("own", "[s] = [created_by] OR [g] < [created_at]") == 0


async def test_numbers_are_compared_exactly_across_types(db):
    large = 2**53
    await db.save_entity("own", {"id": "a", "n": large + 1, "f": float(large)})
    await db.save_entity("own", {"id": "b", "n": 2**63 - 1, "f": float(2**63 - 1024)})
    await db.save_entity("own", {"id": "c", "n": 2**63 - 1024, "f": float(2**63 - 1024)})
    await db.save_entity("own", {"id": "d", "n": 1, "f": 0.9999999999999999})
    await db.save_entity("own", {"id": "e", "n": -5, "f": 1e300})

    async def found(clause, *params):
        return "".join(row["id"] for row in await db.find_entities("own", clause, params))

    assert await found("[n] = ?", float(large)) == ""
    assert await found("[n] > ?", float(large)) == "abc"
    assert await found("[n] = ?", float(2**63)) == ""
    assert await found("[n] = [f]") == "c"
    assert await found("[n] > [f]") == "abd"
    assert await found("[n] < [f]") == "e"
    assert await found("[f] = ?", large) == "a"
    assert await found("[n] = 1.0") == "d"


async def test_json_numbers_keep_their_types_and_zero_has_no_sign(db):
    numbers = [1e16, 1e22, -1e300, 5e-324, 1.0, 1, -0.0, 100000000000000000, 0.1, 1e-7, 1.7976931348623157e308]
    await db.save_entity("own", {"id": "a", "j": numbers})
    expect_same((await db.get_entity("own", "a"))["j"], numbers)
    assert str((await db.get_entity("own", "a"))["j"][6]) == "0.0"
    assert (await db.save_entity("own", {"id": "a", "j": numbers}))["_version"] == 1
    assert await db.count_entities("own", "[j] = ?", (numbers,)) == 1
    assert (await db.save_entity("own", {"id": "b", "j": {"n": 1}}))["_version"] == 1
    assert (await db.save_entity("own", {"id": "b", "j": {"n": 1.0}}))["_version"] == 2
    expect_same((await db.get_entity("own", "b"))["j"], {"n": 1.0})
    assert await db.count_entities("own", "[j] = ?", ({"n": 1},)) == 0


async def test_the_first_and_the_last_moment_are_no_infinities_on_disk(db):
    await db.save_entity("own", {"id": "a", "t": datetime.max.replace(tzinfo=UTC), "d": date.max})
    await db.save_entity("own", {"id": "b", "t": datetime.min.replace(tzinfo=UTC), "d": date.min})
    rows = await db.execute("SELECT isfinite(t) AND isfinite(d), t::text FROM own ORDER BY id")
    assert [row[0] for row in rows] == [True, True]
    assert [row["id"] for row in await db.find_entities("own", order_by="[t]")] == ["b", "a"]


def samples(strategy, count):
    """Values that a strategy makes."""
    made = []

    @settings(max_examples=count, database=None, phases=[Phase.generate], deadline=None, derandomize=True)
    @given(strategy)
    def collect(value):
        made.append(value)

    collect()
    return made


@pytest.mark.acceptance("DB4")
@pytest.mark.parametrize("kind", VALUES)
async def test_any_value_of_a_kind_comes_back_equal_and_is_found(db, kind):
    values = samples(VALUES[kind], 25)
    for number, value in enumerate(values):
        expect_same((await db.save_entity("own", {"id": str(number), "v": value}))["v"], value)
    rows = {row["id"]: row["v"] for row in await db.find_entities("own")}
    for number, value in enumerate(values):
        expect_same(rows[str(number)], value)
        assert await db.count_entities("own", "[v] = ? AND [id] = ?", (value, str(number))) == 1
        assert (await db.save_entity("own", {"id": str(number), "v": value}))["_version"] == 1


async def test_what_hangs_on_a_field_outlives_a_change_of_its_kind(db):
    await db.save_entity("own", {"id": "a", "v": 1, "w": "x"})
    await db.execute("ALTER TABLE own ADD CONSTRAINT one_v UNIQUE (v, w)")
    await db.execute("CREATE VIEW seen AS SELECT id, v FROM own")
    await db.execute("CREATE VIEW again WITH (security_barrier=true) AS SELECT id, v FROM seen WHERE v IS NOT NULL")
    await db.execute("CREATE MATERIALIZED VIEW kept AS SELECT id, v FROM again")
    await db.execute("CREATE UNIQUE INDEX kept_id ON kept (id)")
    await db.execute("GRANT SELECT ON again TO PUBLIC")
    await db.execute(
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.w := upper(NEW.w) || TG_OP; RETURN NEW; END'"
    )
    await db.execute("CREATE TRIGGER watch BEFORE UPDATE OF v ON own FOR EACH ROW EXECUTE FUNCTION shout()")
    for number, value in enumerate((0.5, "text", {"a": 1})):
        await db.save_entity("own", {"id": f"b{number}", "v": value, "w": "x"})
        assert len(await db.execute("SELECT id FROM again")) == number + 2
    assert [row["w"] for row in await db.find_entities("own")] == ["x"] * 4
    with pytest.raises(UniqueViolation):
        await db.save_entity("own", {"id": "c", "v": "text", "w": "x"})
    await db.execute("UPDATE own SET v = v WHERE id = 'a'")
    assert (await db.get_entity("own", "a"))["w"] == "XUPDATE"
    objects = await db.execute(
        "SELECT c.relname::text, c.reloptions::text, c.relacl IS NOT NULL FROM pg_class c WHERE c.relnamespace ="
        " current_schema()::regnamespace AND c.relname IN ('again', 'kept', 'kept_id') ORDER BY 1"
    )
    assert objects == [("again", "{security_barrier=true}", True), ("kept", None, False), ("kept_id", None, False)]


async def test_a_name_that_postgresql_has_a_table_of_is_the_applications(db):
    await db.save_entity("pg_class", {"id": "a", "x": 1})
    await db.save_entity("pg_class", {"id": "a", "x": 0.5})
    assert await db.count_entities("pg_class") == 1
    assert await db.count_entities("pg_class_history") == 2
