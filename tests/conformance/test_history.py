"""What was can be read, searched and brought back."""

import asyncio
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from uuid import UUID

import pytest

from app_kernel.core import clock
from app_kernel.core.context import acting_as
from app_kernel.core.errors import InvalidQuery, UnsupportedTable, VersionConflict
from app_kernel.core.tables import Table
from tests.conformance.cases import pasts
from tests.conformance.steps import check_case, expect_same

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds):
    """An instant of the frozen clock, as text."""
    return (START + timedelta(seconds=seconds)).isoformat()


class Story:
    """Verbs at set times."""

    def __init__(self, db):
        self.db = db

    async def run(self, *steps):
        with clock.frozen(START) as frozen:
            now = 0
            for seconds, verb, *args in steps:
                frozen.advance(seconds - now)
                now = seconds
                await getattr(self.db, verb)(*args)


@pytest.fixture
async def told(db):
    """Three entities: `a` changes and is deleted and restored, `b` is purged, `c` comes late and is renamed."""
    await Story(db).run(
        (0, "save_entity", "notes", {"id": "a", "x": 1, "name": "one"}),
        (10, "save_entity", "notes", {"id": "b", "x": 5, "name": "two"}),
        (20, "save_entity", "notes", {"id": "a", "x": 2}),
        (30, "delete_entity", "notes", "a"),
        (40, "delete_entity", "notes", "b", True),
        (50, "restore_entity", "notes", "a"),
        (60, "save_entity", "notes", {"id": "c", "x": 2, "price": Decimal("1.10")}),
        (70, "save_entity", "notes", {"id": "c", "name": "three"}),
    )
    return db


@pytest.mark.acceptance("DB13")
@pytest.mark.acceptance("DB14")
@pytest.mark.parametrize("case", [*pasts.HISTORIES, *pasts.VERSIONS, *pasts.REVERTS], ids=str)
async def test_the_past_is_told_and_brought_back(place, case):
    await check_case(place, case)


async def test_an_entry_holds_the_row_as_the_change_left_it(db):
    with clock.frozen(START) as frozen, acting_as("ada"):
        first = await db.save_entity("notes", {"id": "a", "x": 1}, comment="why")
        frozen.advance(1)
        second = await db.save_entity("notes", {"id": "a", "y": {"k": [1]}})
    entries = await db.get_entity_history("notes", "a")
    assert [set(entry) for entry in entries] == [
        {"version", "action", "at", "actor", "comment", "entity", "changes"}
    ] * 2
    expect_same(entries[0]["entity"], first | {"y": None})
    expect_same(entries[1]["entity"], second)
    assert [entry["at"] for entry in entries] == ["2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:01.000000Z"]
    assert entries[0]["actor"] == "ada"


async def test_a_diff_tells_what_a_change_changed_and_nothing_else(db):
    await Story(db).run(*[(second, *step) for second, step in enumerate((
        ("save_entity", "notes", {"id": "a", "x": 1, "none": None}),
        ("save_entity", "notes", {"id": "a", "x": 2, "later": "new"}),
        ("delete_entity", "notes", "a"),
        ("restore_entity", "notes", "a"),
        ("delete_entity", "notes", "a", True),
        ("save_entity", "notes", {"id": "a", "x": 3}),
    ))])  # fmt: skip
    changes = [entry["changes"] for entry in await db.get_entity_history("notes", "a")]
    made, gone, again = (f"2026-01-01T00:00:0{second}.000000Z" for second in (0, 2, 5))
    expect_same(
        changes,
        [
            {"id": [None, "a"], "x": [None, 1], "created_at": [None, made]},
            {"x": [1, 2], "later": [None, "new"]},
            {"deleted_at": [None, gone]},
            {"deleted_at": [gone, None]},
            {"id": ["a", None], "x": [2, None], "later": ["new", None], "created_at": [made, None]},
            {"id": [None, "a"], "x": [None, 3], "created_at": [None, again]},
        ],
    )
    for offset in range(6):
        page = await db.get_entity_history("notes", "a", limit=2, offset=offset)
        expect_same([entry["changes"] for entry in page], changes[offset : offset + 2])


