"""What a look at a database finds: nothing in one that is well, and each thing that can be wrong by its code."""

import hashlib
import os
import shutil
import sqlite3
from collections import namedtuple
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app_kernel.core.errors import InvalidDatabaseUrl, KernelError, Unavailable
from app_kernel.core.tables import Index, Table
from app_kernel.db.errors import SchemaFact
from app_kernel.db.inspection import Finding, Report, deep, inspect_database, mysql, postgres, sqlite
from app_kernel.db.inspection.connecting import make_onlooker
from tests.conformance.backends import BACKENDS, Place
from tests.db.upgrade.make import fill
from tests.small_service import small_app

WIDGETS = Table("widgets", {"name": str, "size": int}, (Index(("name",), unique=True), Index(("size",))), history=True)


@pytest.fixture(params=BACKENDS)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with BACKENDS[request.param]() as place:
        yield place
        # What is broken here belongs to the kernel, so nobody else gets this place.
        await place.close()
        await place.start_anew()


async def made(place: Place) -> Any:
    """A database with ten widgets of three versions each, one of them deleted."""
    db = await place.open()
    await db.ensure_tables([WIDGETS])
    for number in range(10):
        for version in range(3):
            await db.save_entity("widgets", {"id": f"w{number}", "name": f"n{number}", "size": version})
    await db.delete_entity("widgets", "w9")
    return db


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings if finding.is_wrong]


async def test_a_report_lists_entities_with_columns_kinds_indexes_and_counts(place: Place) -> None:
    db = await made(place)
    await db.save_entity("notes", {"id": "n", "text": "x", "never": None, "at": 1.5})
    report = await inspect_database(place.url, declared=[WIDGETS])
    assert (report.is_well, report.backend, report.format) == (True, place.backend, 1)
    assert report.findings == []
    assert report.generation == db._driver.generation
    assert report.server["version"]
    notes, widgets = (table for table in report.tables if not table.is_kernels)
    assert (widgets.name, widgets.rows, widgets.deleted, widgets.history) == ("widgets", 9, 1, 31)
    assert {(index.fields[0], index.unique, index.whole) for index in widgets.indexes} == {
        ("name", True, True), ("size", False, True),
    }  # fmt: skip
    kinds = {column.name: (column.kind, bool(column.type)) for column in notes.columns}
    assert {name: kinds[name] for name in ("id", "text", "never", "at", "_version")} == {
        "id": ("str", True), "text": ("str", True), "never": ("unknown", False), "at": ("float", True),
        "_version": ("int", True),
    }  # fmt: skip
    assert (report.outbox.unsent, report.outbox.dead) == (0, 0)


async def test_a_database_with_everything_in_it_is_well_however_closely_it_is_looked_at(place: Place) -> None:
    await place.start_anew()
    await fill(place.url)
    report = await inspect_database(place.url, deep=True)
    # A message of another version's test waits there, and one is dead.
    assert codes(report) == ["dead-letters"]
    notes = {(finding.code, finding.where) for finding in report.findings if not finding.is_wrong}
    assert notes == {("not-written-yet", "books")}
    assert {table.name: table.rows for table in report.tables if table.adopted and not table.is_kernels} == {
        "books": 3, "tickets": 2,
    }  # fmt: skip


async def test_what_the_features_of_a_service_declare_is_there_once_it_has_started(
    place: Place, request: pytest.FixtureRequest
) -> None:
    await place.start_anew()
    redis_url = request.getfixturevalue("redis_url") if place.backend == "mysql" else None
    memory = "sqlite://:memory:"
    app = small_app(database_name=place.url, admin_db_url=memory, saas_enabled=True, redis_url=redis_url)
    declared = [table for feature in app.state.kernel.features for table in feature.tables]
    async with app.router.lifespan_context(app):
        report = await inspect_database(place.url, declared=declared, deep=True)
    assert report.findings == []
    assert {table.name for table in declared} <= {table.name for table in report.tables}


