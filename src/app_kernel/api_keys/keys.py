"""Making, listing, rotating and revoking keys, from routes, jobs and start-up code alike."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app_kernel.api_keys import store
from app_kernel.api_keys.credential import missing_scope
from app_kernel.api_keys.key_text import make_key, prefix_of
from app_kernel.api_keys.live import PURPOSE, forget
from app_kernel.api_keys.scopes import MAX_SCOPES, beyond, granted_to, is_scope
from app_kernel.api_keys.tables import TABLES
from app_kernel.core import clock
from app_kernel.core.context import current_context
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import (
    AccountNotFound,
    AmbiguousKernel,
    ApiKeyNotFound,
    InvalidApiKeyRequest,
    NoRunningKernel,
    PermissionDenied,
)
from app_kernel.core.events import SecurityEvent
from app_kernel.core.identity import UserIdentity
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Accounts, EntityStore, Memberships
from app_kernel.encryption import key_ring

MAX_NAME = 100
MAX_DAYS = 3650
MAX_OVERLAP_HOURS = 720
MAX_LIVE = 100
"""Live keys a user may have; those that were rotated and still overlap come on top, as many again at most."""

Row = dict[str, Any]
Check = Callable[[], Awaitable[None]]

_unprintable = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]").search
_SHOWN = (
    "id", "name", "prefix", "scopes", "user_id", "workspace_id", "created_at", "expires_at", "revoked_at",
    "replaced_by",
)  # fmt: skip


async def create_api_key(
    db: EntityStore,
    user_id: str,
    workspace_id: str | None = None,
    *,
    name: str,
    scopes: Sequence[str] | None = None,
    expires_in_days: int | None = None,
    check: Check | None = None,
) -> Row:
    """Makes a key for a user and returns it with the plaintext under `key`, which nobody can get again.

    `scopes` left out is all that the owner may do, now and later; an empty list is nothing. With `workspace_id` the key
    is for this workspace, of which the owner must be a member. It is accepted for `expires_in_days` days of 24 hours
    (1 to 3650), or until it is revoked. `check` is called first in the transaction that adds the key; what it raises
    keeps the key from being made.
    Raises InvalidApiKeyRequest for what no key can have, MissingScope for scopes that the owner does not have,
    PermissionDenied for a workspace of others, a deactivated owner, and a request that came with a key itself, and
    AccountNotFound. It needs a running service.
    """
    kernel = current_kernel()
    _refuse_keys()
    asked = _checked_scopes(scopes)
    values = {
        "name": check_name(name),
        "scopes": asked,
        "expires_in_days": _checked_whole("expires_in_days", expires_in_days, 1, MAX_DAYS),
        "workspace_id": workspace_id,
    }
    await db.privileged.ensure_tables(TABLES)
    async with db.transaction():
        owner = await _hold_owner(kernel, db, user_id, workspace_id, check)
        missing = beyond(asked or (), granted_to(owner.role, kernel.config.role_scopes), owner.role)
        if missing:
            raise missing_scope(*missing)
        if await store.count_live(db, user_id, replaced=False) >= MAX_LIVE:
            raise InvalidApiKeyRequest(f"A user has at most {MAX_LIVE} live API keys; revoke one first.")
        made = await _insert(kernel, db, {**values, "user_id": user_id})
        detail = {"scopes": made["scopes"], "expires_at": _text(made["expires_at"])}
        await _emit(kernel, "api_key.created", made, **detail)
    return made


async def list_api_keys(db: EntityStore, user_id: str, *, limit: int = 100, offset: int = 0) -> list[Row]:
    """A user's keys without the plaintext, the newest first; those that ended are listed for 90 days at least."""
    rows = await store.list_keys(db, user_id, limit, offset)
    uses = await store.last_uses(db, [row["id"] for row in rows])
    return [_shown(row, uses.get(row["id"])) for row in rows]


