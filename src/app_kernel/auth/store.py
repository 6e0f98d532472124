"""Every line that touches the tables of auth; portable verbs only."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app_kernel.auth.identifiers import login_key
from app_kernel.auth.tables import ACCOUNT_TURNS, EMAIL_TOKENS, LOGIN_FAILURES, SESSIONS, USERS
from app_kernel.auth.throttle import KEEP_FAILURES, KNOWN_FOR, window_around
from app_kernel.core import clock
from app_kernel.core.errors import AccountExists, UniqueViolation, VersionConflict
from app_kernel.core.ports import EntityStore

Row = dict[str, Any]

PRUNE = 5
"""Rows out of date that one sign-in attempt may remove; more than it adds, so the tables stay bounded."""
LISTED_SESSIONS = 200
KEEP_LINKS = timedelta(days=1)


async def insert_user(db: EntityStore, values: Mapping[str, Any]) -> Row:
    """Adds an account; raises AccountExists when the email or username is taken, however close the race."""
    try:
        return await db.privileged.save_entity(USERS, values)
    except UniqueViolation:
        raise AccountExists from None


async def update_user(
    db: EntityStore, user_id: str, values: Mapping[str, Any], expected_version: int | None = None
) -> Row:
    """Changes fields of an account; raises AccountExists when the new username is taken, VersionConflict."""
    try:
        return await db.privileged.save_entity(USERS, {"id": user_id, **values}, expected_version=expected_version)
    except UniqueViolation:
        raise AccountExists from None


async def update_if_unchanged(db: EntityStore, row: Row, values: Mapping[str, Any]) -> None:
    """Changes fields of an account, or nothing when anybody changed it since `row` was read."""
    try:
        await update_user(db, row["id"], values, row["_version"])
    except VersionConflict:
        return


async def get_user_row(db: EntityStore, user_id: str) -> Row | None:
    """The account with this id, or None."""
    return await db.privileged.get_entity(USERS, user_id)


async def get_user_rows(db: EntityStore, user_ids: Sequence[str]) -> list[Row]:
    """The accounts with these ids that are there, in the order of the ids."""
    return await db.privileged.get_entities(USERS, user_ids)


async def find_user_row(db: EntityStore, field: str, value: str) -> Row | None:
    """The account whose `email` or `username` (its canonical form) this is, or None."""
    found = await db.privileged.find_entities(USERS, f"[{field}] = ?", (value,), limit=1)
    return found[0] if found else None


async def list_user_rows(db: EntityStore, limit: int, offset: int = 0, email: str | None = None) -> list[Row]:
    """The accounts, the oldest first; only the one with this canonical address where it is given."""
    clause, params = ("[email] = ?", (login_key(email)[1],)) if email else (None, ())
    return await db.privileged.find_entities(USERS, clause, params, order_by="[created_at]", limit=limit, offset=offset)


async def delete_user_rows(db: EntityStore, user_id: str) -> None:
    """Removes an account and its sessions for good, and uses its mailed links up."""
    while True:
        rows = await db.privileged.find_entities(SESSIONS, "[user_id] = ?", (user_id,), limit=LISTED_SESSIONS)
        await db.privileged.delete_entities(SESSIONS, [row["id"] for row in rows], permanent=True)
        if len(rows) < LISTED_SESSIONS:
            break
    # They stay for a day as what was mailed to the address, or deleting and signing up again would fill a mailbox.
    await use_up_email_tokens(db, user_id)
    await db.privileged.delete_entity(ACCOUNT_TURNS, user_id, permanent=True)
    await db.privileged.delete_entity(USERS, user_id, permanent=True)


async def insert_email_token(db: EntityStore, values: Mapping[str, Any]) -> Row:
    """Adds a mailed link, and removes a few that ran out long ago."""
    row = await db.privileged.save_entity(EMAIL_TOKENS, values)
    await _prune(db, EMAIL_TOKENS, "expires_at", clock.now() - KEEP_LINKS)
    return row


async def find_email_token(db: EntityStore, token_hash: str) -> Row | None:
    """The mailed link whose token has this hash, used or not, or None."""
    found = await db.privileged.find_entities(EMAIL_TOKENS, "[token_hash] = ?", (token_hash,), limit=1)
    return found[0] if found else None


async def use_email_token(db: EntityStore, row: Row) -> None:
    """Uses a link up; raises VersionConflict when somebody else did meanwhile."""
    values = {"id": row["id"], "used_at": clock.now()}
    await db.privileged.save_entity(EMAIL_TOKENS, values, expected_version=row["_version"])


async def use_up_email_tokens(db: EntityStore, user_id: str) -> None:
    """Uses up every open link of an account: one of them did its work, or the address changed."""
    while True:
        rows = await db.privileged.find_entities(
            EMAIL_TOKENS,
            "[user_id] = ? AND [used_at] IS NULL AND [expires_at] > ?",
            (user_id, clock.now()),
            limit=LISTED_SESSIONS,
        )
        for row in rows:
            await db.privileged.save_entity(EMAIL_TOKENS, {"id": row["id"], "used_at": clock.now()})
        if len(rows) < LISTED_SESSIONS:
            return


async def take_account_turn(db: EntityStore, user_id: str) -> None:
    """Makes whoever else takes a turn of this account wait until the open transaction ends.

    Who waited sees what it left. It is taken first in a transaction, before any other row of the account is read or
    written: so nobody decides by what is about to change, and no two wait for each other.
    """
    await db.privileged.save_entity(ACCOUNT_TURNS, {"id": user_id, "at": clock.now()})


async def count_email_tokens(
    db: EntityStore, user_id: str, email: str, purposes: Sequence[str], since: datetime
) -> int:
    """How many mails for these purposes were caused by an account, or went to an address, since then."""
    return await db.privileged.count_entities(
        EMAIL_TOKENS,
        "([user_id] = ? OR [email] = ?) AND [purpose] IN (?) AND [created_at] > ?",
        (user_id, email, list(purposes), clock.to_text(since)),
    )


async def insert_session(db: EntityStore, values: Mapping[str, Any]) -> Row:
    """Adds a session, and removes a few that ended long ago."""
    row = await db.privileged.save_entity(SESSIONS, values)
    await _prune(db, SESSIONS, "expires_at", clock.now() - KNOWN_FOR)
    return row


async def get_session(db: EntityStore, session_id: str) -> Row | None:
    """The session with this id, ended or not, or None."""
    return await db.privileged.get_entity(SESSIONS, session_id)


async def rotate_session(db: EntityStore, session: Row, values: Mapping[str, Any]) -> Row:
    """Moves a session to its next generation; raises VersionConflict when anybody changed it meanwhile."""
    changes = {"id": session["id"], "generation": session["generation"] + 1, **values}
    return await db.privileged.save_entity(SESSIONS, changes, expected_version=session["_version"])


async def list_live_sessions(db: EntityStore, user_id: str, idle: timedelta) -> list[Row]:
    """A user's sessions that neither were ended nor ran out, the newest first."""
    now = clock.now()
    return await db.privileged.find_entities(
        SESSIONS,
        "[user_id] = ? AND [revoked_at] IS NULL AND [expires_at] > ? AND [last_used_at] > ?",
        (user_id, now, now - idle),
        order_by="[created_at] DESC",
        limit=LISTED_SESSIONS,
    )