async def test_a_diff_is_what_recorders_hear(place):
    heard = []
    db = await place.open()
    recording = type(db)(db._driver, [lambda change: heard.append((change.action, change.changes)) or ()])
    await recording.save_entity("notes", {"id": "a", "x": 1, "tags": ["t"]})
    await recording.save_entity("notes", {"id": "a", "x": 2, "y": 1.5})
    await recording.delete_entity("notes", "a")
    await recording.delete_entity("notes", "a", permanent=True)
    entries = await db.get_entity_history("notes", "a")
    assert [(entry["action"], entry["changes"]) for entry in entries] == heard


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-1, {}),
        (0, {"a": 1}),
        (9, {"a": 1}),
        (10, {"a": 1, "b": 5}),
        (20, {"a": 2, "b": 5}),
        (30, {"b": 5}),
        (40, {}),
        (50, {"a": 2}),
        (60, {"a": 2, "c": 2}),
        (10**9, {"a": 2, "c": 2}),
    ],
)
async def test_the_state_at_an_instant_is_what_reads_would_have_shown(told, seconds, expected):
    as_of = at(seconds)
    rows = await told.find_entities("notes", as_of=as_of)
    assert {row["id"]: row["x"] for row in rows} == expected
    assert await told.count_entities("notes", as_of=as_of) == len(expected)
    for id in "abc":
        row = await told.get_entity("notes", id, as_of=as_of)
        assert (row and row["x"]) == expected.get(id)


async def test_deleted_rows_are_seen_at_an_instant_when_asked_for_and_purged_ones_are_not(told):
    rows = await told.find_entities("notes", include_deleted=True, as_of=at(35))
    assert [(row["id"], row["deleted_at"] is not None) for row in rows] == [("a", True), ("b", False)]
    rows = await told.find_entities("notes", include_deleted=True, as_of=at(45))
    assert [row["id"] for row in rows] == ["a"]
    assert await told.count_entities("notes", include_deleted=True, as_of=at(45)) == 1
    assert (await told.get_entity("notes", "a", include_deleted=True, as_of=at(45)))["x"] == 2
    assert await told.get_entity("notes", "b", include_deleted=True, as_of=at(45)) is None


async def test_a_row_at_an_instant_is_the_row_of_that_version(told):
    then = await told.get_entity("notes", "a", as_of=at(5))
    expect_same(then, await told.get_entity_version("notes", "a", 1))
    assert (then["_version"], then["name"], then["price"]) == (1, "one", None)
    assert not {"_action", "_at", "_actor", "_comment"} & set(then)
    expect_same(await told.get_entity("notes", "c", as_of=at(70)), await told.get_entity("notes", "c"))
    expect_same(await told.find_entities("notes", as_of=at(70)), await told.find_entities("notes"))


async def test_clauses_orders_and_pages_work_on_an_instant_as_on_live_rows(told):
    async def ids(seconds, *args, **kwargs):
        return [row["id"] for row in await told.find_entities("notes", *args, as_of=at(seconds), **kwargs)]

    assert await ids(25, "[x] = ?", (2,)) == ["a"]
    assert await ids(15, "[x] = ?", (2,)) == []
    assert await ids(65, "[x] = ? OR [x] = ?", (2, 5)) == ["a", "c"]
    assert await ids(65, "[price] = ?", (Decimal("1.1"),)) == ["c"]
    assert await ids(65, "[price] < ?", (2,)) == ["c"]
    assert await ids(25, "[price] IS NULL") == ["a", "b"]
    assert await ids(25, "[x] IN (?) AND [name] LIKE ?", ([2, 5], "t%")) == ["b"]
    assert await ids(15, order_by="[x] DESC") == ["b", "a"]
    assert await ids(65, order_by="[x]") == ["a", "c"]
    assert await ids(65, order_by="[x]", limit=1, offset=1) == ["c"]
    assert await ids(65, limit=1) == ["a"]
    assert await ids(65, offset=1) == ["c"]
    assert await ids(65, limit=0) == []
    assert await ids(65, "[nope] = ?", (1,)) == []
    assert await ids(65, "[nope] IS NULL") == ["a", "c"]
    assert await told.count_entities("notes", "[x] = ?", (2,), as_of=at(65)) == 2
    assert await ids(65, "[_version] = 1 AND [_action] IS NULL") == ["c"]


