"""A table, page by page in the order of its key, as rows on their way."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from app_kernel.db.drivers.base import Row, Snapshot
from app_kernel.db.transfer.inventory import ReadTable
from app_kernel.db.transfer.wire import Codec, WireRow, pack
from app_kernel.db.transfer.words import words_for

PAGE_ROWS = 4000
PAGE_BYTES = 1_500_000
"""What a page has at most, about: as many of them are in memory as there are steps on the way."""
_FIRST_ROWS = 250
_SAMPLE = 16
KEYS_AT_ONCE = 500

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and where the next page begins."""

    rows: list[WireRow]
    last: Key | None
    """The key of the last row; None where there are no more rows."""


class TableReader:
    """Reads one table of a snapshot."""

    def __init__(self, snapshot: Snapshot, read: ReadTable) -> None:
        self.shape = read.shape
        self.codec = Codec(snapshot.dialect, read.table)
        self._snapshot = snapshot
        self._words = words_for(snapshot.dialect)
        self._table = read.table
        self._key = [read.table.columns[name] for name in read.shape.key]
        self._terms = [self._words.key_term(each) for each in self._key]
        self._places = [read.shape.names.index(name) for name in read.shape.key]
        self._rows = _FIRST_ROWS

    def key_of(self, row: WireRow) -> Key:
        """The key of a row."""
        return tuple([row[at] for at in self._places])

    async def pages(self, after: Key | None = None) -> AsyncIterator[Page]:
        """All rows beyond a key."""
        while True:
            page = await self.page(after)
            if page.rows:
                yield page
            if page.last is None:
                return
            after = page.last

    async def page(self, after: Key | None, *, columns: Sequence[str] | None = None) -> Page:
        """The rows beyond a key, as many as a page has; with `columns`, only these of each row."""
        limit = self._rows if columns is None else PAGE_ROWS * 2
        if not self._key:
            return await self._page_by_address(after, limit)
        conditions, params = self._bounds(after, None)
        rows = await self._fetch(conditions, params, limit, columns)
        if columns is None:
            self._learn(rows)
        places = self._places if columns is None else [columns.index(name) for name in self.shape.key]
        last = tuple([rows[-1][at] for at in places]) if len(rows) == limit else None
        return Page(rows, last)

    async def between(
        self, after: Key | None, until: Key | None, *, columns: Sequence[str] | None = None
    ) -> list[WireRow]:
        """The rows beyond one key and not beyond another; None for no bound."""
        conditions, params = self._bounds(after, until)
        return await self._fetch(conditions, params, None, columns)

    async def among(self, keys: Sequence[Key]) -> list[WireRow]:
        """The rows that have one of these keys."""
        encoded = [self._encoded(key) for key in keys]
        condition, params = self._words.among(self._terms, self._key, encoded)
        return await self._fetch([condition], params, None, None)

    def delete_among(self, keys: Sequence[Key]) -> tuple[str, Sequence[Any]]:
        """The statement that removes the rows with these keys."""
        condition, params = self._words.among(self._terms, self._key, [self._encoded(key) for key in keys])
        return f"DELETE FROM {self._snapshot.dialect.table(self._table.name)} WHERE {condition}", params

    def _bounds(self, after: Key | None, until: Key | None) -> tuple[list[str], list[Any]]:
        conditions: list[str] = []
        params: list[Any] = []
        for key, is_until in ((after, False), (until, True)):
            if key is None:
                continue
            first = len(params) + 1
            marks = [self._words.key_param(first + at, each) for at, each in enumerate(self._key)]
            params += self._encoded(key)
            conditions.append(self._words.after(self._terms, marks, until=is_until))
        return conditions, params

    def _encoded(self, key: Key) -> Row:
        return tuple(self.codec.to_value(column.name, value) for column, value in zip(self._key, key, strict=True))

    async def _fetch(
        self, conditions: Sequence[str], params: Sequence[Any], limit: int | None, columns: Sequence[str] | None
    ) -> list[WireRow]:
        dialect = self._snapshot.dialect
        listed = dialect.read_list(self._table) if columns is None else dialect.column_list(columns)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        page = "" if limit is None else f" LIMIT {limit}"
        sql = f"SELECT {listed} FROM {dialect.table(self._table.name)}{where} ORDER BY {', '.join(self._terms)}{page}"
        rows = await self._snapshot.fetch(sql, params, table=self._table.name)
        return self.codec.from_rows(rows) if columns is None else [list(row) for row in rows]

    async def _page_by_address(self, after: Key | None, limit: int) -> Page:
        """Rows that no key tells apart, by where they lie; another run may find them elsewhere."""
        dialect, address = self._snapshot.dialect, self._words.row_address
        table = dialect.table(self._table.name)
        listed = dialect.read_list(self._table)
        if not address:
            start = 0 if after is None else int(after[0])
            sql = f"SELECT {listed} FROM {table} LIMIT {limit} OFFSET {start}"
            found = await self._snapshot.fetch(sql, (), table=self._table.name)
            rows = self.codec.from_rows(found)
            self._learn(rows)
            return Page(rows, (start + limit,) if len(rows) == limit else None)
        beyond = "" if after is None else f" WHERE {address} > {self._words.address_mark}"
        told = self._words.address_text
        sql = f"SELECT {listed}, {told} FROM {table}{beyond} ORDER BY {address} LIMIT {limit}"
        found = await self._snapshot.fetch(sql, () if after is None else after, table=self._table.name)
        last = (found[-1][-1],) if len(found) == limit else None
        rows = self.codec.from_rows(tuple(row)[:-1] for row in found)
        self._learn(rows)
        return Page(rows, last)

    def _learn(self, rows: Sequence[WireRow]) -> None:
        """How many rows the next page has, from how long these are."""
        if not rows:
            return
        sample = rows[:: max(1, len(rows) // _SAMPLE)]
        each = max(1, len(pack(sample)) // len(sample))
        self._rows = max(1, min(PAGE_ROWS, PAGE_BYTES // each, 2 * self._rows))
