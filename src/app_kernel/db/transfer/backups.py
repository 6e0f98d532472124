"""Backing up a database into one file while others write to it, and restoring such a file into an empty database."""

import asyncio
from collections.abc import AsyncIterator, Generator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as installed_version
from pathlib import Path

import orjson

from app_kernel.core import clock
from app_kernel.core.engine_tables import EngineTables
from app_kernel.core.errors import BackupCorrupted, NotEqual, TransferError
from app_kernel.db.drivers.base import Driver, Snapshot, SnapshotLost
from app_kernel.db.transfer.backup_file import (
    FORMAT,
    HEADER,
    ROWS,
    TABLE,
    TABLE_END,
    BackupReader,
    BackupWriter,
)
from app_kernel.db.transfer.copying import TRIES, Result, TableResult
from app_kernel.db.transfer.differences import digest
from app_kernel.db.transfer.filler import Filler, Options
from app_kernel.db.transfer.filling import Report, Step, ahead, digest_of
from app_kernel.db.transfer.inventory import OUTBOX_TABLE, ReadTable, read_inventory
from app_kernel.db.transfer.marks import Mark, Progress, refuse_transfer
from app_kernel.db.transfer.reading import TableReader
from app_kernel.db.transfer.shapes import Inventory, TableShape, inventory_from_json
from app_kernel.db.transfer.wire import WireRow, pack, unpack
from app_kernel.db.transfer.words import words_for


@dataclass(frozen=True, slots=True)
class Backup:
    """A file that is whole."""

    path: Path
    bytes: int
    taken_at: str
    tables: tuple[TableResult, ...]


@dataclass(frozen=True, slots=True)
class _Page:
    """Rows of one table out of a file; the last has none, and says how many there were, and their digest."""

    table: str
    rows: list[WireRow]
    told: tuple[int, str] | None = None


async def write_backup(
    source: Driver,
    path: Path,
    engines: Sequence[EngineTables],
    report: Report,
    *,
    force: bool = False,
    skip: Sequence[str] = (),
) -> Backup:
    """Writes all of a database as of this instant into a file; others may write to the database meanwhile.

    Raises TransferError where the file cannot be written or exists already, unless `force` replaces it.
    """
    await refuse_transfer(source)
    for _ in range(TRIES):
        try:
            with BackupWriter(path, force=force) as writer:
                async with source.snapshot() as snapshot:
                    taken_at, tables = await _write(snapshot, writer, engines, report, skip)
            return Backup(path, writer.bytes, taken_at, tuple(tables))
        except SnapshotLost:
            continue
    raise TransferError("A table was rewritten again and again, because a field got another type; try again later.")


async def _write(
    snapshot: Snapshot, writer: BackupWriter, engines: Sequence[EngineTables], report: Report, skip: Sequence[str]
) -> tuple[str, list[TableResult]]:
    taken_at = clock.timestamp()
    names = {name for engine in engines for name in engine.names}
    inventory, found = await read_inventory(snapshot, names, skip)
    header = {
        "format": FORMAT,
        "app_kernel": installed_version("app-kernel"),
        "taken_at": taken_at,
        "numbers": await _numbers(snapshot, found),
        "inventory": inventory.to_json(),
    }
    await asyncio.to_thread(writer.add, HEADER, orjson.dumps(header))
    results = []
    for name, read in found.items():
        writer.add(TABLE, name.encode())
        counted = digest_of(read.shape)
        async for page in ahead(TableReader(snapshot, read).pages()):
            counted.add(page.rows)
            # Compressing lets other threads run.
            await asyncio.to_thread(writer.add, ROWS, pack(page.rows))
            report(Step("back up", name, counted.rows))
        writer.add(TABLE_END, orjson.dumps({"rows": counted.rows, "hash": counted.text}))
        report(Step("back up", name, counted.rows, is_done=True))
        results.append(TableResult(name, read.shape.role, counted.rows, counted.text))
    return taken_at, results


async def _numbers(snapshot: Snapshot, found: dict[str, ReadTable]) -> dict[str, int]:
    """The highest number that each table has given out, so that a restored one gives out none again."""
    words = words_for(snapshot.dialect)
    numbers = {}
    for name, read in found.items():
        if read.shape.assigned is not None:
            rows = await snapshot.fetch(*words.last_number(name, read.shape.assigned))
            numbers[name] = int(rows[0][0] or 0) if rows else 0
    return numbers