@pytest.mark.acceptance("DB4")
async def test_every_kind_of_value_is_compared_in_the_past_as_its_column_compares(db):
    values = {
        "text": "a", "number": 7, "big": 2**70, "real": 1.5, "flag": True, "money": Decimal("10.50"), "data": b"\x00",
        "doc": {"k": {"v": 1}}, "moment": START, "day": date(2026, 1, 1), "key": UUID(int=5), "mixed": 1,
    }  # fmt: skip
    await db.save_entity("things", {"id": "a", **values})
    await db.save_entity("things", {"id": "b", "mixed": "x", "money": Decimal(9)})
    now = datetime.now(UTC) + timedelta(seconds=1)
    await db.save_entity("things", {"id": "a", **dict.fromkeys(values)})
    before = datetime.now(UTC) - timedelta(days=1)
    assert await db.find_entities("things", as_of=before) == []
    with clock.frozen(now + timedelta(seconds=5)):
        await db.save_entity("things", {"id": "a", "text": "later"})
    row = await db.get_entity_version("things", "a", 1)
    expect_same({name: row[name] for name in values}, values)
    await db.revert("things", "a", 1)
    expect_same({name: value for name, value in (await db.get_entity("things", "a")).items() if name in values}, values)
    for name, value in values.items():
        then = datetime.now(UTC) + timedelta(hours=1)
        found = await db.find_entities("things", f"[{name}] = ?", (value,), as_of=then)
        assert [each["id"] for each in found] == ["a"], name
        expect_same(found[0][name], value)
    ordered = await db.find_entities("things", order_by="[money]", as_of=then)
    assert [each["id"] for each in ordered] == ["b", "a"]


@pytest.mark.parametrize(
    "instant",
    [
        "2026-01-01T00:00:25Z",
        "2026-01-01T00:00:25+00:00",
        "2026-01-01T01:00:25+01:00",
        "20260101T000025Z",
        datetime(2026, 1, 1, 0, 0, 25, tzinfo=UTC),
        datetime(2025, 12, 31, 19, 0, 25, tzinfo=timezone(timedelta(hours=-5))),
    ],
)
async def test_an_instant_is_an_aware_datetime_or_text_with_an_offset(told, instant):
    assert (await told.get_entity("notes", "a", as_of=instant))["x"] == 2
    assert await told.count_entities("notes", as_of=instant) == 2


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (datetime(2026, 1, 1), "time zone"),  # noqa: DTZ001 - that is the case
        ("2026-01-01T00:00:25", "time zone"),
        ("2026-01-01", "time zone"),
        ("yesterday", "ISO 8601"),
        ("", "ISO 8601"),
        ("2026-01-01T00:00:25 01:00", "ISO 8601"),
        ("2026-13-01T00:00:25Z", "ISO 8601"),
        (1767225625, "not int"),
        (date(2026, 1, 1), "not date"),
        (True, "not bool"),
        ([], "not list"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))), "years"),
        (datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5))), "years"),
    ],
    ids=repr,
)
async def test_what_is_no_instant_is_refused_with_a_sentence(told, instant, text):
    for call in (
        told.get_entity("notes", "a", as_of=instant),
        told.find_entities("notes", as_of=instant),
        told.count_entities("nothing", as_of=instant),
        told.revert("notes", "a", as_of=instant),
    ):
        with pytest.raises(InvalidQuery, match=text):
            await call


async def test_an_instant_includes_what_was_done_at_it(told):
    row = await told.get_entity_version("notes", "a", 2)
    assert (await told.get_entity("notes", "a", as_of=row["updated_at"]))["_version"] == 2


async def test_a_table_that_is_not_there_has_no_past(db):
    assert await db.find_entities("nothing", "[x] = ?", (1,), as_of=START) == []
    assert await db.count_entities("nothing", as_of=START) == 0
    assert await db.get_entity("nothing", "a", as_of=START) is None
    with pytest.raises(InvalidQuery):
        await db.find_entities("nothing", "[x] = ", as_of=START)


async def test_a_table_without_history_has_no_past_and_says_so(db):
    store = db.privileged
    await store.ensure_tables([Table("kernel_things", {"x": int})])
    await store.save_entity("kernel_things", {"id": "a", "x": 1})
    for call in (
        store.get_entity_history("kernel_things", "a"),
        store.get_entity_version("kernel_things", "a", 1),
        store.revert("kernel_things", "a", 1),
        store.get_entity("kernel_things", "a", as_of=START),
        store.find_entities("kernel_things", as_of=START),
        store.count_entities("kernel_things", as_of=START),
    ):
        with pytest.raises(UnsupportedTable, match="keeps no history"):
            await call


