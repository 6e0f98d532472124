"""Making a table of the target equal to the source's: what differs is removed first, then written anew.

So no two rows ever stand in each other's way, whatever must be unique. Both sides are read in the order of the key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app_kernel.db.transfer.filling import Report, Step, digest_of
from app_kernel.db.transfer.reading import KEYS_AT_ONCE, Key, TableReader
from app_kernel.db.transfer.shapes import Role, TableShape
from app_kernel.db.transfer.target import Target
from app_kernel.db.transfer.wire import Digest, WireRow

REMEMBERED = 100_000
"""Keys of rows to write that are kept in memory; where there are more, both sides are read once more."""
_VERSION_COLUMNS = ("id", "_version", "updated_at")
_HISTORY_COLUMNS = ("id", "_version")


@dataclass(slots=True)
class Difference:
    """What one pass over a table found, and put right."""

    changed: int = 0
    """Rows that were written anew or removed."""
    source: Digest | None = None
    """Of all rows of the source, where all of them were read."""
    target: Digest | None = None
    """Of all rows of the target, as they were before."""


class Comparison:
    """One table on both sides."""

    def __init__(self, source: TableReader, found: TableReader, target: Target, report: Report) -> None:
        self.shape: TableShape = source.shape
        self._source = source
        self._found = found
        self._target = target
        self._report = report
        self._told = digest_of(source.shape)

    async def settle(self, *, quick: bool) -> Difference:
        """Makes the target's table equal. With `quick`, rows are told apart by key, version and time alone."""
        columns = _quick_columns(self.shape) if quick else None
        if not self.shape.key:
            return await self._settle_without_key()
        difference, keys = await self._remove(columns)
        if keys is None:
            # Nothing that differs is there any more, so whatever is missing now is to be written.
            await self._write_missing(columns)
        else:
            for at in range(0, len(keys), KEYS_AT_ONCE):
                rows = await self._source.among(keys[at : at + KEYS_AT_ONCE])
                await self._target.add(self.shape.name, rows)
        return difference

    async def _remove(self, columns: Sequence[str] | None) -> tuple[Difference, list[Key] | None]:
        """Removes what is not the same; the keys of what is to be written, None where these are too many."""
        difference = Difference()
        if columns is None:
            difference = Difference(0, digest_of(self.shape), digest_of(self.shape))
        keys: list[Key] | None = []
        after: Key | None = None
        seen = 0
        while True:
            page = await self._source.page(after, columns=columns)
            theirs = await self._found.between(after, page.last, columns=columns)
            if difference.source is not None and difference.target is not None:
                difference.source.add(page.rows)
                difference.target.add(theirs)
            wanted, there = self._by_key(page.rows, columns), self._by_key(theirs, columns)
            gone = [key for key, row in there.items() if not self._is_same(wanted.get(key), row)]
            new = [key for key, row in wanted.items() if not self._is_same(row, there.get(key))]
            difference.changed += len(set(gone) | set(new))
            for at in range(0, len(gone), KEYS_AT_ONCE):
                await self._target.write([self._found.delete_among(gone[at : at + KEYS_AT_ONCE])])
            if keys is not None:
                keys = [*keys, *new] if len(keys) + len(new) <= REMEMBERED else None
            seen += len(page.rows)
            self._report(Step("compare", self.shape.name, seen, is_done=page.last is None))
            if page.last is None:
                return difference, keys
            after = page.last

    async def _write_missing(self, columns: Sequence[str] | None) -> None:
        after: Key | None = None
        while True:
            page = await self._source.page(after, columns=columns)
            there = self._by_key(await self._found.between(after, page.last, columns=columns), columns)
            missing = [key for key in self._by_key(page.rows, columns) if key not in there]
            for at in range(0, len(missing), KEYS_AT_ONCE):
                rows = await self._source.among(missing[at : at + KEYS_AT_ONCE])
                await self._target.add(self.shape.name, rows)
            if page.last is None:
                return
            after = page.last

    async def _settle_without_key(self) -> Difference:
        """Compares the digests of both sides, and copies the table anew where these differ."""
        difference = Difference(0, await digest(self._source, self._report), await digest(self._found, self._report))
        if difference.source is not None and difference.target is not None:
            if difference.source.text == difference.target.text and difference.source.rows == difference.target.rows:
                return difference
            difference.changed = difference.source.rows
        await self._target.write([(f"DELETE FROM {self._target.dialect.table(self.shape.name)}", ())])
        async for page in self._source.pages():
            await self._target.add(self.shape.name, page.rows)
        return difference

    def _is_same(self, wanted: WireRow | None, found: WireRow | None) -> bool:
        if wanted == found:
            return True
        # Equal values may be spelled in several ways, and one of the two databases knows only one of them.
        return wanted is not None and found is not None and self._told.told(wanted) == self._told.told(found)

    def _by_key(self, rows: Sequence[WireRow], columns: Sequence[str] | None) -> dict[Key, Any]:
        if columns is None:
            key_of = self._source.key_of
            return {key_of(row): row for row in rows}
        width = len(self.shape.key)
        return {tuple(row[:width]): row for row in rows}


async def digest(reader: TableReader, report: Report) -> Digest:
    """The digest of a whole table."""
    found = digest_of(reader.shape)
    async for page in reader.pages():
        found.add(page.rows)
        report(Step("verify", reader.shape.name, found.rows))
    report(Step("verify", reader.shape.name, found.rows, is_done=True))
    return found


def _quick_columns(shape: TableShape) -> Sequence[str] | None:
    """What tells that a row of this table has changed, the key first; None where only the whole row does."""
    if shape.has_versions:
        return _VERSION_COLUMNS
    # What a history has of a version never changes.
    return _HISTORY_COLUMNS if shape.role is Role.HISTORY else None