async def restore_backup(
    path: Path, target: Driver, engines: Sequence[EngineTables], options: Options, report: Report
) -> Result:
    """Fills an empty database from a file, which is checked whole before anything is written.

    A restore that was stopped goes on with the same file. Raises BackupCorrupted, TargetNotEmpty, UncopiableTable for
    what the target cannot hold, and NotEqual should it not hold afterwards what the file has.
    """
    reader = BackupReader(path)
    checksum = await asyncio.to_thread(reader.check)
    header = reader.header()
    try:
        inventory = inventory_from_json(header["inventory"])
        numbers: dict[str, int] = {str(name): int(number) for name, number in header["numbers"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise BackupCorrupted(f"{path} does not tell what it holds. Nothing was restored from it.") from exc
    restore = _Restore(Filler(target, engines, options, report), inventory, report)
    resumed = await restore.filler.target.begin(Mark("restore", checksum, str(options)), start_over=options.start_over)
    return await restore.run(reader, options.skip, numbers, resumed=resumed)


class _Restore:
    """A restore under way."""

    def __init__(self, filler: Filler, inventory: Inventory, report: Report) -> None:
        self.filler = filler
        self._inventory = inventory
        self._report = report
        self._result = Result()

    async def run(self, reader: BackupReader, skip: Sequence[str], numbers: dict[str, int], *, resumed: bool) -> Result:
        self._result.resumed = resumed
        target = self.filler.target
        leaving = self.filler.leaving
        kept = tuple(each for each in self._inventory.tables if each.name not in leaving and each.name not in skip)
        inventory = replace(self._inventory, tables=kept)
        shapes = {each.name: each for each in self._inventory.tables}
        await target.arrange(inventory)
        if resumed and leaving:
            # Jobs may have been put there already, just before the stop.
            await target.empty(OUTBOX_TABLE)
        await self._fill(reader, {each.name for each in kept})
        self._result.left_out = await self.filler.make_indexes(inventory)
        await target.analyze([each.name for each in kept])
        for shape in kept:
            await self._verify(shape)
            await target.go_on_after(shape, numbers.get(shape.name, 0))
        await self._let_jobs_leave(reader, shapes)
        await self.filler.finish(inventory)
        return self._result

    async def _fill(self, reader: BackupReader, wanted: set[str]) -> None:
        target = self.filler.target
        seen: dict[str, int] = {}
        async for page in _pages(reader, wanted):
            progress = target.progress[page.table]
            if page.told is not None:
                if (progress.rows, digest_of(target.shapes[page.table], progress).text) != page.told:
                    raise BackupCorrupted(f"The table {page.table!r} of the backup is not what it says it is.")
                await target.set_progress(page.table, replace(progress, done=True))
                self._report(Step("restore", page.table, progress.rows, is_done=True))
                continue
            seen[page.table] = seen.get(page.table, 0) + 1
            if seen[page.table] <= progress.pages:
                continue  # It is there since before a stop.
            counted = digest_of(target.shapes[page.table], progress)
            counted.add(page.rows)
            done = Progress(None, progress.pages + 1, counted.rows, counted.sum)
            await target.add(page.table, page.rows, done)
            self._report(Step("restore", page.table, counted.rows))

    async def _verify(self, shape: TableShape) -> None:
        known = digest_of(shape, self.filler.target.progress[shape.name])
        found = await digest(await self.filler.reader(shape.name), self._report)
        if (found.rows, found.text) != (known.rows, known.text):
            raise NotEqual(f"The table {shape.name!r} does not hold what the backup has. Is somebody writing to it?")
        self._result.tables.append(TableResult(shape.name, shape.role, found.rows, found.text))

    async def _let_jobs_leave(self, reader: BackupReader, shapes: dict[str, TableShape]) -> None:
        async for page in _pages(reader, set(self.filler.leaving)):
            leave, names = self.filler.leaving[page.table], shapes[page.table].names
            found = [leave(dict(zip(names, row, strict=True))) for row in page.rows]
            messages = [each for each in found if each is not None]
            self._result.jobs_left += len(found) - len(messages)
            await self.filler.send(messages)


async def _pages(reader: BackupReader, wanted: set[str]) -> AsyncIterator[_Page]:
    """The pages of some tables, each read and unpacked in a thread while the one before it is written."""
    pages = _read_pages(reader, wanted)
    following = asyncio.create_task(asyncio.to_thread(next, pages, None))
    try:
        while (page := await following) is not None:
            following = asyncio.create_task(asyncio.to_thread(next, pages, None))
            yield page
    finally:
        # The thread is inside the file; it must be out of it before the file is closed.
        await asyncio.gather(following, return_exceptions=True)
        pages.close()


def _read_pages(reader: BackupReader, wanted: set[str]) -> Generator[_Page, None, None]:
    table = ""
    for kind, payload in reader.frames():
        if kind == TABLE:
            table = payload.decode()
        elif table not in wanted:
            continue
        elif kind == ROWS:
            yield _Page(table, unpack(payload))
        elif kind == TABLE_END:
            told = orjson.loads(payload)
            yield _Page(table, [], (int(told["rows"]), str(told["hash"])))
