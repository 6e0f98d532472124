"""Copying one database into another: in rounds, each from a snapshot, until both hold the same.

The first round copies; every later one, and one that goes on after a stop, makes the target equal to what the source
has by then. The end is a look at all rows of both sides, and in one commit with it the mark goes that kept services
out.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from app_kernel.core import clock
from app_kernel.core.engine_tables import EngineTables
from app_kernel.core.errors import NotEqual, TransferError
from app_kernel.db.drivers.base import Driver, Snapshot, SnapshotLost
from app_kernel.db.transfer.differences import Comparison, digest
from app_kernel.db.transfer.filler import Filler, Options
from app_kernel.db.transfer.filling import Report, fill
from app_kernel.db.transfer.inventory import ReadTable, read_inventory
from app_kernel.db.transfer.marks import Mark, refuse_transfer
from app_kernel.db.transfer.reading import TableReader
from app_kernel.db.transfer.shapes import Inventory, LeftOut
from app_kernel.db.transfer.wire import Digest
from app_kernel.db.transfer.words import words_for

R = TypeVar("R")

TRIES = 5
"""Rounds that are begun anew because a table was rewritten meanwhile, and looks until both sides hold the same."""


@dataclass(slots=True)
class TableResult:
    """One table that both sides hold."""

    name: str
    role: str
    rows: int
    hash: str


@dataclass(slots=True)
class Round:
    """What one round did."""

    seconds: float = 0.0
    copied: int = 0
    """Rows that were copied for the first time."""
    changed: int = 0
    """Rows that had changed since the round before."""


@dataclass(slots=True)
class Result:
    """What a transfer came to."""

    tables: list[TableResult] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    jobs_left: int = 0
    """Finished jobs, which stay behind where jobs become messages."""
    resumed: bool = False


class Copy:
    """A copy under way; both databases are open, and stay so."""

    def __init__(
        self, source: Driver, target: Driver, engines: Sequence[EngineTables], options: Options, report: Report
    ) -> None:
        self.result = Result()
        self._source = source
        self._engines = engines
        self._options = options
        self._report = report
        self._filler = Filler(target, engines, options, report)
        self._digests: dict[str, Digest] = {}
        """Of tables that were copied whole out of the latest snapshot."""

    async def begin(self, source_name: str) -> None:
        """Takes the target; raises TargetNotEmpty unless it is empty, or this copy was stopped in it."""
        await refuse_transfer(self._source)
        mark = Mark("copy", source_name, str(self._options))
        self.result.resumed = await self._filler.target.begin(mark, start_over=self._options.start_over)

    async def round(self) -> Round:
        """Makes the target hold what the source holds now, as far as keys and versions tell."""
        return await self._with_snapshot(self._round)

    async def finish(self) -> Result:
        """The last round, a look at every row on both sides, and the end: a service may open the target from now on.

        Raises NotEqual where something stays different, UncopiableTable for what the target cannot hold.
        """
        await self._with_snapshot(self._last_round)
        return self.result

    async def _with_snapshot(self, work: Callable[[Snapshot], Awaitable[R]]) -> R:
        for _ in range(TRIES):
            try:
                async with self._source.snapshot() as snapshot:
                    return await work(snapshot)
            except SnapshotLost:
                continue
        raise TransferError(
            "A table of the source was rewritten again and again, because a field got another type. What is copied"
            " stays: run the command again."
        )

    async def _round(self, snapshot: Snapshot) -> Round:
        began = clock.monotonic()
        done = Round()
        inventory, tables = await self._arranged(snapshot)
        target = self._filler.target
        self._digests = {}
        filled = []
        for name, read in tables.items():
            progress = target.progress[name]
            if not progress.done:
                filled.append(name)
                found = await fill(TableReader(snapshot, read), target, self._report)
                done.copied += found.rows - progress.rows
                if progress.pages == 0:
                    self._digests[name] = found
        if filled:
            self.result.left_out = await self._filler.make_indexes(inventory)
            await target.analyze(filled)
        for name, read in tables.items():
            if name not in self._digests:
                done.changed += (await (await self._comparison(snapshot, read)).settle(quick=True)).changed
        done.seconds = clock.monotonic() - began
        return done

    async def _last_round(self, snapshot: Snapshot) -> None:
        await self._round(snapshot)
        inventory, tables = await self._arranged(snapshot)
        self.result.tables = [
            TableResult(name, read.shape.role, found.rows, found.text)
            for name, read in tables.items()
            for found in [await self._verified(snapshot, read)]
        ]
        self.result.left_out = await self._filler.make_indexes(inventory)
        for name, read in tables.items():
            if read.shape.assigned is not None:
                words = words_for(snapshot.dialect)
                rows = await snapshot.fetch(*words.last_number(name, read.shape.assigned))
                await self._filler.target.go_on_after(read.shape, int(rows[0][0] or 0) if rows else 0)
        self.result.jobs_left = await self._let_jobs_leave(snapshot)
        await self._filler.finish(inventory)

    async def _arranged(self, snapshot: Snapshot) -> tuple[Inventory, dict[str, ReadTable]]:
        """What the source has, and the target has tables for by now."""
        engines = {name for engine in self._engines for name in engine.names}
        inventory, tables = await read_inventory(snapshot, engines, self._options.skip)
        leaving = self._filler.leaving
        inventory = replace(inventory, tables=tuple(each for each in inventory.tables if each.name not in leaving))
        await self._filler.target.arrange(inventory)
        return inventory, {name: read for name, read in tables.items() if name not in leaving}

    async def _comparison(self, snapshot: Snapshot, read: ReadTable) -> Comparison:
        found = await self._filler.reader(read.shape.name)
        return Comparison(TableReader(snapshot, read), found, self._filler.target, self._report)

    async def _verified(self, snapshot: Snapshot, read: ReadTable) -> Digest:
        """The digest that a table has on both sides; raises NotEqual."""
        name = read.shape.name
        known = self._digests.get(name)
        if known is not None:
            there = await digest(await self._filler.reader(name), self._report)
            if (there.rows, there.text) == (known.rows, known.text):
                return known
        comparison = await self._comparison(snapshot, read)
        for _ in range(TRIES):
            difference = await comparison.settle(quick=False)
            source, found = difference.source, difference.target
            if source is None or found is None:
                raise AssertionError("a whole look knows both digests")
            if not difference.changed and (found.rows, found.text) == (source.rows, source.text):
                return source
        raise NotEqual(
            f"The table {name!r} does not hold the same in both databases, although all of it was copied. Is somebody"
            " writing to the target?"
        )

    async def _let_jobs_leave(self, snapshot: Snapshot) -> int:
        """Unfinished jobs become messages for the service that opens the target; how many others stay behind."""
        left = 0
        have = {str(row[0]) for row in await snapshot.fetch(*words_for(snapshot.dialect).list_tables())}
        for name, leave in self._filler.leaving.items():
            if name not in have:
                continue
            _, tables = await read_inventory(snapshot, self._filler.leaving, ())
            reader = TableReader(snapshot, tables[name])
            async for page in reader.pages():
                rows = [leave(dict(zip(reader.shape.names, row, strict=True))) for row in page.rows]
                messages = [each for each in rows if each is not None]
                left += len(rows) - len(messages)
                await self._filler.send(messages)
        return left