LATE = (
    "INSERT INTO [kernel_outbox] ([id], [topic], [key], [body], [created_at])"
    " VALUES ('m', 'lost:topic', '', '{}', '2026-01-01T00:00:00.000000Z')"
)
DEAD = (
    "INSERT INTO [kernel_dead_letters] ([id], [topic], [key], [body], [created_at], [died_at], [attempts], [reason])"
    " VALUES ('d', 't', '', '{}', '2026-01-01', '2026-01-01', 16, 'no')"
)
BROKEN: dict[str, tuple[str, ...]] = {
    "written-raw": ("INSERT INTO [widgets] ([id], [name]) VALUES ('raw', 'by hand')",),
    "lost-column": ("DROP INDEX [ix_widgets_size]{on}", "ALTER TABLE [widgets] DROP COLUMN [size]"),
    "history-lacks-columns": ("ALTER TABLE [widgets_history] DROP COLUMN [size]",),
    "missing-fields": ("ALTER TABLE [widgets] DROP COLUMN [created_by]",),
    "missing-index": ("DROP INDEX [ux_widgets_name]{on}",),
    "no-history": ("DROP TABLE [widgets_history]",),
    "newer-version": ("UPDATE [kernel_meta] SET [value] = 99 WHERE [key] = 'format'",),
    "older-version": ("DROP TABLE [kernel_inbox]",),
    "half-filled": ("INSERT INTO [kernel_meta] ([key], [value]) VALUES ('transfer', 1)",),
    "outbox-late": (LATE,),
    "dead-letters": (DEAD,),
}


@pytest.mark.parametrize("code", BROKEN)
async def test_what_is_wrong_is_named_with_a_sentence_how_to_mend_it(code: str, place: Place) -> None:
    db = await made(place)
    for sql in BROKEN[code]:
        await db.execute(sql.replace("{on}", " ON [widgets]" if place.backend == "mysql" else ""))
    report = await inspect_database(place.url, declared=[WIDGETS])
    # A column that is lost takes its index with it.
    assert set(codes(report)) - {"missing-index"} == {code} - {"missing-index"}
    (finding,) = (finding for finding in report.findings if finding.code == code)
    assert finding.text.endswith(".")
    assert finding.mend.endswith(".")
    assert not report.is_well


ALTERED = {
    "altered": ("UPDATE [widgets] SET [size] = 99 WHERE [id] IN ('w3', 'w7')", "2 (w3, w7)"),
    "not-in-history": ("DELETE FROM [widgets_history] WHERE [id] = 'w4' AND [_version] = 3", "1 (w4)"),
    "vanished": ("DELETE FROM [widgets] WHERE [id] <> 'w0'", "9 (w1, w2, w3, w4, w5, ...)"),
    "history-gap": ("DELETE FROM [widgets_history] WHERE [id] = 'w5' AND [_version] = 2", "1 (w5)"),
}


@pytest.mark.parametrize("code", ALTERED)
async def test_rows_that_differ_from_their_history_are_found_by_a_deep_look_alone(
    code: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep, "PAGE_ROWS", 3)
    db = await made(place)
    await db.execute(ALTERED[code][0])
    assert codes(await inspect_database(place.url)) == []
    report = await inspect_database(place.url, deep=True)
    assert codes(report) == [code]
    assert ALTERED[code][1] in report.findings[0].text


async def test_a_value_that_became_none_and_a_version_set_back_are_found_too(place: Place) -> None:
    db = await made(place)
    await db.execute("UPDATE [widgets] SET [size] = NULL WHERE [id] = 'w1'")
    await db.execute("UPDATE [widgets] SET [_version] = 2, [size] = 1 WHERE [id] = 'w2'")
    report = await inspect_database(place.url, deep=True)
    assert {(each.code, each.text.rpartition(": ")[2]) for each in report.findings} == {
        ("altered", "2 (w1, w2)."), ("not-in-history", "1 (w2)."),
    }  # fmt: skip