async def revoke_session(db: EntityStore, session_id: str) -> None:
    """Ends a session and everything issued from it."""
    if await db.privileged.get_entity(SESSIONS, session_id):  # one pruned meanwhile must not come back, half empty
        await db.privileged.save_entity(SESSIONS, {"id": session_id, "revoked_at": clock.now()})


async def revoke_sessions(db: EntityStore, user_id: str, *, keep: str | None = None) -> list[str]:
    """Ends every session of a user but `keep`; returns the ids of those ended."""
    ended: list[str] = []
    while True:
        rows = await db.privileged.find_entities(
            SESSIONS,
            "[user_id] = ? AND [revoked_at] IS NULL AND [id] <> ?",
            (user_id, keep or ""),
            limit=LISTED_SESSIONS,
        )
        for row in rows:
            await revoke_session(db, row["id"])
            ended.append(row["id"])
        if len(rows) < LISTED_SESSIONS:
            return ended


async def is_known_network(db: EntityStore, user_id: str, network: str | None) -> bool:
    """Whether the account signed in from this network during the last 30 days."""
    count = await db.privileged.count_entities(
        SESSIONS,
        "[user_id] = ? AND [network] = ? AND [created_at] > ?",
        (user_id, network or "", clock.to_text(clock.now() - KNOWN_FOR)),
    )
    return count > 0


async def insert_login_failure(db: EntityStore, account: str, network: str | None) -> str:
    """Notes a login that has not succeeded yet; returns the note's id."""
    row = await db.privileged.save_entity(
        LOGIN_FAILURES, {"account": account, "network": network or "", "at": clock.now()}
    )
    await _prune(db, LOGIN_FAILURES, "at", clock.now() - KEEP_FAILURES)
    return str(row["id"])


async def delete_login_failure(db: EntityStore, failure_id: str) -> None:
    """Takes back a note: the login succeeded, or was refused before it was tried."""
    await db.privileged.delete_entity(LOGIN_FAILURES, failure_id, permanent=True)


async def recent_failures(
    db: EntityStore, *, account: str | None = None, network: str | None = None, limit: int
) -> list[datetime]:
    """When the newest failures of an account, a network, or an account from a network were, at most `limit`."""
    given = {"account": account, "network": network}
    fields = {name: value for name, value in given.items() if value is not None}
    clause = " AND ".join(f"[{name}] = ?" for name in fields)
    rows = await db.privileged.find_entities(
        LOGIN_FAILURES,
        f"{clause} AND [at] > ? AND [at] <= ?",
        (*fields.values(), *window_around(clock.now())),
        order_by="[at] DESC",
        limit=limit,
    )
    return [row["at"] for row in rows]


async def _prune(db: EntityStore, table: str, field: str, before: datetime) -> None:
    old = await db.privileged.find_entities(table, f"[{field}] < ?", (before,), order_by=f"[{field}]", limit=PRUNE)
    for row in old:
        await db.privileged.delete_entity(table, row["id"], permanent=True)
