"""A backup is one instant of a database in one file, of which every byte counts; it fits every kind of database."""

import asyncio
import stat
from pathlib import Path
from typing import Any

import apsw
import pytest

from app_kernel.core.errors import (
    BackupCorrupted,
    TargetNotEmpty,
    TransferError,
    TransferUnderWay,
    UncopiableTable,
)
from app_kernel.core.jobs import JOB_TOPIC
from app_kernel.db import connect, create_database
from app_kernel.db.transfer.backup_file import BackupReader
from app_kernel.db.transfer.filler import Options
from app_kernel.db.transfer.moves import backup_database, copy_sqlite_file, restore_database
from tests.db.transfer.places import ENGINES, everything, fill
from tests.faults.figures import figure


async def backup(url: str, path: Path, **options: Any) -> Any:
    return await backup_database(url, path, ENGINES, lambda step: None, **options)


async def restore(path: Path, url: str, **options: Any) -> Any:
    return await restore_database(path, url, ENGINES, Options(**options), lambda step: None)


@pytest.mark.acceptance("DB18")
@pytest.mark.parametrize(("source", "target"), [("sqlite", "mysql"), ("mysql", "postgres"), ("postgres", "sqlite")])
async def test_a_backup_of_one_database_fills_another(place, tmp_path, source, target):
    before, after, file = await place(source), await place(target), tmp_path / "app.akb"
    await fill(before)
    written = await backup(before, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.stat().st_size == written.bytes
    result = await restore(file, after)
    assert await everything(after) == await everything(before)
    assert {each.name: each.hash for each in result.tables if each.rows}.items() <= {
        each.name: each.hash for each in written.tables
    }.items()
    async with connect(after) as db:
        assert (await db.save_entity("notes", {"title": "later"}))["id"] == 6
    assert list(tmp_path.glob(".*")) == []


async def test_a_restored_database_is_equal_to_the_byte_where_both_are_sqlite(place, tmp_path):
    before, after, file = await place("sqlite"), await place("sqlite"), tmp_path / "app.akb"
    await fill(before)
    await backup(before, file)
    result = await restore(file, after)
    assert result.left_out == []
    assert await everything(after) == await everything(before)
    # A backup of what was restored holds the same.
    again = await backup(after, tmp_path / "again.akb")
    assert {each.name: each.hash for each in again.tables} == {each.name: each.hash for each in result.tables}


async def test_a_backup_is_never_written_over_unless_that_is_asked_for(place, tmp_path):
    source, file = await place("sqlite"), tmp_path / "app.akb"
    await fill(source)
    file.write_text("precious")
    with pytest.raises(TransferError, match="exists already"):
        await backup(source, file)
    assert file.read_text() == "precious"
    await backup(source, file, force=True)
    assert len(BackupReader(file).check()) == 64
    with pytest.raises(TransferError, match="cannot be written"):
        await backup(source, tmp_path / "nowhere" / "app.akb")
    assert sorted(each.name for each in tmp_path.iterdir() if each.name.endswith((".akb", ".part"))) == ["app.akb"]


async def test_no_byte_can_be_changed_and_no_end_cut_off_without_notice(place, tmp_path):
    source, file = await place("sqlite"), tmp_path / "app.akb"
    async with connect(source) as db:
        await db.save_entities("things", [{"id": f"t{n}", "n": n} for n in range(30)])
    await backup(source, file)
    whole = file.read_bytes()
    damaged = tmp_path / "damaged.akb"
    # Every byte in the long run; in the short one all of the beginning and the end, and some between.
    step = figure(short=41, long=1)
    places = sorted({*range(60), *range(0, len(whole), step), *range(len(whole) - 60, len(whole))})
    for at in places:
        damaged.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << (at % 8))]) + whole[at + 1 :])
        with pytest.raises(BackupCorrupted):
            BackupReader(damaged).check()
        damaged.write_bytes(whole[:at])
        with pytest.raises(BackupCorrupted):
            BackupReader(damaged).check()
    damaged.write_bytes(whole + b"x")
    with pytest.raises(BackupCorrupted):
        BackupReader(damaged).check()
    damaged.write_bytes(whole + whole[17:])
    with pytest.raises(BackupCorrupted):
        BackupReader(damaged).check()
    # Two frames that changed places are each whole.
    frames = _frames(whole)
    assert len(frames) > 8
    swapped = [*frames[:3], frames[4], frames[3], *frames[5:]]
    damaged.write_bytes(whole[:17] + b"".join(swapped))
    with pytest.raises(BackupCorrupted, match="checksum"):
        BackupReader(damaged).check()


def _frames(whole: bytes) -> list[bytes]:
    frames, at = [], 17
    while at < len(whole):
        length = 1 + 4 + int.from_bytes(whole[at + 1 : at + 5], "big") + 16
        frames.append(whole[at : at + length])
        at += length
    return frames


async def test_nothing_is_restored_from_a_damaged_file(place, tmp_path):
    source, target, file = await place("sqlite"), await place("sqlite"), tmp_path / "app.akb"
    await fill(source)
    await backup(source, file)
    whole = file.read_bytes()
    # In the last frame but one: whoever restored as he read would have restored all tables by then.
    at = len(whole) - len(_frames(whole)[-1]) - 30
    file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(BackupCorrupted, match="Nothing was restored"):
        await restore(file, target)
    async with connect(target) as db:
        assert await db.find_entities("people") == []
        await db.save_entity("people", {"id": "1"})
    for other in ("", "APPKERNELBACKUP1\n", "SQLite format 3"):
        file.write_text(other)
        with pytest.raises(BackupCorrupted):
            await restore(file, target)
    with pytest.raises(TransferError, match="cannot be read"):
        await restore(tmp_path / "nowhere.akb", target)


