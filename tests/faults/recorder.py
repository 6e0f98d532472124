"""Writes of a child process, each told to the parent before it is tried and again once it is acknowledged."""

from typing import Any

from app_kernel.db.store import Store
from tests.faults.children import emit

ENTITY = "items"


def values(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the fields that are None: fields that others add later are None in it too."""
    return {name: value for name, value in row.items() if value is not None}


class Recorder:
    """The writing verbs with a ledger. Each save carries a mark, in a field and in its history's comment."""

    def __init__(self, db: Store, run: str) -> None:
        self._db = db
        self._run = run
        self._count = 0

    def _next(self, verb: str, id: str | None, fields: dict[str, Any]) -> str:
        self._count += 1
        mark = f"{self._run}:{self._count}"
        emit(intent=mark, verb=verb, id=id, fields=fields)
        return mark

    async def save(self, id: str | None, fields: dict[str, Any]) -> dict[str, Any]:
        """Creates or updates; returns the row."""
        mark = self._next("save", id, fields)
        entity = {**fields, "mark": mark} if id is None else {"id": id, **fields, "mark": mark}
        row = await self._db.save_entity(ENTITY, entity, comment=mark)
        emit(ack=mark, row=values(row))
        return row

    async def delete(self, row: dict[str, Any], *, permanent: bool = False) -> dict[str, Any]:
        """Deletes a row that nobody else writes to; returns it at its next version."""
        verb = "purge" if permanent else "delete"
        mark = self._next(verb, row["id"], {})
        done = await self._db.delete_entity(ENTITY, row["id"], permanent)
        after = {**row, "_version": row["_version"] + 1, "deleted_at": "now"}
        emit(ack=mark, done=done, version=after["_version"])
        return after

    async def restore(self, id: str) -> dict[str, Any]:
        """Restores a soft-deleted row that nobody else writes to; returns it."""
        mark = self._next("restore", id, {})
        row = await self._db.restore_entity(ENTITY, id)
        assert row is not None
        emit(ack=mark, done=True, version=row["_version"])
        return row
