"""A SQLite file: opened or refused at once, shared with other connections, closed in order."""

import asyncio
import time
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import apsw
import pytest

from app_kernel.core.errors import (
    ConstraintViolation,
    DatabaseBusy,
    DatabaseClosed,
    InvalidDatabaseUrl,
    InvalidQuery,
    Unavailable,
)
from app_kernel.core.tables import Table
from app_kernel.db.database import Database, connect
from app_kernel.db.drivers.sqlite import SqliteDriver
from tests.db.sqlite_tools import COUNTING, Gate, names, opened, until


@pytest.fixture
async def db(tmp_path):
    async with opened(tmp_path) as (store, _):
        yield store


@asynccontextmanager
async def locked(path):
    """Another connection holds the write lock."""
    other = apsw.Connection(str(path / "app.db"))
    other.execute("BEGIN IMMEDIATE")
    try:
        yield other
    finally:
        if other.in_transaction:
            other.execute("ROLLBACK")
        other.close()


async def test_a_busy_database_is_told_to_all_who_wait_within_one_timeout(tmp_path):
    async with opened(tmp_path, busy_seconds=1) as (db, _):
        await db.save_entity("notes", {"id": "a", "n": 1})
        began = time.monotonic()
        async with locked(tmp_path):
            done = await asyncio.gather(
                *(db.save_entity("notes", {"id": str(n), "n": n}) for n in range(20)),
                *(db.save_entity("notes", {"id": "a", f"f{n}": n}) for n in range(3)),
                *(db.execute("UPDATE notes SET n = 9") for _ in range(3)),
                return_exceptions=True,
            )
            waited = time.monotonic() - began
            assert (await db.get_entity("notes", "a"))["n"] == 1
        assert set(names(done)) == {DatabaseBusy.__name__}
        assert 0.9 < waited < 1.9
        assert (await db.save_entity("notes", {"id": "a", "n": 2}))["n"] == 2
        assert await db.count_entities("notes") == 1


async def test_a_lock_that_is_given_back_in_time_is_waited_for(tmp_path):
    async with opened(tmp_path, busy_seconds=10) as (db, _):
        await db.save_entity("notes", {"id": "a", "n": 1})
        async with locked(tmp_path) as other:
            waiting = asyncio.create_task(db.save_entity("notes", {"id": "a", "n": 2}))
            assert (await db.get_entity("notes", "a"))["n"] == 1
            assert not waiting.done()
            other.execute("COMMIT")
            assert (await waiting)["n"] == 2


async def test_closing_finishes_the_writes_that_wait(tmp_path):
    async with opened(tmp_path) as (db, driver):
        await db.save_entity("notes", {"id": "a", "n": -1})
        async with Gate(db) as gate:
            tasks = [asyncio.create_task(db.save_entity("notes", {"id": str(n), "n": n})) for n in range(200)]
            await until(lambda: driver._writer._queue.qsize() >= len(tasks))
            closing = asyncio.create_task(driver.close())
            await until(lambda: driver._writer._closed)
            gate.gate.set()
            rows = await asyncio.gather(*tasks)
            await closing
    assert [row["n"] for row in rows] == list(range(200))
    async with opened(tmp_path) as (db, _):
        assert await db.count_entities("notes") == 201


async def test_a_closed_database_says_so_to_every_verb(tmp_path):
    async with opened(tmp_path) as (db, driver):
        await db.save_entity("notes", {"id": "a", "n": 1})
        await driver.fetch(COUNTING.format(300_000), ())
        database = Database(driver)
        await driver.close()
        for call in (
            lambda: db.get_entity("notes", "a"),
            lambda: db.find_entities("notes"),
            lambda: db.count_entities("notes"),
            lambda: db.save_entity("notes", {"id": "a", "n": 2}),
            lambda: db.save_entity("fresh", {"id": "a", "n": 2}),
            lambda: db.delete_entity("notes", "a"),
            lambda: db.restore_entity("notes", "a"),
            lambda: db.execute("SELECT 1"),
            lambda: db.execute("DELETE FROM notes"),
            lambda: driver.fetch(COUNTING.format(300_000), ()),
            database.ping,
            lambda: database.ensure_tables([Table("papers", {"n": int})]),
        ):
            async with asyncio.timeout(5):
                with pytest.raises(DatabaseClosed):
                    await call()
        await driver.close()


async def test_a_database_that_never_opened_can_be_closed(tmp_path):
    driver = SqliteDriver(str(tmp_path / "app.db"))
    await driver.close()
    assert list(tmp_path.iterdir()) == []


async def test_closing_leaves_one_file(tmp_path):
    async with opened(tmp_path) as (db, driver):
        await db.save_entity("notes", {"id": "a", "n": 1})
        await driver.fetch(COUNTING.format(300_000), ())
        assert len(list(tmp_path.iterdir())) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["app.db"]