async def test_what_an_application_may_do_with_its_own_tables_is_told_and_not_wrong(place: Place) -> None:
    db = await place.open()
    await db.execute("CREATE TABLE [books] ([id] {key}, [title] {text}, [old] {text})".format(**place.words))
    await db.execute("CREATE TABLE [loose] ([n] {int})".format(**place.words))
    await db.execute("INSERT INTO [books] ([id], [title]) VALUES ('a', 'A'), ('b', 'B')")
    report = await inspect_database(place.url, deep=True)
    assert report.is_well
    assert {(each.code, each.where) for each in report.findings} == {
        ("missing-fields", "books"), ("not-written-yet", "books"), ("other-tables", "loose"),
    }  # fmt: skip
    await db.save_entity("books", {"id": "a", "title": "A2", "old": "x"})
    await db.execute("ALTER TABLE [books] DROP COLUMN [old]")
    report = await inspect_database(place.url, deep=True)
    assert report.is_well
    assert {(each.code, each.where) for each in report.findings} == {
        ("lost-column", "books"), ("not-written-yet", "books"), ("other-tables", "loose"),
    }  # fmt: skip


async def test_nothing_is_made_in_a_database_that_no_service_has_opened(place: Place, tmp_path: Path) -> None:
    await place.start_anew()
    if place.file is not None:
        with closing(sqlite3.connect(place.file)) as connection:
            connection.execute("CREATE TABLE other (id TEXT PRIMARY KEY)")
    report = await inspect_database(place.url)
    assert [code for code in codes(report) if code != "not-wal"] == ["not-laid-out"]
    assert (report.format, report.tables, report.outbox) == (None, [], None)
    again = await inspect_database(place.url)
    assert codes(again) == codes(report)
    missing = tmp_path / "missing.db"
    with pytest.raises(Unavailable, match="no such database file"):
        await inspect_database(f"sqlite:///{missing}")
    assert not missing.exists()


@pytest.mark.parametrize("sql", ["DELETE FROM [widgets]", "CREATE TABLE [made] ([id] INTEGER)", "DROP TABLE [widgets]"])
async def test_the_connection_of_a_look_refuses_to_write(sql: str, place: Place) -> None:
    db = await made(place)
    onlooker = make_onlooker(place.url)
    await onlooker.open()
    try:
        with pytest.raises((KernelError, SchemaFact)):
            await onlooker.fetch(sql.replace("[", '"').replace("]", '"'))
        assert (await onlooker.fetch('SELECT COUNT(*) FROM "widgets"'))[0][0] == 10
    finally:
        await onlooker.close()
    assert await db.count_entities("widgets", include_deleted=True) == 10


async def test_a_look_waits_for_nobody_who_writes_and_nobody_waits_for_it(place: Place) -> None:
    db = await made(place)
    async with db.transaction():
        await db.save_entity("widgets", {"id": "w1", "size": 50})
        report = await inspect_database(place.url, deep=True)
    assert report.findings == []
    assert (await db.get_entity("widgets", "w1"))["size"] == 50


async def test_the_file_is_the_same_byte_for_byte_afterwards(tmp_path: Path) -> None:
    file = tmp_path / "app.db"
    await fill(f"sqlite:///{file}")
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    await inspect_database(f"sqlite:///{file}", deep=True)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before
    with pytest.raises(InvalidDatabaseUrl):
        await inspect_database("sqlite://:memory:")


async def sqlite_findings(file: Path, *, deeply: bool = False) -> dict[str, Finding]:
    report = await inspect_database(f"sqlite:///{file}", deep=deeply)
    return {finding.code: finding for finding in report.findings}


async def test_a_file_in_another_journal_mode_with_views_and_triggers_that_are_broken(tmp_path: Path) -> None:
    file = tmp_path / "app.db"
    await fill(f"sqlite:///{file}")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        for sql in (
            "CREATE TABLE target (id TEXT PRIMARY KEY)",
            "CREATE TRIGGER copies AFTER INSERT ON places BEGIN INSERT INTO target VALUES (new.id); END",
            "CREATE TRIGGER fine AFTER UPDATE ON visits BEGIN DELETE FROM gone WHERE id = 'nobody'; END",
            "CREATE VIEW of_target AS SELECT id FROM target",
            "DROP TABLE target",
        ):
            connection.execute(sql)
    found = await sqlite_findings(file)
    assert found["not-wal"].text.startswith("The journal mode is delete")
    assert (found["broken-view"].where, found["broken-trigger"].where) == ("of_target", "copies")
    assert found.keys() == {"not-wal", "broken-view", "broken-trigger", "not-written-yet", "dead-letters"}


