"""A full disk, a failing disk, a read-only one, a lock that somebody else holds: a clear 503, and then it goes on."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app_kernel.core.errors import DatabaseBusy, StorageFull, StoreError
from app_kernel.db.database import Database, connect
from app_kernel.db.drivers.base import Work
from app_kernel.db.drivers.sqlite import SqliteDriver
from app_kernel.db.store import Store
from tests.faults.children import Child
from tests.faults.invariants import assert_sound
from tests.faults.ledger import assert_kept, record
from tests.faults.strace import require_strace, traced

PAGE = "x" * 3000


async def limit_pages(db: Store, pages: int) -> None:
    """How large the file may get, set where it counts: on the connection that writes."""

    def work() -> Work[None]:
        yield (f"PRAGMA max_page_count = {pages}", ())

    await db._driver.write(work, db._driver.generation, "notes")


async def fill(db: Store, start: int = 0) -> int:
    """Saves until there is no room; gives how many were acknowledged."""
    for number in range(start, start + 2000):
        try:
            await db.save_entity("items", {"id": f"row-{number}", "text": PAGE, "number": number})
        except StorageFull:
            return number - start
    raise AssertionError("the storage never got full")


@pytest.mark.acceptance("DB10")
async def test_a_full_database_refuses_writes_keeps_what_it_has_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with connect(f"sqlite:///{path}") as db:
        await db.save_entity("items", {"id": "first", "text": PAGE, "number": -1})
        await limit_pages(db, 300)
        saved = await fill(db)
        assert StorageFull.status == 503
        assert saved > 50
        rows = await db.find_entities("items", "[number] >= 0", order_by="number")
        assert [row["number"] for row in rows] == list(range(saved))
        assert all(row["text"] == PAGE for row in rows)
        with pytest.raises(StorageFull):
            await db.save_entity("items", {"id": "first", "new_field": PAGE * 10})
        await limit_pages(db, 1000000)
        assert (await db.save_entity("items", {"id": "first", "new_field": PAGE * 10}))["_version"] == 2
    assert_sound(path, "items")


@pytest.mark.acceptance("DB10")
async def test_in_a_transaction_that_fills_the_storage_the_saves_that_fit_are_kept_if_the_caller_goes_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "app.db"
    async with connect(f"sqlite:///{path}") as db:
        await db.save_entity("items", {"id": "first", "text": PAGE, "number": -1})
        await limit_pages(db, 120)
        acked = ["first"]
        async with db.transaction():
            for number in range(100, 300):
                try:
                    acked.append((await db.save_entity("items", {"id": f"row-{number}", "text": PAGE}))["id"])
                except StorageFull:
                    continue
        assert 10 < len(acked) < 200
        assert [row["id"] for row in await db.find_entities("items")] == acked
        with pytest.raises(StorageFull):
            async with db.transaction():
                await db.delete_entity("items", "first")
                await db.save_entity("items", {"text": PAGE * 20})
        assert (await db.get_entity("items", "first"))["number"] == -1
        await limit_pages(db, 1000000)
        async with db.transaction():
            await db.save_entity("items", {"id": "second", "text": PAGE})
    assert_sound(path, "items")


@pytest.mark.acceptance("DB10")
async def test_of_saves_that_commit_together_those_that_fit_are_kept_when_the_storage_gets_full(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with connect(f"sqlite:///{path}") as db:
        await db.save_entity("items", {"id": "first", "text": PAGE})
        await limit_pages(db, 120)
        saves = [db.save_entity("items", {"id": f"row-{number}", "text": PAGE}) for number in range(200)]
        outcomes = await asyncio.gather(*saves, return_exceptions=True)
        acked = {row["id"] for row in outcomes if isinstance(row, dict)}
        refused = [type(exc) for exc in outcomes if isinstance(exc, BaseException)]
        assert 10 < len(acked) < 190
        assert set(refused) == {StorageFull}
        assert {row["id"] for row in await db.find_entities("items")} == acked | {"first"}
    assert_sound(path, "items")


SAVES = 120
FAULTS = [
    pytest.param("pwrite64:error=ENOSPC:when=90..150", "StorageFull", id="no space"),
    pytest.param("pwrite64:error=EIO:when=90..120", "Unavailable", id="writes fail"),
    pytest.param("fdatasync:error=EIO:when=14..22", "Unavailable", id="syncs fail"),
    pytest.param("fdatasync:error=ENOSPC:when=14..22", "Unavailable", id="syncs find no space"),
]


@pytest.mark.acceptance("DB10")
@pytest.mark.parametrize(("inject", "error"), FAULTS)
async def test_a_disk_that_fails_for_a_while_costs_refused_saves_only(tmp_path: Path, inject: str, error: str) -> None:
    """120 saves while system calls of the writer fail for a stretch: refused meanwhile, and no restart afterwards."""
    require_strace()
    path = tmp_path / "app.db"
    call = inject.partition(":")[0]
    said: list[dict[str, Any]] = []

    def watched(child: Child) -> Iterator[dict[str, Any]]:
        for line in child.lines():
            said.append(line)
            yield line

    with traced("failing_writer", path, SAVES, log=tmp_path / "strace.log", calls=[call], inject=inject) as child:
        ledger = record(tmp_path / "ledger.jsonl", watched(child))
        assert child.wait() == 0, child.errors()
    refused = [line for line in said if "error" in line]
    assert refused, "no call failed"
    assert {(line["error"], line["status"]) for line in refused} == {(error, 503)}
    assert all(str(tmp_path) not in line["message"] for line in refused)
    assert len(ledger.acks) + len(refused) == len(ledger.intents) == SAVES + 1
    assert max(line["number"] for line in refused) < SAVES - 1, "it did not recover"
    async with connect(f"sqlite:///{path}") as db:
        assert await assert_kept(db, ledger, "f") == len(ledger.acks)
        marks = {row["_comment"] for row in await db.find_entities("items_history")}
    assert marks == ledger.acks.keys(), "a refused save happened all the same"
    assert_sound(path, "items")


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that other users can reach: pytest's own belong to the user who runs it."""
    directory = Path(tempfile.mkdtemp(prefix="app-kernel-faults-"))
    directory.chmod(0o755)
    yield directory
    directory.chmod(0o755)
    shutil.rmtree(directory)


