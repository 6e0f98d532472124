"""Every line that touches the tables of feature flags; portable verbs only."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from app_kernel.core import clock
from app_kernel.core.models import HistoryEntry
from app_kernel.core.ports import EntityStore
from app_kernel.flags.tables import CHANGES, FLAGS, TABLES, USES

Row = dict[str, Any]

WRITE_EVERY = timedelta(seconds=60)
"""When a flag was evaluated last is written at most this often."""
PAGE = 20
"""Flags that are taken in at once."""
_ALL = "all"


async def ensure_flag_tables(db: EntityStore) -> None:
    """Makes the tables where they are missing, as in a script that runs before any service."""
    await db.privileged.ensure_tables(TABLES)


async def read_token(db: EntityStore) -> str | None:
    """What differs after each change of a flag; None before the first one."""
    row = await db.privileged.get_entity(CHANGES, _ALL)
    return None if row is None else row["token"]


async def hold_flags(db: EntityStore) -> None:
    """Makes whoever else changes a flag wait for the open transaction's end, and says that it changes some."""
    await db.privileged.save_entity(CHANGES, {"id": _ALL, "token": clock.new_id()})


async def get_row(db: EntityStore, name: str) -> Row | None:
    """The flag of this name, or None."""
    return await db.privileged.get_entity(FLAGS, name)


async def all_rows(db: EntityStore) -> list[Row]:
    """Every flag, page by page: long lists of ids take their time, for which nobody else is held up."""
    rows = []
    async for row in db.privileged.iterate_entities(FLAGS, batch_size=PAGE):
        rows.append(row)
        if not len(rows) % PAGE:
            # SQLite may have answered at once.
            await asyncio.sleep(0)
    return rows


async def list_rows(db: EntityStore, limit: int, offset: int) -> list[Row]:
    """Flags in the order of their names."""
    return await db.privileged.find_entities(FLAGS, order_by="[id]", limit=limit, offset=offset)


async def count_rows(db: EntityStore) -> int:
    """How many flags there are."""
    return await db.privileged.count_entities(FLAGS)


async def save_row(db: EntityStore, name: str, values: Mapping[str, Any]) -> Row:
    """Makes a flag, or changes these fields of it."""
    return await db.privileged.save_entity(FLAGS, {"id": name, **values})


async def delete_row(db: EntityStore, name: str) -> bool:
    """Removes a flag, but not its history; False when there was none."""
    await db.privileged.delete_entity(USES, name, permanent=True)
    return await db.privileged.delete_entity(FLAGS, name, permanent=True)


async def history_of(db: EntityStore, name: str) -> list[HistoryEntry]:
    """Every change of a flag, oldest first, also when it is gone."""
    return await db.privileged.get_entity_history(FLAGS, name)


async def last_uses(db: EntityStore, names: Iterable[str]) -> dict[str, datetime | None]:
    """When each of these flags was evaluated last, as far as that was written."""
    rows = await db.privileged.get_entities(USES, list(names))
    return {row["id"]: row["last_evaluated_at"] for row in rows}


async def write_uses(db: EntityStore, names: Iterable[str]) -> None:
    """Writes that these flags were evaluated just now, in one commit.

    What another process wrote in the last minute stays, and so does that a flag is gone.
    """
    now, wanted = clock.now(), sorted(names)
    async with db.transaction():
        known = await last_uses(db, wanted)
        there = {row["id"] for row in await db.privileged.get_entities(FLAGS, wanted)}
        due = [name for name in wanted if name in there and _is_due(known.get(name), now)]
        await db.privileged.save_entities(USES, [{"id": name, "last_evaluated_at": now} for name in due])


def _is_due(written: datetime | None, now: datetime) -> bool:
    return written is None or abs(now - written) >= WRITE_EVERY
