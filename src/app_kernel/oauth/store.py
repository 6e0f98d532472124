"""Every line that touches the tables of oauth; portable verbs only."""

from datetime import timedelta
from typing import Any

from app_kernel.core import clock
from app_kernel.core.errors import AlreadyLinked, UniqueViolation
from app_kernel.core.ports import EntityStore
from app_kernel.oauth.tables import CODES, IDENTITIES

Row = dict[str, Any]

PRUNE = 5
"""Expired codes and states that one new one may remove; more than it adds, so the table stays bounded."""
LISTED = 100


async def find_identity(db: EntityStore, provider: str, issuer: str, subject: str) -> Row | None:
    """The link of an identity of a provider, or None."""
    found = await db.privileged.find_entities(
        IDENTITIES, "[provider] = ? AND [issuer] = ? AND [subject] = ?", (provider, issuer, subject), limit=1
    )
    return found[0] if found else None


async def list_identities(db: EntityStore, user_id: str) -> list[Row]:
    """The links of an account, the oldest first."""
    return await db.privileged.find_entities(
        IDENTITIES, "[user_id] = ?", (user_id,), order_by="[linked_at], [id]", limit=LISTED
    )


async def insert_identity(db: EntityStore, values: Row) -> Row:
    """Links an identity to an account.

    Raises AlreadyLinked when it belongs to an account, or when the account has another one of this provider, however
    close the race.
    """
    try:
        return await db.privileged.save_entity(IDENTITIES, {**values, "linked_at": clock.now(), "turn": 0})
    except UniqueViolation:
        raise AlreadyLinked from None


async def delete_identity(db: EntityStore, id: str) -> bool:
    """Takes a link away; False when it was gone already."""
    return await db.privileged.delete_entity(IDENTITIES, id, permanent=True)


async def delete_identities(db: EntityStore, user_id: str, *, email_confirmed: bool | None = None) -> int:
    """Takes the links of an account away, or those whose address was or was not the account's confirmed one."""
    rows = await list_identities(db, user_id)
    chosen = [row["id"] for row in rows if email_confirmed is None or bool(row["email_confirmed"]) is email_confirmed]
    return await db.privileged.delete_entities(IDENTITIES, chosen, permanent=True) if chosen else 0


async def hold_identities(db: EntityStore, user_id: str) -> list[Row]:
    """The links of an account, none of which anybody else changes before the open transaction ends.

    Each one's row is written, in one order for everybody: who comes second waits, and then sees what the first left.
    """
    for row in sorted(await list_identities(db, user_id), key=lambda row: str(row["id"])):
        await db.privileged.increment(IDENTITIES, row["id"], "turn")
    return await list_identities(db, user_id)


async def claim_once(db: EntityStore, hashed: str, seconds: int) -> bool:
    """Notes that a state was used; False when it had been already, however close the race."""
    await _prune(db)
    try:
        await db.privileged.save_entity(CODES, {"hash": hashed, "expires_at": clock.now() + timedelta(seconds=seconds)})
    except UniqueViolation:
        return False
    return True


async def insert_code(db: EntityStore, values: Row, seconds: int) -> None:
    """Keeps a one-time code, by its hash."""
    await _prune(db)
    await db.privileged.save_entity(CODES, {**values, "expires_at": clock.now() + timedelta(seconds=seconds)})


async def take_code(db: EntityStore, hashed: str) -> Row | None:
    """Uses up a one-time code; None when there is none, it is too old, or somebody else was first."""
    found = await db.privileged.find_entities(CODES, "[hash] = ? AND [user_id] IS NOT NULL", (hashed,), limit=1)
    if not found or not await db.privileged.delete_entity(CODES, found[0]["id"], permanent=True):
        return None
    return found[0] if found[0]["expires_at"] > clock.now() else None


async def _prune(db: EntityStore) -> None:
    old = await db.privileged.find_entities(
        CODES, "[expires_at] < ?", (clock.now(),), order_by="[expires_at]", limit=PRUNE
    )
    for row in old:
        await db.privileged.delete_entity(CODES, row["id"], permanent=True)
