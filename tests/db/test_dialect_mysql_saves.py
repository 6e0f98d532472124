"""A save as one text of several statements on a real server: alone, where it fails, and when the schema moved on."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from app_kernel.core.errors import (
    ConnectionLost,
    EntityDeleted,
    InvalidQuery,
    UniqueViolation,
    UnsupportedValue,
    VersionConflict,
)
from app_kernel.core.outbox import Message
from app_kernel.db import create_database
from app_kernel.db.dialects.mysql_marks import LARGE, mark, then
from app_kernel.db.drivers.base import ANY_GENERATION, Unanswered
from app_kernel.db.drivers.mysql_connection import Connection
from tests.db.mysql_tools import place_on


@pytest.fixture
async def place(mysql_url):
    async with place_on(mysql_url) as fresh:
        yield fresh


def record(change):
    return [Message("admin:changes", {"id": change.id, "action": change.action, "after": change.after})]


@asynccontextmanager
async def opened(place, *recorders, **options):
    database = create_database(place.url(**({"pool_size": 1} | options)), recorders=recorders)
    await database.open()
    try:
        yield database.connection()
    finally:
        await database.close()


@pytest.fixture
def trips(monkeypatch):
    """The texts that go to the server, one a round trip."""
    sent = []
    query = Connection._query

    async def noted(self, text, timeout):
        if "kernel_signals" not in text:
            sent.append(text)
        return await query(self, text, timeout)

    monkeypatch.setattr(Connection, "_query", noted)
    return sent


async def test_saves_take_as_few_round_trips_as_their_answers_allow(place, trips):
    async with opened(place) as plain, opened(place, record) as heard:
        for db in (plain, heard):
            # What the first saves ask for is known from then on.
            for _ in range(2):
                made = await db.save_entity("notes", {"x": 0})
                await db.save_entity("notes", {"id": made["id"], "x": -1})
        counts = []
        for db in (plain, heard):
            trips.clear()
            made = await db.save_entity("notes", {"x": 1})
            counts.append(len(trips))
            changed = await db.save_entity("notes", {"id": made["id"], "x": 2})
            counts.append(len(trips) - counts[-1])
            assert (changed["x"], changed["_version"]) == (2, 2)
            assert [row["_action"] for row in await kept(db, made["id"])] == ["create", "update"]
        assert counts == [1, 1, 1, 3]
    assert len(await place.look("SELECT 1 FROM kernel_outbox")) == 6


async def kept(db, id):
    return await db.find_entities("notes_history", "[id] = ?", (id,), "[_version]")


async def test_what_fails_in_the_middle_leaves_nothing_and_the_connection_as_it_was(place):
    driver = await place.open(pool_size=1)
    await place.look("CREATE TABLE t (n int PRIMARY KEY)")
    numbers = await place.backends()
    insert = f"INSERT INTO t (n) VALUES ({mark(1)})"
    for failing in (insert, "SELECT nothing", f"SELECT {mark(1)} FROM nowhere"):
        with pytest.raises(Exception, match=r"this \[id\]|no column|no table"):
            await driver.run(then([insert, failing, insert]), (1,))
        assert await place.look("SELECT n FROM t") == []
    assert await place.backends() == numbers, "the one connection is idle, and no transaction open in it"
    assert list(await driver.run(then([insert, "SELECT n FROM t"]), (2,))) == [(2,)]
    assert await place.look("SELECT n FROM t") == [(2,)]


async def test_a_text_whose_end_nobody_heard_of_is_lost_and_not_sent_again(place, trips):
    driver = await place.open(pool_size=1)
    await driver.execute("CREATE TABLE t (n int) ENGINE = InnoDB", ())
    await driver.execute("CREATE TABLE tries (n int) ENGINE = MyISAM", ())
    # One keeps what was rolled back, and tells how often the text has run.
    text = then(["INSERT INTO tries VALUES (1)", "INSERT INTO t VALUES (1)", "SELECT SLEEP(20)"])
    task = asyncio.create_task(driver.run(text, ()))
    async with asyncio.timeout(10):
        while not await place.look("SELECT n FROM tries WHERE SLEEP(0.01) = 0"):
            pass
        assert await place.terminate() == 1
        with pytest.raises(ConnectionLost):
            await task
    assert await place.look("SELECT n FROM tries") == [(1,)]
    assert await place.look("SELECT n FROM t") == []
    assert trips[-1].startswith("START TRANSACTION; INSERT")
    assert trips[-1].endswith("; COMMIT")


async def test_nothing_is_written_at_another_generation(place):
    async with opened(place, record) as db, opened(place) as other:
        await db.save_entity("notes", {"id": "a", "x": 1})
        await other.save_entity("notes", {"id": "b", "x": 1})
        table = await other._scope().schema.table("notes")
        sent = len(await place.look("SELECT 1 FROM kernel_outbox"))
        dialect, run = other._driver.dialect, other._driver.run
        await db.save_entity("notes", {"id": "a", "x": "text"})
        create = dialect.create_statement(table, ("id", "x", "_version"), 1)
        message = ("m", "topic", "", "{}", "then")
        made = await run(create, ("c", 1, 1, "create", "then", None, None, table.generation, *message))
        upsert = dialect.upsert_statement(table, ("x",))
        changed = await run(upsert, ("b", 2, "then", None, None, table.generation))
        assert (list(made), list(changed)) == ([], [])
        assert await place.look("SELECT id, _version FROM notes ORDER BY id") == [("a", 2), ("b", 1)]
        assert len(await place.look("SELECT 1 FROM kernel_outbox")) == sent + 1
        assert (await other.save_entity("notes", {"x": 3}))["x"] == 3, "as the column holds it now, not as it did"
        assert (await other.save_entity("notes", {"id": "b", "x": 2}))["x"] == 2
        assert [row["x"] for row in await db.find_entities("notes", order_by="[created_at]")] == ["text", 2, 3]


async def test_a_save_to_an_id_means_the_same_in_one_text(place):
    async with opened(place) as db:
        row = await db.save_entity("notes", {"id": "a", "n": 1, "f": 0.5, "j": {"a": 1}, "s": "x", "z": None})
        same = {"id": "a", "n": 1, "f": 0.5, "j": {"a": 1}, "s": "x", "z": None}
        assert (await db.save_entity("notes", same)) == row
        for number, change in enumerate(
            ({"n": None}, {"n": 0}, {"j": {"a": 1.0}}, {"s": "x "}, {"s": "X"}, {"z": "y"})
        ):
            changed = await db.save_entity("notes", {"id": "a", **change}, comment="why")
            assert changed["_version"] == number + 2
            assert changed.items() >= change.items()
        entries = await kept(db, "a")
        assert [(entry["_action"], entry["_comment"]) for entry in entries] == [("create", None)] + [
            ("update", "why")
        ] * 6
        assert entries[-1].items() >= changed.items()
        assert (await db.save_entity("notes", {"id": "a", "n": 5}, expected_version=7))["_version"] == 8
        with pytest.raises(VersionConflict):
            await db.save_entity("notes", {"id": "a", "n": 6}, expected_version=7)
        await db.ensure_index("notes", ["s"], unique=True)
        await db.save_entity("notes", {"id": "b", "s": "taken"})
        with pytest.raises(UniqueViolation, match=r"\[s\]"):
            await db.save_entity("notes", {"id": "a", "s": "taken"})
        assert (await db.save_entity("notes", {"id": "new", "n": 1}))["_version"] == 1
        await db.delete_entity("notes", "a")
        with pytest.raises(EntityDeleted):
            await db.save_entity("notes", {"id": "a", "n": 7})


async def test_many_changes_of_one_row_at_once_are_one_version_each(place):
    async with opened(place, pool_size=5) as db:
        await db.save_entity("notes", {"id": "a", "n": 0})
        saves = (db.save_entity("notes", {"id": "a", "n": number}) for number in range(1, 31))
        rows = await asyncio.gather(*saves)
        assert sorted(row["_version"] for row in rows) == list(range(2, 32))
        assert [entry["_version"] for entry in await kept(db, "a")] == list(range(1, 32))


TRIGGER = "CREATE TRIGGER [{name}] BEFORE {event} ON [notes] FOR EACH ROW SET NEW.[s] = UPPER(NEW.[s])"


async def test_what_a_trigger_makes_of_a_row_is_what_is_given_kept_and_told(place):
    async with opened(place, record) as db:
        await db.save_entity("notes", {"id": "a", "s": "x"})
        for event in ("INSERT", "UPDATE"):
            await db.execute(TRIGGER.format(name=f"on_{event}", event=event))
        made = await db.save_entity("notes", {"s": "made"})
        changed = await db.save_entity("notes", {"id": "a", "s": "changed"})
        assert (made["s"], changed["s"]) == ("MADE", "CHANGED")
        assert [row["s"] for row in await kept(db, made["id"])] == ["MADE"]
        told = await place.look("SELECT body FROM kernel_outbox ORDER BY seq")
        assert [json.loads(row[0])["after"]["s"] for row in told] == ["x", "MADE", "CHANGED"]


async def test_who_is_not_shown_triggers_is_taken_to_have_some(place):
    user = place.name
    driver = await place.open()
    async with opened(place) as db:
        await db.save_entity("notes", {"id": "a", "s": "x"})
    try:
        await place.look(f"CREATE USER '{user}'@'%' IDENTIFIED BY 'secret'")
        address = place.url(pool_size=1).partition("@")[2]
        ask = driver.dialect.find_triggers("notes")
        for granted, seen in (("SELECT, INSERT, UPDATE, DELETE", [(1,)]), ("TRIGGER", []), ("ALL", [])):
            await place.look(
                f"REVOKE ALL, GRANT OPTION FROM '{user}'@'%'; GRANT {granted} ON \"{place.name}\".* TO '{user}'@'%'"
            )
            await place.look(f"GRANT SELECT, INSERT, UPDATE ON \"{place.name}\".* TO '{user}'@'%'")
            database = create_database(f"mysql://{user}:secret@{address}")
            await database.open()
            assert list(await database._driver.fetch(*ask)) == seen, granted
            await database.close()
    finally:
        await place.look(f"DROP USER IF EXISTS '{user}'@'%'")
    await driver.execute(TRIGGER.format(name="up", event="INSERT").replace("[", "`").replace("]", "`"), ())
    assert list(await driver.fetch(*ask)) == [(1,)]


async def test_a_large_row_is_saved_though_its_texts_together_are_larger_than_a_packet(place):
    ((packet,),) = await place.look("SELECT @@max_allowed_packet")
    large = "x" * (packet * 2 // 3)
    assert len(large) > LARGE
    async with opened(place, record) as db:
        made = await db.save_entity("notes", {"s": large})
        assert len(await place.look("SELECT 1 FROM kernel_outbox")) == 1
        with pytest.raises(UnsupportedValue, match="max_allowed_packet"):
            await db.save_entity("notes", {"s": large * 2})
    async with opened(place) as db:
        assert (await db.save_entity("notes", {"id": made["id"], "s": large[1:]}))["_version"] == 2
    async with opened(place, lambda change: [Message("admin:changes", {"s": "x" * (packet - LARGE // 2)})]) as db:
        assert (await db.save_entity("notes", {"s": "x" * (LARGE - 9)}))["_version"] == 1
    driver = await place.open()
    update = f"UPDATE notes SET s = {mark(1)}"

    def work():
        yield Unanswered((update, (large,)))
        yield Unanswered((update, (large[2:],)))

    await driver.write(work, ANY_GENERATION, "notes")
    assert await place.look("SELECT DISTINCT CHAR_LENGTH(s) FROM notes") == [(len(large) - 2,)]


async def test_a_trigger_that_fails_as_the_guard_does_is_no_change_of_the_schema(place):
    async with opened(place) as db:
        await db.execute("CREATE TABLE [own] ([id] BIGINT AUTO_INCREMENT PRIMARY KEY, [x] INT)")
        await db.save_entity("own", {"x": 1})
        await db.execute(
            "CREATE TRIGGER [bad] BEFORE INSERT ON [own] FOR EACH ROW SET NEW.[x] = (SELECT 1 UNION SELECT 2)"
        )
        with pytest.raises(InvalidQuery, match="Subquery returns more than 1 row"):
            await db.save_entity("own", {"x": 2})
        assert await db.count_entities("own") == 1


async def test_what_waits_for_the_commit_and_fails_there_takes_everything_back(place):
    async with opened(place, record) as db:
        await db.save_entity("notes", {"id": "a", "x": 1})
        await place.look("INSERT INTO notes_history (id, _version, x) VALUES ('a', 2, 9)")
        with pytest.raises(UniqueViolation):
            await db.save_entity("notes", {"id": "a", "x": 2})
        assert await place.look("SELECT x, _version FROM notes") == [(1, 1)]
        assert len(await place.look("SELECT 1 FROM kernel_outbox")) == 1
        await place.look("DELETE FROM notes_history WHERE _version = 2")
        assert (await db.save_entity("notes", {"id": "a", "x": 2}))["_version"] == 2


async def test_a_stale_unit_is_planned_anew(place):
    async with opened(place, record) as db, opened(place) as other:
        await db.save_entity("notes", {"id": "a", "x": 1})
        await other.save_entity("notes", {"id": "b", "x": "text"})
        saved = await db.save_entity("notes", {"id": "a", "x": 2})
        assert (saved["x"], saved["_version"]) == (2, 2)
        assert [row["x"] for row in await kept(other, "a")] == [1, 2]