async def test_a_database_that_holds_anything_is_not_restored_into(place, tmp_path):
    source, target, file = await place("sqlite"), await place("postgres"), tmp_path / "app.akb"
    await fill(source)
    await backup(source, file)
    async with connect(target) as db:
        await db.save_entity("mine", {"id": "1"})
    with pytest.raises(TargetNotEmpty, match="it has mine"):
        await restore(file, target)


@pytest.mark.parametrize("backend", ["sqlite", "postgres", "mysql"])
async def test_a_restore_that_was_stopped_goes_on_and_nobody_opens_it_before(place, tmp_path, backend):
    source, target, file = await place("sqlite"), await place(backend), tmp_path / "app.akb"
    await fill(source)
    async with connect(source) as db:
        await db.save_entities("things", [{"id": f"t{n:04}", "n": n} for n in range(1000)])
    await backup(source, file)

    class Stopped(Exception):
        pass

    def stop(step):
        if (step.table, step.rows) == ("things", 750):
            raise Stopped

    with pytest.raises(Stopped):
        await restore_database(file, target, ENGINES, Options(), stop)
    with pytest.raises(TransferUnderWay):
        async with connect(target):
            pass
    other = tmp_path / "other.akb"
    await backup(source, other)
    with pytest.raises(TargetNotEmpty, match="unfinished restore of something else"):
        await restore(other, target)
    steps = []
    result = await restore_database(file, target, ENGINES, Options(), steps.append)
    assert result.resumed
    # It went on, and did not begin anew.
    assert next(step.rows for step in steps if (step.doing, step.table) == ("restore", "things")) > 750
    async with connect(target) as db:
        assert await db.count_entities("things") == 1000
        assert await db.count_entities("things_history") == 1000
    assert await everything(target) == await everything(source)


async def test_jobs_of_a_backup_become_messages_also_after_a_stop_at_the_end(place, tmp_path):
    source, target, file = await place("sqlite"), await place("mysql"), tmp_path / "app.akb"
    await fill(source)
    await backup(source, file)

    def stop(step):
        if step.doing == "verify" and step.is_done and step.table == "tags":
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        await restore_database(file, target, ENGINES, Options(), stop)
    assert (await restore(file, target)).jobs_left == 1
    database = create_database(target)
    await database.open()
    rows = await database.statements.fetch("SELECT [id] FROM [kernel_outbox] WHERE [topic] = ?", (JOB_TOPIC,))
    await database.close()
    assert sorted(row[0] for row in rows) == ["job0", "job9"]


async def test_a_number_that_mysql_would_round_is_refused_and_named(place, tmp_path):
    source, target, file = await place("sqlite"), await place("mysql"), tmp_path / "app.akb"
    async with connect(source) as db:
        await db.save_entity("things", {"id": "t", "n": 10**70})
    await backup(source, file)
    with pytest.raises(UncopiableTable, match=r"'things' \(id 't'\) .*more digits than MySQL keeps"):
        await restore(file, target)


@pytest.mark.acceptance("DB18")
async def test_a_backup_holds_a_prefix_of_what_was_acknowledged(place, tmp_path):
    source, target, file = await place("sqlite"), await place("sqlite"), tmp_path / "app.akb"
    async with connect(source) as db:
        await db.save_entities("old", [{"id": f"o{n:06}", "n": n} for n in range(figure(short=2000, long=200_000))])
        written = 0
        going, begun = True, asyncio.Event()

        async def write() -> None:
            nonlocal written
            while going:
                await db.save_entity("ledger", {"id": f"l{written:08}", "n": written})
                written += 1
                if written == 20:
                    begun.set()

        writer = asyncio.create_task(write())
        await begun.wait()
        before = written
        await backup(source, file)
        after, going = written, False
        await writer
    await restore(file, target)
    async with connect(target) as db:
        found = [each["n"] for each in await db.find_entities("ledger", order_by="id")]
        history = await db.count_entities("ledger_history")
    assert found == list(range(len(found)))
    assert before <= len(found) <= after + 1
    assert history == len(found)


async def test_a_plain_backup_is_a_database_file_that_any_tool_opens(place, tmp_path):
    source, file = await place("sqlite"), tmp_path / "copy.db"
    await fill(source)
    async with connect(source) as db:
        size = await copy_sqlite_file(source, file)
        await db.save_entity("people", {"id": "later"})
    assert file.stat().st_size == size
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(("copy", ".copy"))] == ["copy.db"]
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT count(*) FROM people").fetchall() == [(21,)]
    connection.close()
    with pytest.raises(TransferError, match="exists already"):
        await copy_sqlite_file(source, file)
    await copy_sqlite_file(source, file, force=True)
    async with connect(f"sqlite:///{file}") as db:
        assert await db.get_entity("people", "later") is not None


async def test_only_sqlite_is_a_plain_file(place, tmp_path):
    source = await place("postgres")
    await fill(source)
    with pytest.raises(TransferError, match="leave out --plain"):
        await copy_sqlite_file(source, tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []
