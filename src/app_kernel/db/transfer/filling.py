"""Rows of a table on their way into another database: one reads ahead while the other one writes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from app_kernel.db.transfer.marks import Progress
from app_kernel.db.transfer.reading import Page, TableReader
from app_kernel.db.transfer.shapes import TableShape
from app_kernel.db.transfer.target import Target
from app_kernel.db.transfer.wire import Digest

AHEAD = 2
"""Pages that are read before the one in front of them is written."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a transfer does just now, for whoever watches it."""

    doing: str
    """`copy`, `compare`, `verify`, `back up`, `restore`, `index`."""
    table: str
    rows: int
    """Rows of the table that are done."""
    is_done: bool = False


Report = Callable[[Step], None]


async def ahead(pages: AsyncIterator[Page]) -> AsyncIterator[Page]:
    """The same pages, read ahead by a task of its own."""
    queue: asyncio.Queue[Page | BaseException | None] = asyncio.Queue(AHEAD)

    async def read() -> None:
        try:
            async for page in pages:
                await queue.put(page)
        except Exception as exc:  # noqa: BLE001 - whoever waits for the page raises it
            await queue.put(exc)
        else:
            await queue.put(None)

    task = asyncio.create_task(read())
    try:
        while (found := await queue.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def fill(reader: TableReader, target: Target, report: Report) -> Digest:
    """Copies what a table has beyond its progress; the digest of all rows that were ever copied into it."""
    shape = reader.shape
    if not shape.key and target.progress[shape.name].pages:
        # Where it stopped is not found again without a key, so it begins anew.
        await target.empty(shape.name)
    progress = target.progress[shape.name]
    digest = digest_of(shape, progress)
    pages = reader.pages(progress.last)
    async for page in ahead(pages):
        digest.add(page.rows)
        last = reader.key_of(page.rows[-1]) if shape.key else None
        progress = Progress(last, progress.pages + 1, digest.rows, digest.sum)
        await target.add(shape.name, page.rows, progress)
        report(Step("copy", shape.name, digest.rows))
    await target.set_progress(shape.name, replace(progress, done=True))
    report(Step("copy", shape.name, digest.rows, is_done=True))
    return digest


def digest_of(shape: TableShape, progress: Progress | None = None) -> Digest:
    """The digest of what a table has so far; without `progress`, of no rows."""
    kinds = [each.kind for each in shape.fields]
    return Digest(kinds) if progress is None else Digest(kinds, sum=progress.sum, rows=progress.rows)
