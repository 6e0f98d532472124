"""A save as one statement: what it does on a real server, alone, among many, and while the schema changes."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest

from app_kernel.core import clock
from app_kernel.db import create_database
from app_kernel.db.dialects.postgres import PostgresDialect
from app_kernel.db.table import OWNED_FIELDS
from tests.conformance.backends import postgres

OWNED = ("created_at", "updated_at", "created_by", "updated_by", "_version")
WRITERS, ROUNDS = 50, 4


@pytest.fixture
async def place():
    async with postgres() as fresh:
        yield fresh


@asynccontextmanager
async def connections(place, count=1):
    """Plain connections to the case's schema."""
    url, _, options = place.url.partition("?")
    schema = options.partition("schema=")[2].partition("&")[0]
    made = [await asyncpg.connect(url, server_settings={"search_path": schema}) for _ in range(count)]
    try:
        yield made
    finally:
        for each in made:
            await each.close()


class Notes:
    """The table `notes` as a handle knows it, and saves to it by the statements of the dialect."""

    dialect = PostgresDialect()

    @classmethod
    async def known(cls, db):
        notes = cls()
        notes.table = await db._scope().schema.table("notes")
        return notes

    def create_sql(self, names, messages=0):
        return self.dialect.create_statement(self.table, ("id", *names, *OWNED), messages)

    def create_params(self, id, *values, messages=(), generation=None):
        now = clock.timestamp()
        owned = (now, now, "alice", "alice", 1)
        kept = ("create", now, "alice", "why", self.table.generation if generation is None else generation)
        return (id, *values, *owned, *kept, *(part for message in messages for part in message))

    def upsert_params(self, id, *values, generation=None):
        generation = self.table.generation if generation is None else generation
        return (id, *values, clock.timestamp(), "bob", None, generation)

    async def upsert(self, connection, fields, *, id="a", expected=None, generation=None):
        sql = self.dialect.upsert_statement(self.table, tuple(fields), expected=expected is not None)
        params = self.upsert_params(id, *fields.values(), generation=generation)
        rows = await connection.fetch(sql, *params, *(() if expected is None else (expected,)))
        return self.table.to_dict(rows[0]) if rows else None


@pytest.fixture
async def made(place):
    """A handle on a table with an int, a dict and a Decimal."""
    db = await place.open()
    await db.save_entity("notes", {"id": "first", "n": 0, "j": {"a": 1}})
    return db


async def kept(db, id="a"):
    return await db.find_entities("notes_history", "[id] = ?", (id,), "[_version]")


async def test_a_create_makes_row_history_and_messages_or_nothing(place, made):
    notes = await Notes.known(made)
    message = ("m1", "topic", "key", "{}", clock.timestamp())
    other = ("m2", "topic", "key", "{}", clock.timestamp())
    async with connections(place) as (connection,):
        sql = notes.create_sql(("n", "j"), 2)
        stale = notes.create_params("a", 1, "{}", messages=(message, other), generation=notes.table.generation - 1)
        assert await connection.fetch(sql, *stale) == []
        assert await connection.fetchval("SELECT count(*) FROM kernel_outbox") == 0
        rows = await connection.fetch(sql, *notes.create_params("a", 1, '{"b": 1.0}', messages=(message, other)))
        assert await connection.fetch("SELECT id, topic FROM kernel_outbox ORDER BY seq") == [
            ("m1", "topic"),
            ("m2", "topic"),
        ]
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.fetch(notes.create_sql(("n",)), *notes.create_params("a", 1))
    row = notes.table.to_dict(rows[0])
    assert row == await made.get_entity("notes", "a")
    (version,) = await kept(made)
    assert {name: version[name] for name in row} == row
    assert (version["_action"], version["_actor"], version["_comment"]) == ("create", "alice", "why")


async def test_an_upsert_creates_changes_and_leaves_alone(place, made):
    notes = await Notes.known(made)
    async with connections(place) as (connection,):
        assert (await notes.upsert(connection, {"n": 1, "j": '{"a": 1}'}))["_version"] == 1
        assert await notes.upsert(connection, {"n": 1}) is None
        assert await notes.upsert(connection, {"j": '{"a":1}'}) is None
        assert (await notes.upsert(connection, {"j": '{"a":1.0}'}))["j"] == {"a": 1.0}
        changed = await notes.upsert(connection, {"n": None})
        assert (changed["n"], changed["_version"], changed["created_by"], changed["updated_by"]) == (
            None,
            3,
            "bob",
            "bob",
        )
        assert await notes.upsert(connection, {"n": 5}, generation=notes.table.generation - 1) is None
        assert await notes.upsert(connection, {}, id="a") is None
        assert (await notes.upsert(connection, {}, id="empty"))["_version"] == 1
    assert [row["_action"] for row in await kept(made)] == ["create", "update", "update"]
    assert (await kept(made))[-1]["updated_at"] == changed["updated_at"]