@pytest.mark.parametrize(
    "content", [b"this is no database " * 100, b"\x00" * 4096, b"SQLite format 3\x00" + b"\xff" * 4096]
)
async def test_a_file_that_is_no_database_is_told_at_once(tmp_path, content):
    (tmp_path / "app.db").write_bytes(content)
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match=r"(?i)database"):
            async with opened(tmp_path):
                pass
    assert (tmp_path / "app.db").read_bytes() == content


async def test_a_directory_in_place_of_the_file_is_told_at_once(tmp_path):
    (tmp_path / "app.db").mkdir()
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match="database"):
            async with opened(tmp_path):
                pass


async def test_a_directory_that_cannot_be_made_is_told_at_once(tmp_path):
    (tmp_path / "file").write_text("x")
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match="directory"):
            async with connect(f"sqlite:///{tmp_path}/file/sub/app.db"):
                pass


async def test_missing_directories_are_made(tmp_path):
    async with connect(f"sqlite:///{tmp_path}/a/b/app.db") as db:
        await db.save_entity("notes", {"id": "a"})
    assert (tmp_path / "a" / "b" / "app.db").exists()


async def test_a_home_directory_is_where_the_file_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    async with connect("sqlite:///~/data/app.db") as db:
        await db.save_entity("notes", {"id": "a"})
    assert (tmp_path / "data" / "app.db").exists()


async def test_databases_in_memory_are_private_and_leave_nothing():
    async with connect("sqlite://:memory:") as one, connect("sqlite://:memory:") as other:
        await one.save_entity("notes", {"id": "a", "n": 1})
        assert await other.get_entity("notes", "a") is None
        assert (await one.get_entity("notes", "a"))["n"] == 1
        directory = one._driver._temporary
        assert directory != other._driver._temporary
    with pytest.raises(DatabaseClosed):
        await one.get_entity("notes", "a")
    assert not Path(directory).exists()  # noqa: ASYNC240 - nobody else waits here


async def test_a_raw_value_of_the_wrong_type_is_the_callers_error(db):
    await db.execute("CREATE TABLE own (id INTEGER PRIMARY KEY, n INTEGER) STRICT")
    for sql in ("INSERT INTO own (id) VALUES ('text')", "INSERT INTO own (id, n) VALUES (1, 'text')"):
        with pytest.raises(ConstraintViolation) as failure:
            await db.execute(sql)
        assert failure.value.status == 422
    with pytest.raises(ConstraintViolation, match=r"\[n\]"):
        await db.execute("INSERT INTO own (id, n) VALUES (1, 'text')")


async def test_a_double_quoted_word_is_never_text(db):
    await db.save_entity("notes", {"id": "a", "n": 1})
    with pytest.raises(InvalidQuery):
        await db.execute('SELECT id FROM notes WHERE "nope" = "nope"')
    with pytest.raises(InvalidQuery):
        await db.execute('DELETE FROM notes WHERE "nope" = "nope"')
    assert await db.count_entities("notes") == 1


async def test_another_connection_reads_the_file_with_the_plain_library(db, tmp_path):
    import sqlite3
    from decimal import Decimal

    await db.save_entity("notes", {"id": "a", "d": Decimal("1.50"), "j": {"a": 1}})
    plain = sqlite3.connect(tmp_path / "app.db")
    try:
        assert plain.execute("SELECT id, d, j FROM notes ORDER BY d").fetchall() == [("a", "1.50", '{"a":1}')]
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        plain.close()


async def test_a_database_of_a_newer_version_is_left_alone(tmp_path):
    path = tmp_path / "app.db"
    async with connect(f"sqlite:///{path}") as db:
        await db.save_entity("notes", {"id": "a"})
    other = apsw.Connection(str(path))
    other.execute("UPDATE kernel_meta SET value = value + 1 WHERE key = 'format'")
    other.close()
    with pytest.raises(Unavailable, match="newer version"):
        async with connect(f"sqlite:///{path}"):
            pass


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TEMP TABLE [notes] AS SELECT * FROM [notes]",
        "CREATE TEMPORARY VIEW [notes] AS SELECT 1 AS [id]",
        "CREATE TRIGGER temp.[t] AFTER INSERT ON main.[notes] BEGIN SELECT 1; END",
        "ATTACH DATABASE ':memory:' AS [other]",
        "PRAGMA query_only = ON",
        "PRAGMA case_sensitive_like = OFF",
        "PRAGMA writable_schema = ON",
        "PRAGMA journal_mode = DELETE",
        "BEGIN",
        "COMMIT",
        "SAVEPOINT [s]",
    ],
)
async def test_a_raw_statement_changes_nothing_of_the_connection_that_all_share(db, statement):
    await db.save_entity("notes", {"id": "a", "n": 1})
    with pytest.raises(InvalidQuery):
        await db.execute(statement)
    saved = await db.save_entity("notes", {"n": 2})
    assert await db.get_entity("notes", saved["id"]) == saved
    assert await db.count_entities("notes", "[id] LIKE ?", ("A",)) == 0