async def test_a_damaged_file_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "app.db"
    await fill(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as connection:
        root, page = connection.execute(
            "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_master WHERE name = 'parts'"
        ).fetchone()
    with file.open("r+b") as stream:
        stream.seek((root - 1) * page + page // 2)
        stream.write(b"\xff" * (page // 2))
    for deeply in (False, True):
        assert "damaged" in await sqlite_findings(file, deeply=deeply)


async def test_a_full_disk_a_large_log_and_a_file_that_may_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "app.db"
    await fill(f"sqlite:///{file}")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 5, 5))
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != file)
    monkeypatch.setattr(sqlite, "LARGE_LOG", -1)
    found = await sqlite_findings(file)
    assert {"disk-full", "read-only", "large-log"} <= found.keys()
    assert found["read-only"].text == "The user who runs this check may not write to app.db."
    assert not found["large-log"].is_wrong


async def test_postgres_tells_of_indexes_that_failed_and_leases_of_the_dead() -> None:
    async with BACKENDS["postgres"]() as place:
        db = await made(place)
        await db.execute("UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'ux_widgets_name'::regclass")
        await db.execute("INSERT INTO kernel_leases VALUES ('relay', 'somebody', now() - interval '1 minute')")
        report = await inspect_database(place.url, declared=[WIDGETS])
        assert {(each.code, each.where, each.is_wrong) for each in report.findings} == {
            ("failed-index", "ux_widgets_name", True), ("lease-of-the-dead", "relay", False),
        }  # fmt: skip
        await db.ensure_index("widgets", ["name"], unique=True)
        assert codes(await inspect_database(place.url, declared=[WIDGETS])) == []
        pooled = await inspect_database(f"{place.url}&pgbouncer=true", deep=True)
        assert codes(pooled) == []
        await place.close()
        await place.start_anew()


async def test_mysql_tells_of_engines_collations_views_and_settings(request: pytest.FixtureRequest) -> None:
    async with BACKENDS["mysql"]() as place:
        db = await made(place)
        await db.execute("CREATE TABLE [aside] ([id] VARCHAR(64) PRIMARY KEY) ENGINE = MyISAM")
        await db.execute("CREATE VIEW [of_aside] AS SELECT [id] FROM [aside]")
        await db.execute("CREATE TABLE [other] ([id] VARCHAR(64) PRIMARY KEY)")
        await db.execute("CREATE VIEW [of_other] AS SELECT [id] FROM [other]")
        await db.execute("DROP TABLE [other]")
        await db.execute("ALTER TABLE [widgets] MODIFY [name] VARCHAR(191) COLLATE utf8mb4_general_ci")
        report = await inspect_database(place.url)
    assert {(each.code, each.where) for each in report.findings if each.is_wrong} == {
        ("other-engine", "aside"), ("other-collation", "widgets"), ("broken-view", "of_other"),
    }  # fmt: skip


def test_settings_of_mysql_that_refuse_or_lose_writes_are_named() -> None:
    good = {"packet_bytes": 2**24, "binary_log": "ROW", "flush_at_commit": 1, "is_read_only": False}
    bad = {"packet_bytes": 2**20, "binary_log": "STATEMENT", "flush_at_commit": 2, "is_read_only": True}
    assert [rule(good) for rule in mysql.RULES] == [None] * 4
    found = [finding for rule in mysql.RULES if (finding := rule(bad)) is not None]
    assert [(each.code, each.is_wrong) for each in found] == [
        ("small-packet", True), ("binary-log", True), ("not-durable", False), ("read-only", True),
    ]  # fmt: skip


def test_another_encoding_of_postgres_is_wrong_and_a_standby_is_told() -> None:
    found = postgres._settings({"encoding": "SQL_ASCII", "is_standby": True})
    assert [(each.code, each.is_wrong) for each in found] == [("encoding", True), ("standby", False)]
    assert postgres._settings({"encoding": "UTF8", "is_standby": False}) == []
