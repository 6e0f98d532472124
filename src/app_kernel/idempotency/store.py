"""Every line that touches the table of idempotency; portable verbs only."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app_kernel.core.errors import UniqueViolation, VersionConflict
from app_kernel.core.ports import EntityStore
from app_kernel.idempotency.tables import KEYS

Row = dict[str, Any]

PRUNE = 2
"""Rows out of date that one new key may remove; more than it adds, so the table stays bounded."""


async def find_key(db: EntityStore, id: str) -> Row | None:
    """The row of a key, or None."""
    return await db.privileged.get_entity(KEYS, id)


async def insert_key(db: EntityStore, id: str, values: Mapping[str, Any]) -> Row:
    """Adds a key; raises VersionConflict when it is there already, however close the race."""
    try:
        return await db.privileged.save_entity(KEYS, {"id": id, **values}, expected_version=0)
    except UniqueViolation:
        raise VersionConflict from None


async def change_key(db: EntityStore, row: Row, values: Mapping[str, Any]) -> Row:
    """Changes the row of a key; raises VersionConflict when anybody changed or removed it since it was read."""
    return await db.privileged.save_entity(KEYS, {"id": row["id"], **values}, expected_version=row["_version"])


async def prune_keys(db: EntityStore, before: datetime) -> None:
    """Removes a few keys that ran out before that instant; raises VersionConflict when one was taken up meanwhile."""
    old = await db.privileged.find_entities(KEYS, "[expires_at] < ?", (before,), order_by="[expires_at]", limit=PRUNE)
    if not old:
        return
    async with db.transaction():
        for row in sorted(old, key=lambda each: str(each["id"])):
            # The change holds the row, so that nobody takes it up between this look at it and its end.
            await change_key(db, row, {"token": f"{row['token']}-pruned"})
            await db.privileged.delete_entity(KEYS, row["id"], permanent=True)
