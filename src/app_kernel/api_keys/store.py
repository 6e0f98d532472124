"""Every line that touches the tables of API keys; portable verbs only."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from app_kernel.api_keys.tables import API_KEYS, USES
from app_kernel.core import clock
from app_kernel.core.errors import ApiKeyNotFound, VersionConflict
from app_kernel.core.ports import EntityStore

Row = dict[str, Any]

KEEP_ENDED = timedelta(days=90)
"""How long a key that was revoked or ran out is still listed."""
KEEP = 500
"""How many keys of a user are kept, live ones first; of the others the oldest go before their time."""
PRUNE = 5
"""Ended keys of a user that making a new one may remove; more than it adds, so the table stays bounded."""
WRITE_EVERY = timedelta(seconds=60)
"""A key's last use is written at most this often."""
_PAGE = 200
_ATTEMPTS = 5
_LIVE = "[user_id] = ? AND [revoked_at] IS NULL AND ([expires_at] IS NULL OR [expires_at] > ?)"


async def insert_key(db: EntityStore, values: Mapping[str, Any]) -> Row:
    """Adds a key and the row of its uses in one commit, and removes a few of the owner's that ended long ago."""
    async with db.transaction():
        row = await db.privileged.save_entity(API_KEYS, values)
        await db.privileged.save_entity(USES, {"id": row["id"], "last_used_at": None})
        now = clock.now()
        too_many = await db.privileged.count_entities(API_KEYS, "[user_id] = ?", (row["user_id"],)) > KEEP
        before = now if too_many else now - KEEP_ENDED
        ended = await db.privileged.find_entities(
            API_KEYS,
            "[user_id] = ? AND ([revoked_at] < ? OR [expires_at] < ?)",
            (row["user_id"], before, before),
            order_by="[created_at]",
            limit=PRUNE,
        )
        await delete_keys(db, [each["id"] for each in ended])
    return row


async def get_key(db: EntityStore, key_id: str) -> Row | None:
    """The key with this id, live or not, or None."""
    return await db.privileged.get_entity(API_KEYS, key_id)


async def find_key(db: EntityStore, prefix: str) -> Row | None:
    """The key with this public part, live or not, or None."""
    found = await db.privileged.find_entities(API_KEYS, "[prefix] = ?", (prefix,), limit=1)
    return found[0] if found else None


async def list_keys(db: EntityStore, user_id: str, limit: int, offset: int) -> list[Row]:
    """A user's keys, the newest first, ended ones too."""
    return await db.privileged.find_entities(
        API_KEYS, "[user_id] = ?", (user_id,), order_by="[created_at] DESC, [id] DESC", limit=limit, offset=offset
    )


async def list_live(db: EntityStore, user_id: str) -> list[Row]:
    """Some of the keys of a user that are accepted now."""
    return await db.privileged.find_entities(API_KEYS, _LIVE, (user_id, clock.now()), limit=_PAGE)


async def count_live(db: EntityStore, user_id: str, *, replaced: bool) -> int:
    """How many keys of a user are accepted now: those that were rotated and still overlap, or the others."""
    clause = f"{_LIVE} AND [replaced_by] IS {'NOT ' if replaced else ''}NULL"
    return await db.privileged.count_entities(API_KEYS, clause, (user_id, clock.now()))


async def change_key(db: EntityStore, row: Row, values: Mapping[str, Any]) -> Row:
    """Changes fields of a key; raises VersionConflict when it was changed or deleted since `row` was read."""
    return await db.privileged.save_entity(API_KEYS, {"id": row["id"], **values}, expected_version=row["_version"])


async def rename_key(db: EntityStore, key_id: str, name: str) -> Row:
    """Gives a key another name; raises ApiKeyNotFound."""
    for _ in range(_ATTEMPTS):
        row = await get_key(db, key_id)
        if row is None:
            raise ApiKeyNotFound
        try:
            return await change_key(db, row, {"name": name})
        except VersionConflict:
            continue
    raise VersionConflict("The API key is being changed by others; try again.")


async def revoke_key(db: EntityStore, key_id: str) -> Row | None:
    """Ends a key; the row as it is then, or None when there is no such key or it was revoked before."""
    for _ in range(_ATTEMPTS):
        row = await get_key(db, key_id)
        if row is None or row["revoked_at"] is not None:
            return None
        try:
            return await change_key(db, row, {"revoked_at": clock.now()})
        except VersionConflict:
            continue
    raise VersionConflict("The API key is being changed by others; try again.")


async def delete_keys(db: EntityStore, key_ids: Iterable[str]) -> None:
    """Removes keys for good."""
    ids = list(key_ids)
    if ids:
        await db.privileged.delete_entities(API_KEYS, ids, permanent=True)
        await db.privileged.delete_entities(USES, ids, permanent=True)


async def delete_keys_of(db: EntityStore, user_id: str) -> None:
    """Removes every key of a user for good."""
    while rows := await list_keys(db, user_id, _PAGE, 0):
        await delete_keys(db, [row["id"] for row in rows])


async def last_uses(db: EntityStore, key_ids: Iterable[str]) -> dict[str, datetime | None]:
    """When each of these keys was used last, as far as that was written."""
    rows = await db.privileged.get_entities(USES, list(key_ids))
    return {row["id"]: row["last_used_at"] for row in rows}


async def write_uses(db: EntityStore, uses: Mapping[str, datetime]) -> None:
    """Writes when keys were used, in one commit; what another process wrote in the last minute stays."""
    async with db.transaction():
        for row in await db.privileged.get_entities(USES, sorted(uses)):
            used, known = uses[row["id"]], row["last_used_at"]
            if known is None or used - known >= WRITE_EVERY:
                await _write_use(db, row, used)


async def _write_use(db: EntityStore, row: Row, used: datetime) -> None:
    try:
        await db.privileged.save_entity(USES, {"id": row["id"], "last_used_at": used}, expected_version=row["_version"])
    except VersionConflict:
        return  # another process wrote it just now, or the key is gone
