"""Invites as seen by who is invited: finding, accepting and declining them."""

from collections.abc import Awaitable, Callable
from typing import Any

from app_kernel.core import clock
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import AccountNotFound, InviteNotFound, InviteRefused
from app_kernel.core.ports import Account, EntityStore
from app_kernel.saas import store
from app_kernel.saas.invite_token import hash_token, is_token
from app_kernel.saas.invites import may_still_invite
from app_kernel.saas.members import insert, told_of_joining
from app_kernel.saas.surroundings import accounts_of, emit_security, hold_account

Row = dict[str, Any]
Find = Callable[[], Awaitable[Row | None]]


async def list_pending_invites(db: EntityStore, user_id: str) -> list[Row]:
    """The invites that a user can accept now, with `workspace_name` and without tokens, the latest first.

    They are those of the account's address; none while that is not confirmed.
    """
    account = await accounts_of(current_kernel()).get_account(db, user_id)
    if account is None or not account.email_verified:
        return []
    pending = []
    for invite in await store.list_invites_of(db, account.email):
        workspace = await store.get_workspace(db, invite["workspace_id"])
        if workspace is not None and await may_still_invite(db, invite):
            pending.append({**invite, "workspace_name": workspace["name"]})
    return pending


async def accept_invite(db: EntityStore, token: str, user_id: str) -> Row:
    """Makes a user a member by the token of an invite, which is used up by it; the membership.

    Raises InviteNotFound for a token that is unknown, used, cancelled or expired, whose workspace was deleted or whose
    sender may no longer invite; InviteRefused (403) when the account has another address or has not confirmed its own;
    AlreadyMember, which leaves the invite as it is; AccountNotFound and PermissionDenied (a deactivated account).
    """
    return await _accept(db, lambda: _by_token(db, token), user_id)


async def accept_pending_invite(db: EntityStore, invite_id: str, user_id: str) -> Row:
    """As `accept_invite`, by the id of one of the invites that `list_pending_invites` gives."""
    return await _accept(db, lambda: _by_id(db, invite_id, user_id), user_id)


async def decline_invite(db: EntityStore, token: str, user_id: str) -> None:
    """Ends an invite of this user's address; raises InviteNotFound and InviteRefused as `accept_invite` does."""
    await _decline(db, lambda: _by_token(db, token), user_id)


async def decline_pending_invite(db: EntityStore, invite_id: str, user_id: str) -> None:
    """As `decline_invite`, by the id of one of the invites that `list_pending_invites` gives."""
    await _decline(db, lambda: _by_id(db, invite_id, user_id), user_id)


async def _accept(db: EntityStore, find: Find, user_id: str) -> Row:
    async with db.transaction():
        invite = await _hold(db, find, user_id)
        if await store.get_workspace(db, invite["workspace_id"]) is None or not await may_still_invite(db, invite):
            raise InviteNotFound
        member = await insert(db, invite["workspace_id"], user_id, invite["role"])
        await store.delete_invites(db, [invite["id"]])
        await told_of_joining(db, member, user_id, invite_id=invite["id"], invited_by=invite["invited_by"])
    return member


async def _decline(db: EntityStore, find: Find, user_id: str) -> None:
    async with db.transaction():
        invite = await _hold(db, find, user_id)
        await store.delete_invites(db, [invite["id"]])
        detail = {"invite_id": invite["id"], "reason": "declined"}
        await emit_security("workspace.invite_cancelled", user_id, invite["workspace_id"], user_id, **detail)


async def _hold(db: EntityStore, find: Find, user_id: str) -> Row:
    """The open invite, for an account that may take it; nobody else takes it before the open transaction ends."""
    invite = await find()
    if invite is None:
        raise InviteNotFound
    account = await hold_account(db, user_id)
    if account is None:
        raise AccountNotFound
    await store.take_turn(db, invite["workspace_id"])
    invite = await find()  # as whoever had the turn before left it
    if invite is None or invite["expires_at"] <= clock.now():
        raise InviteNotFound
    _require_receiver(invite, account)
    return invite


def _require_receiver(invite: Row, account: Account) -> None:
    if account.email != invite["email"]:
        raise InviteRefused("This invite is for another address than that of your account.")
    if not account.email_verified:
        raise InviteRefused("Confirm the address of your account first, then accept the invite.")


async def _by_token(db: EntityStore, token: str) -> Row | None:
    return await store.find_invite(db, hash_token(token)) if is_token(token) else None


async def _by_id(db: EntityStore, invite_id: str, user_id: str) -> Row | None:
    """None for an invite of others, too: only who has its token learns that there is one."""
    account = await accounts_of(current_kernel()).get_account(db, user_id)
    invite = await store.get_invite(db, invite_id)
    return invite if invite is not None and account is not None and account.email == invite["email"] else None