async def get_api_key(db: EntityStore, key_id: str) -> Row | None:
    """One key without the plaintext, live or not, or None."""
    row = await store.get_key(db, key_id)
    if row is None:
        return None
    uses = await store.last_uses(db, [key_id])
    return _shown(row, uses.get(key_id))


async def rename_api_key(db: EntityStore, key_id: str, name: str) -> Row:
    """Gives a key another name; raises ApiKeyNotFound and InvalidApiKeyRequest."""
    row = await store.rename_key(db, key_id, check_name(name))
    _forget(db, key_id)
    uses = await store.last_uses(db, [key_id])
    return _shown(row, uses.get(key_id))


async def revoke_api_key(db: EntityStore, key_id: str) -> bool:
    """Ends a key from the next request on (in other processes within a second).

    False when there is no such key, or it was revoked before.
    """
    async with db.transaction():
        row = await store.revoke_key(db, key_id)
        _forget(db, key_id)
        if row is None:
            return False
        try:
            kernel = current_kernel()
        except (NoRunningKernel, AmbiguousKernel):
            return True  # a script without a service has no listeners
        await _emit(kernel, "api_key.revoked", row)
    return True


async def revoke_api_keys(db: EntityStore, user_id: str) -> int:
    """Ends every live key of a user, as `revoke_api_key` does; returns how many there were."""
    ended = 0
    while live := await store.list_live(db, user_id):
        for row in live:
            ended += await revoke_api_key(db, row["id"])
    return ended


async def rotate_api_key(db: EntityStore, key_id: str, *, overlap_hours: int = 24, check: Check | None = None) -> Row:
    """Makes a new key with the name, scopes, workspace and lifetime of this one, and returns it as `create_api_key`.

    The old one is accepted for `overlap_hours` more (0 to 720), at most until it would have ended anyway. `check` is
    called first in the transaction that adds the key, as by `create_api_key`. Raises ApiKeyNotFound;
    InvalidApiKeyRequest for a key that has ended or was rotated before; PermissionDenied when its owner may have no
    keys now; VersionConflict when somebody changed it at the same time.
    """
    kernel = current_kernel()
    _refuse_keys()
    hours = _checked_whole("overlap_hours", overlap_hours, 0, MAX_OVERLAP_HOURS) or 0
    row = await store.get_key(db, key_id)
    if row is None:
        raise ApiKeyNotFound
    _refuse_ended(row)
    end = clock.now() + timedelta(hours=hours)
    end = end if row["expires_at"] is None else min(end, row["expires_at"])
    kept = ("name", "scopes", "workspace_id", "expires_in_days", "user_id")
    async with db.transaction():
        await _hold_owner(kernel, db, row["user_id"], row["workspace_id"], check)
        if hours and await store.count_live(db, row["user_id"], replaced=True) >= MAX_LIVE:
            raise InvalidApiKeyRequest("Too many rotated keys are still accepted; revoke one first.")
        made = await _insert(kernel, db, {field: row[field] for field in kept})
        await store.change_key(db, row, {"expires_at": end, "replaced_by": made["id"]})
        _forget(db, key_id)
        await _emit(kernel, "api_key.rotated", made, replaces=key_id, overlap_hours=hours)
    return made


def check_name(name: Any) -> str:
    """A name without space around it; raises InvalidApiKeyRequest for one that is empty, too long or unprintable."""
    text = name.strip() if isinstance(name, str) else ""
    if not text or len(text) > MAX_NAME or _unprintable(text):
        raise InvalidApiKeyRequest(f"The name of an API key is 1 to {MAX_NAME} printable characters.")
    return text


async def _insert(kernel: Kernel, db: EntityStore, values: Mapping[str, Any]) -> Row:
    key, days = make_key(), values["expires_in_days"]
    row = await store.insert_key(
        db,
        {
            **values,
            "prefix": prefix_of(key),
            "key_hash": key_ring(kernel.config).mac(PURPOSE, key.encode()),
            "expires_at": None if days is None else clock.now() + timedelta(days=days),
        },
    )
    return {**_shown(row, None), "key": key}


