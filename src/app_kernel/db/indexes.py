"""Indexes: how each is called, whether it is there, and how it is made."""

import hashlib
from collections.abc import Mapping, Sequence

from app_kernel.core.errors import InvalidQuery
from app_kernel.core.tables import Index
from app_kernel.db.catalog import read_work
from app_kernel.db.dialects.queries import Queries
from app_kernel.db.drivers.base import ANY_GENERATION, Row, Session, Work


class Indexes:
    """The indexes of tables, over one session."""

    def __init__(self, session: Session, queries: Queries) -> None:
        self._session = session
        self._dialect = session.dialect
        self._queries = queries

    async def ensure(self, table: str, index: Index, lengths: Mapping[str, int] | None = None) -> None:
        """Makes an index of a table, unless there is one; `lengths` are those of `Table`."""
        if await self.missing(table, index) is not None:
            await self._session.define(lambda: self._ensure(table, index, lengths or {}))

    async def missing(self, table: str, index: Index) -> str | None:
        """What to call the index that is to be made; None when there is such a one, whole and of this table."""
        return await read_work(self._session, self._find_missing(table, index))

    async def drop_failed(self, table: str, name: str) -> None:
        """Drops an index that was not built to its end; waits for somebody who builds one of this table now."""
        await self._session.write(lambda: self._drop_failed(table, name), ANY_GENERATION, table)

    def _find_missing(self, table: str, index: Index) -> Work[str | None]:
        """Raises InvalidQuery when other objects of the database have every name that it could have."""
        free: str | None = None
        for name in index_names(table, index):
            rows = yield self._queries.describe_index(name)
            is_whole = _is_whole(rows, table, index)
            if is_whole:
                return None
            if is_whole is False or not (rows or (yield self._queries.find_object(name))):
                free = free or name
        if free is None:
            listed = ", ".join(index.fields)
            raise InvalidQuery(f"The names of an index over [{listed}] of {table!r} are taken by other objects.")
        return free

    def _ensure(self, table: str, index: Index, lengths: Mapping[str, int]) -> Work[None]:
        name = yield from self._find_missing(table, index)
        if name is None:
            return
        if (yield self._queries.describe_index(name)):
            yield (self._dialect.drop_index(name, table), ())
        yield from self._dialect.make_index(name, table, index.fields, unique=index.unique, lengths=lengths)

    def _drop_failed(self, table: str, name: str) -> Work[None]:
        lock = self._dialect.lock_against_definitions(table)
        if lock is not None:
            yield (lock, ())
        rows = yield self._queries.describe_index(name)
        if rows and rows[0][0] == table and not rows[0][2]:
            yield (self._dialect.drop_index(name, table), ())


def index_name(table_name: str, index: Index) -> str:
    """The name of an index: readable where it fits 63 bytes, else shortened by a hash."""
    kind = "ux" if index.unique else "ix"
    name = f"{kind}_{table_name}_{'_'.join(index.fields)}"
    if len(name) <= 63:
        return name
    return f"{name[:50]}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def index_names(table_name: str, index: Index) -> tuple[str, str]:
    """The name of an index, and the one that it has where something else has that name already."""
    name = index_name(table_name, index)
    return name, f"{name[:50]}_{hashlib.sha256('|'.join((table_name, *index.fields)).encode()).hexdigest()[:12]}"


def _is_whole(rows: Sequence[Row], table_name: str, index: Index) -> bool | None:
    """Whether the described index, which is this one, is whole; None when it is none or another one."""
    if not rows:
        return None
    table, fields, is_whole = rows[0][:3]
    # Where it makes pages faster, an index that is not unique ends with the id.
    is_same = table == table_name and (fields or "").removesuffix(",id") == ",".join(index.fields).removesuffix(",id")
    return bool(is_whole) if is_same else None