async def test_an_upsert_does_nothing_to_a_deleted_or_a_raw_row_and_counts_on_after_a_purge(place, made):
    notes = await Notes.known(made)
    await made.delete_entity("notes", "first")
    await made.execute("INSERT INTO notes (id, n) VALUES ('raw', 1)")
    await made.save_entity("notes", {"id": "gone", "n": 1})
    await made.delete_entity("notes", "gone", permanent=True)
    async with connections(place) as (connection,):
        assert await notes.upsert(connection, {"n": 5}, id="first") is None
        assert await notes.upsert(connection, {"n": 5}, id="raw") is None
        assert (await notes.upsert(connection, {"n": 5}, id="gone"))["_version"] == 3
    assert [row["_action"] for row in await kept(made, "gone")] == ["create", "purge", "create"]


async def test_an_expected_version_lets_one_upsert_pass(place, made):
    notes = await Notes.known(made)
    async with connections(place) as (connection,):
        assert await notes.upsert(connection, {"n": 5}, id="new", expected=1) is None
        assert await notes.upsert(connection, {"n": 5}, id="first", expected=2) is None
        assert await notes.upsert(connection, {"n": 0}, id="first", expected=1) is None
        assert (await notes.upsert(connection, {"n": 5}, id="first", expected=1))["_version"] == 2
        assert await notes.upsert(connection, {"n": 6}, id="first", expected=1) is None
    assert len(await kept(made, "first")) == 2


@pytest.mark.acceptance("DB7")
async def test_fifty_writers_on_one_row_leave_no_gap_and_lose_nothing(place, made):
    notes = await Notes.known(made)
    async with connections(place, WRITERS) as all_of_them:

        async def write(number, connection):
            done = [await notes.upsert(connection, {"n": number * ROUNDS + turn + 1}) for turn in range(ROUNDS)]
            return [row["_version"] for row in done]

        versions = await asyncio.gather(*(write(*each) for each in enumerate(all_of_them)))
    total = WRITERS * ROUNDS
    assert sorted(version for each in versions for version in each) == list(range(1, total + 1))
    rows = await kept(made)
    assert [row["_version"] for row in rows] == list(range(1, total + 1))
    assert sorted(row["n"] for row in rows) == list(range(1, total + 1))
    assert [row["_action"] for row in rows] == ["create", *["update"] * (total - 1)]
    row = await made.get_entity("notes", "a")
    assert {name: rows[-1][name] for name in row} == row


@pytest.mark.acceptance("DB7")
async def test_of_fifty_writers_that_expect_one_version_one_writes(place, made):
    notes = await Notes.known(made)
    async with connections(place, WRITERS) as all_of_them:
        done = await asyncio.gather(
            *(
                notes.upsert(connection, {"n": number + 1}, id="first", expected=1)
                for number, connection in enumerate(all_of_them)
            )
        )
    assert sum(row is not None for row in done) == 1
    assert [row["_version"] for row in await kept(made, "first")] == [1, 2]


@pytest.mark.acceptance("DB8")
async def test_no_history_lacks_a_column_that_is_added_meanwhile(place, made):
    other = create_database(place.url)
    await other.open()
    adding, stop = other.connection(), asyncio.Event()

    async def write(connection, number):
        done = 0
        while not stop.is_set():
            notes = await Notes.known(made)
            row = await notes.upsert(connection, {"n": done}, id=f"w{number}")
            if row is None:  # the schema moved on
                await made._driver.fetch("SELECT value FROM kernel_meta WHERE key = 'generation'", (), observed=True)
            done += row is not None
        return done

    async def add():
        try:
            for number in range(12):
                await adding.save_entity("notes", {"id": "first", f"f{number}": number})
                await adding.execute(f"UPDATE notes SET f{number} = {number} WHERE f{number} IS NULL")
        finally:
            stop.set()

    async with connections(place, 8) as some:
        _, *counts = await asyncio.gather(add(), *(write(each, number) for number, each in enumerate(some)))
    await other.close()
    assert all(counts)
    for number, count in enumerate(counts):
        rows = await kept(made, f"w{number}")
        assert [row["_version"] for row in rows] == list(range(1, count + 1))
        row = await made.get_entity("notes", f"w{number}")
        assert {name: rows[-1][name] for name in ("n", *OWNED_FIELDS)} == {
            name: row[name] for name in ("n", *OWNED_FIELDS)
        }
        # A column holds its number from when it was filled; a version after that has it in its history as well.
        for field in (f"f{at}" for at in range(12)):
            known = [version[field] for version in rows]
            first = next((at for at, value in enumerate(known) if value is not None), len(known))
            assert None not in known[first:]