async def _hold_owner(
    kernel: Kernel, db: EntityStore, user_id: str, workspace_id: str | None, check: Check | None
) -> UserIdentity:
    """The owner, for whom nobody else makes a key before the open transaction ends.

    Raises AccountNotFound, PermissionDenied for one who may have no key, or none for a workspace, and what `check`
    raises.
    """
    accounts = kernel.find_port(Accounts)  # type: ignore[type-abstract]  # a port is asked for by its protocol
    if accounts is None:
        raise InvalidApiKeyRequest("This service has no accounts (auth_enabled is off), so nobody can own an API key.")
    if check is not None:
        await check()
    await accounts.hold_account(db, user_id)
    owner = await accounts.get_user(db, user_id)
    if owner is None:
        raise AccountNotFound
    if not owner.is_active:
        raise PermissionDenied("This account is deactivated, so it cannot have a new API key.")
    if workspace_id is not None:
        memberships = kernel.find_port(Memberships)  # type: ignore[type-abstract]  # as above
        if memberships is None:
            raise InvalidApiKeyRequest(
                "This service has no workspaces: leave workspace_id out, or add a feature that provides Memberships."
            )
        if await memberships.role_in(db, workspace_id, user_id) is None:
            raise PermissionDenied("An API key for a workspace needs an owner who is a member of it.")
    return owner


def _refuse_keys() -> None:
    """A key must not make another one, which could outlive it or do more; `acting_as(user_id)` says it is meant."""
    if current_context().api_key_id is not None:
        raise PermissionDenied("An API key cannot make or rotate API keys; it needs the access token of a user.")


def _refuse_ended(row: Row) -> None:
    if row["revoked_at"] is not None:
        raise InvalidApiKeyRequest("This API key is revoked; make a new one.")
    if row["replaced_by"] is not None:
        raise InvalidApiKeyRequest("This API key was rotated before; rotate the one that took its place.")
    if row["expires_at"] is not None and row["expires_at"] <= clock.now():
        raise InvalidApiKeyRequest("This API key has expired; make a new one.")


def _checked_scopes(scopes: Any) -> list[str] | None:
    if scopes is None:
        return None
    if not isinstance(scopes, list | tuple | set | frozenset) or len(scopes) > MAX_SCOPES:
        raise InvalidApiKeyRequest(f"The scopes of an API key are a list of at most {MAX_SCOPES}.")
    for scope in scopes:
        if not isinstance(scope, str) or not is_scope(scope):
            raise InvalidApiKeyRequest(
                f"{str(scope)[:100]!r} is no scope; write names joined by colons, with * alone or as the last name."
            )
    return list(dict.fromkeys(sorted(scopes) if isinstance(scopes, set | frozenset) else scopes))


def _checked_whole(name: str, value: Any, least: int, most: int) -> int | None:
    if value is None and least > 0:
        return None
    if type(value) is not int or not least <= value <= most:
        raise InvalidApiKeyRequest(f"{name} is a whole number from {least} to {most}.")
    return value


def _forget(db: EntityStore, key_id: str) -> None:
    """Now, and again once the open transaction is committed: until then the old row is what others read."""
    forget(key_id=key_id)
    db.after_commit(lambda: forget(key_id=key_id))


async def _emit(kernel: Kernel, event: str, row: Row, **more: Any) -> None:
    context = current_context()
    detail = {"key_id": row["id"], "key_name": row["name"], "workspace_id": row["workspace_id"], **more}
    await kernel.emit(SecurityEvent(event, row["user_id"], context.address, detail, context.actor_id))


def _shown(row: Mapping[str, Any], last_used_at: datetime | None) -> Row:
    """What may be shown of a key: never its hash."""
    return {**{field: row[field] for field in _SHOWN}, "last_used_at": last_used_at}


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else clock.to_text(instant)