async def test_a_raw_statement_may_ask_pragmas(db):
    await db.save_entity("notes", {"id": "a", "n": 1})
    assert "n" in [row["name"] for row in await db.execute("PRAGMA table_info([notes])")]
    assert [tuple(row) for row in await db.execute("PRAGMA integrity_check(1)")] == [("ok",)]


async def test_ids_of_several_types_do_not_stop_a_find(db):
    await db.save_entity("notes", {"id": "a", "n": 1})
    await db.execute("INSERT INTO [notes] ([id], [n]) VALUES (x'01', 2)")
    assert [row["n"] for row in await db.find_entities("notes")] == [1, 2]
    assert [row["n"] for row in await db.find_entities("notes", limit=5)] == [1, 2]


async def test_many_rows_are_decoded_beside_the_event_loop(db, monkeypatch):
    for number in range(40):
        await db.save_entity("notes", {"id": f"{number:02}", "j": {"n": number}})
    threads = []

    async def in_thread(function, *args, **options):
        threads.append(function.__name__)
        return function(*args, **options)

    monkeypatch.setattr("app_kernel.db.reads.MANY_ROWS", 20)
    monkeypatch.setattr("app_kernel.db.reads.asyncio.to_thread", in_thread)
    assert [row["j"]["n"] for row in await db.find_entities("notes")] == list(range(40))
    assert len(await db.find_entities("notes", limit=20)) == 20
    assert threads == ["to_dicts"]


async def test_closing_ends_a_read_that_nobody_needs(tmp_path):
    async with opened(tmp_path, statement_seconds=600) as (db, driver):
        reading = asyncio.create_task(db.execute(COUNTING.format(10**12)))
        await until(lambda: driver._readers._threads)
        await asyncio.sleep(0)
        began = time.monotonic()
    assert time.monotonic() - began < 60
    with pytest.raises(Unavailable):
        await reading


async def test_a_cancelled_read_frees_its_thread(tmp_path):
    async with opened(tmp_path, statement_seconds=600) as (db, driver):
        for _ in range(4):
            reading = asyncio.create_task(db.execute(COUNTING.format(10**12)))
            await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        assert [tuple(row) for row in await db.execute("SELECT 1")] == [(1,)]
        assert len(driver._readers._threads) <= 2


@pytest.mark.parametrize("rounds", [0, 1, 3, 10])
async def test_a_cancelled_opening_or_closing_leaves_no_thread(tmp_path, rounds):
    driver = SqliteDriver(str(tmp_path / "app.db"))
    opening = asyncio.create_task(driver.open())
    for _ in range(rounds):
        await asyncio.sleep(0)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    writer = vars(driver).get("_writer")
    await until(lambda: not opening.cancelled() or writer is None or not writer._thread.is_alive())
    if not opening.cancelled():
        closing = asyncio.create_task(driver.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        await until(lambda: not driver._writer._thread.is_alive())
    assert driver._reader is None


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:secret@h/d?nothing=1",
        "mysql://u:secret@h/d?nothing=1",
        "nonsense",
        "sqlite://x",
        "sqlite:///a?b=c",
    ],
)
async def test_a_url_that_is_no_good_is_an_error_that_a_task_survives(url):
    async def connecting():
        async with connect(url):
            pass

    # Were it a SystemExit too, as what stops a start is, asyncio would end the process from inside a task.
    (failure,) = await asyncio.gather(asyncio.create_task(connecting()), return_exceptions=True)
    assert isinstance(failure, InvalidDatabaseUrl)
    assert not isinstance(failure, SystemExit)
    assert "secret" not in str(failure)


@pytest.mark.parametrize("value", [1.5, Decimal("1.5"), 2**63, "text", True], ids=repr)
async def test_what_other_hands_wrote_into_a_field_does_not_stop_it_from_changing(db, value):
    await db.save_entity("things", {"id": "a", "v": 5})
    await db.save_entity("things", {"id": "b", "v": 6})
    await db.execute("UPDATE [things] SET [v] = 'by hand' WHERE [id] = 'a'")
    assert [row["v"] for row in await db.find_entities("things", order_by="[id]")] == ["by hand", 6]
    await db.save_entity("things", {"id": "c", "v": value})
    assert [row["v"] for row in await db.find_entities("things", order_by="[id]")] == ["by hand", 6, value]