def _change_modes(path: Path, file_mode: int, directory_mode: int) -> None:
    path.chmod(file_mode)
    path.parent.chmod(directory_mode)


READ_ONLY = [
    pytest.param(0o444, 0o555, id="file and directory"),
    pytest.param(0o444, 0o777, id="file"),
    pytest.param(0o666, 0o555, id="directory"),
]


@pytest.mark.acceptance("DB10")
@pytest.mark.parametrize(("file_mode", "directory_mode"), READ_ONLY)
async def test_a_read_only_database_says_so_in_a_sentence(
    public_directory: Path, file_mode: int, directory_mode: int
) -> None:
    path = public_directory / "app.db"
    async with connect(f"sqlite:///{path}") as db:
        await db.save_entity("items", {"id": "a", "name": "kept"})
    _change_modes(path, file_mode, directory_mode)
    with Child("readonly_opener", path) as child:
        said = list(child.lines())
        assert child.wait() == 0, child.errors()
    errors = [line for line in said if "error" in line]
    assert [(line["error"], line["status"]) for line in errors] == [("StorageReadOnly", 503)], said
    assert not any("saved" in line for line in said)
    _change_modes(path, 0o644, 0o755)
    async with connect(f"sqlite:///{path}") as db:
        assert (await db.save_entity("items", {"id": "a", "name": "changed"}))["_version"] == 2
    assert_sound(path, "items")


@pytest.mark.acceptance("DB10")
@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
async def test_a_lock_that_another_process_holds_ends_in_database_busy_while_reads_go_on(
    tmp_path: Path, statement: str
) -> None:
    """Busy timeout 0.4 s; 300 saves wait together, not one after the other; when the lock is gone, they succeed."""
    path = tmp_path / "app.db"
    database = Database(SqliteDriver(str(path), busy_seconds=0.4))
    await database.open()
    db = database.connection()
    await db.save_entity("items", {"id": "a", "name": "first"})
    with Child("lock_holder", path, statement) as holder:
        await asyncio.to_thread(holder.expect, "held")
        began = time.monotonic()
        saves = [asyncio.create_task(db.save_entity("items", {"id": "a", "name": f"n{n}"})) for n in range(300)]
        slowest = await _slowest_read(db, until=asyncio.gather(*saves, return_exceptions=True))
        took = time.monotonic() - began
        assert {type(task.exception()) for task in saves} == {DatabaseBusy}
        assert 0.4 <= took < 5
        assert slowest < 0.2, "a read waited for the writer"
        waiting = asyncio.create_task(db.save_entity("items", {"id": "a", "name": "patient"}))
        await asyncio.sleep(0)
        holder.tell("release")
        await asyncio.to_thread(holder.expect, "released")
        assert (await waiting)["name"] == "patient"
    await database.close()
    assert_sound(path, "items")


@pytest.mark.acceptance("DB10")
async def test_opening_a_file_that_another_process_keeps_for_itself_is_database_busy(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with connect(f"sqlite:///{path}") as db:
        await db.save_entity("items", {"id": "a", "name": "first"})
    with Child("lock_holder", path, "PRAGMA locking_mode = EXCLUSIVE") as holder:
        await asyncio.to_thread(holder.expect, "held")
        database = Database(SqliteDriver(str(path), busy_seconds=0.3))
        with pytest.raises(DatabaseBusy):
            await database.open()
        await database.close()
        holder.tell("release")
        await asyncio.to_thread(holder.expect, "released")
    again = Database(SqliteDriver(str(path), busy_seconds=0.3))
    await again.open()
    assert await again.connection().count_entities("items") == 1
    await again.close()


async def _slowest_read(db: Store, *, until: "asyncio.Future[Any]") -> float:
    """Reads until that is done; gives the longest time that one read took."""
    slowest = 0.0
    while not until.done():
        began = time.perf_counter()
        row = await db.get_entity("items", "a")
        assert row is not None
        slowest = max(slowest, time.perf_counter() - began)
        await asyncio.sleep(0)
    assert all(not isinstance(error, BaseException) or isinstance(error, StoreError) for error in until.result())
    return slowest