async def test_a_revert_to_an_instant_is_one_to_the_version_of_it(told):
    with acting_as("bob"):
        row = await told.revert("notes", "a", as_of=at(5), comment="as it began")
    assert (row["x"], row["name"], row["updated_by"]) == (1, "one", "bob")
    assert row["created_at"] == (await told.get_entity_version("notes", "a", 1))["created_at"]
    back = await told.revert("notes", "b", as_of=at(15))
    assert (back["x"], back["_version"]) == (5, 3)
    with pytest.raises(InvalidQuery, match="2025-12-31T23:59:59"):
        await told.revert("notes", "a", as_of=at(-1))


async def test_the_verbs_on_the_past_work_inside_a_transaction(told):
    async def look_back_and_fail():
        async with told.transaction() as tx:
            await tx.save_entity("notes", {"id": "a", "x": 3, "fresh": "yes"})
            await tx.save_entity("others", {"id": "o", "y": 1})
            assert (await tx.get_entity_version("notes", "a", 5))["fresh"] == "yes"
            assert [entry["version"] for entry in await tx.get_entity_history("notes", "a", offset=4)] == [5]
            assert (await tx.get_entity("others", "o", as_of=datetime.now(UTC)))["y"] == 1
            assert await tx.count_entities("notes", "[fresh] = ?", ("yes",), as_of=datetime.now(UTC)) == 1
            assert (await tx.revert("notes", "a", 1))["x"] == 1
            assert (await tx.revert("notes", "b", 1))["x"] == 5
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await look_back_and_fail()
    assert (await told.get_entity("notes", "a"))["x"] == 2
    assert await told.get_entity("notes", "b") is None
    assert len(await told.get_entity_history("notes", "a")) == 4
    assert await told.get_entity_version("notes", "a", 5) is None
    then = await told.get_entity("notes", "a", as_of=at(5))
    # On MySQL the column stays that was made for it, empty.
    assert then.get("fresh") is None
    assert "fresh" not in then or told.backend == "mysql"


async def test_another_handle_sees_new_columns_and_tables_in_the_past(place):
    one, other = await place.open(), await place.open()
    assert await other.get_entity_history("notes", "a") == []
    assert await other.find_entities("notes", as_of=at(0)) == []
    await one.save_entity("notes", {"id": "a", "x": 1})
    now = datetime.now(UTC) + timedelta(hours=1)
    assert (await other.get_entity("notes", "a", as_of=now))["x"] == 1
    await one.save_entity("notes", {"id": "a", "y": 2})
    assert (await other.find_entities("notes", "[y] = ?", (2,), as_of=now))[0]["y"] == 2
    await one.save_entity("notes", {"id": "a", "z": 3})
    assert (await other.get_entity_history("notes", "a"))[2]["changes"] == {"z": [None, 3]}
    await one.save_entity("notes", {"id": "a", "z": "text"})
    assert (await other.revert("notes", "a", 3))["z"] == 3


async def test_clocks_that_differ_never_show_two_rows_of_one_entity(db):
    with clock.frozen(START) as frozen:
        await db.save_entity("notes", {"id": "a", "x": 1})
        frozen.advance(-5)
        await db.save_entity("notes", {"id": "a", "x": 2})
        frozen.advance(15)
        await db.save_entity("notes", {"id": "a", "x": 3})
    for seconds, expected in ((-6, None), (-5, 2), (0, 2), (5, 2), (10, 3)):
        rows = await db.find_entities("notes", as_of=at(seconds))
        assert [row["x"] for row in rows] == ([] if expected is None else [expected])
        row = await db.get_entity("notes", "a", as_of=at(seconds))
        assert (row and row["x"]) == expected


async def test_two_reverts_at_once_with_the_version_they_saw_are_not_both_done(place):
    one, other = await place.open(), await place.open()
    for x in (1, 2, 3):
        await one.save_entity("notes", {"id": "a", "x": x})
    await one.revert("notes", "a", 1, expected_version=3)
    with pytest.raises(VersionConflict):
        await other.revert("notes", "a", 2, expected_version=3)
    assert (await one.get_entity("notes", "a"))["x"] == 1


@pytest.mark.acceptance("DB7")
async def test_many_reverts_at_once_each_make_a_version(place):
    one, other = await place.open(), await place.open()
    for x in (1, 2):
        await one.save_entity("notes", {"id": "a", "x": x})
    await one.delete_entity("notes", "a", permanent=True)
    handles = [one, other] * 8
    rows = await asyncio.gather(*(db.revert("notes", "a", 1 + n % 2) for n, db in enumerate(handles)))
    entries = await one.get_entity_history("notes", "a")
    assert [entry["version"] for entry in entries] == list(range(1, len(entries) + 1))
    assert [entry["action"] for entry in entries[:4]] == ["create", "update", "purge", "create"]
    assert all(entry["changes"] == {"x": [3 - x, x]} for entry in entries[4:] for x in [entry["entity"]["x"]])
    by_version = {entry["version"]: entry["entity"] for entry in entries}
    assert all(row == by_version[row["_version"]] for row in rows)


@pytest.mark.acceptance("DB13")
async def test_a_revert_leaves_the_history_before_it_as_it_was(told):
    before = await told.find_entities("notes_history", order_by="[id], [_version]")
    for id, version in (("a", 1), ("b", 1), ("c", 1)):
        await told.revert("notes", id, version)
    after = await told.find_entities("notes_history", order_by="[id], [_version]")
    assert len(after) == len(before) + 3
    assert [row for row in after if row in before] == before


async def test_what_a_revert_does_is_recorded_with_it(place):
    heard = []
    db = await place.open()
    recording = type(db)(db._driver, [lambda change: heard.append((change.action, change.comment)) or ()])
    await recording.save_entity("notes", {"id": "a", "x": 1})
    await recording.save_entity("notes", {"id": "a", "x": 2})
    await recording.delete_entity("notes", "a")
    heard.clear()
    await recording.revert("notes", "a", 1, comment="why")
    assert heard == [("restore", "why"), ("update", "why")]
    heard.clear()
    await recording.revert("notes", "a", 1)
    assert heard == []


@pytest.mark.acceptance("DB3")
@pytest.mark.parametrize("seed", range(3))
async def test_every_instant_of_a_random_story_is_as_it_was_seen_then(db, seed):
    random = Random(seed)
    seen = []
    with clock.frozen(START) as frozen:
        for second in range(60):
            await random_step(db, random)
            rows = await db.find_entities("notes", include_deleted=True)
            picked = await db.find_entities("notes", "[x] > ?", (4,), "[x] DESC", 2, 1)
            seen.append((second, rows, picked))
            frozen.advance(1)
    for second, rows, picked in seen:
        for expected, args in ((rows, (None,) * 5), (picked, ("[x] > ?", (4,), "[x] DESC", 2, 1))):
            found = await db.find_entities("notes", *args, include_deleted=expected is rows, as_of=at(second))
            # Fields that came later are None then.
            assert [without_none(row) for row in found] == [without_none(row) for row in expected]


async def random_step(db, random):
    id = random.choice("abcde")
    kind = random.choice(["save"] * 5 + ["delete", "restore", "purge", "revert"])
    deleted = await db.get_entity("notes", id, include_deleted=True)
    if kind == "delete":
        await db.delete_entity("notes", id)
    elif kind == "restore" or (kind == "save" and deleted and deleted["deleted_at"]):
        await db.restore_entity("notes", id)
    elif kind == "purge":
        await db.delete_entity("notes", id, permanent=True)
    elif kind == "revert":
        versions = [entry for entry in await db.get_entity_history("notes", id) if entry["action"] != "purge"]
        if versions:
            await db.revert("notes", id, random.choice(versions)["version"])
    else:
        await db.save_entity("notes", {"id": id, "x": random.randrange(9), f"f{random.randrange(6)}": random.random()})


def without_none(row):
    return {name: value for name, value in row.items() if value is not None}


async def test_a_column_that_the_application_dropped_comes_back_with_the_revert(db):
    await db.save_entity("notes", {"id": "a", "x": 1, "y": "kept"})
    await db.save_entity("notes", {"id": "a", "x": 2})
    await db.execute("ALTER TABLE [notes] DROP COLUMN [y]")
    await db.save_entity("other", {"id": "a"})
    assert (await db.get_entity_version("notes", "a", 1))["y"] == "kept"
    assert (await db.revert("notes", "a", 1))["y"] == "kept"


async def test_long_histories_are_read_whole(db):
    async with db.transaction(seconds=120):
        for n in range(1100):
            await db.save_entity("notes", {"id": "a", "n": n})
    entries = await db.get_entity_history("notes", "a")
    assert [entry["version"] for entry in entries] == list(range(1, 1101))
    assert entries[-1]["changes"] == {"n": [1098, 1099]}
