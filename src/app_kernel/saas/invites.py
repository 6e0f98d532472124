"""Inviting people into a workspace by their address.

Who has the token has no more than a chance: it is accepted only for an account of this very address, which its owner
has confirmed, and only while who invited may still do so.
"""

from datetime import timedelta
from typing import Any

from app_kernel.core import clock
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import AlreadyMember, InvalidWorkspace, InviteNotFound
from app_kernel.core.events import OwnershipProven
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import EntityStore
from app_kernel.core.workspaces import RANKS
from app_kernel.saas import store
from app_kernel.saas.authority import ADMIN, INVITED_AS, check_role
from app_kernel.saas.invite_mail import mail_invite, may_mail
from app_kernel.saas.invite_token import hash_token, new_token
from app_kernel.saas.surroundings import accounts_of, emit_security, find_kernel, is_reached
from app_kernel.saas.tables import TABLES
from app_kernel.saas.workspaces import hold_workspace

MAX_OPEN = 200
"""Open invites that a workspace may have."""

Row = dict[str, Any]


async def create_invite(
    db: EntityStore, workspace_id: str, email: str, role: str = "member", *, by: str | None = None
) -> Row:
    """Invites an address and mails the invite where mail is set up; its row with `token`, which nobody can get again.

    It can be accepted for `invite_days`. An address that is invited already gets a new invite in the place of the old
    one, whose token ends. `by` is the user who invites, and must be an admin now and when it is accepted; None where
    code decides. It needs a running service. Raises WorkspaceNotFound, PermissionDenied; InvalidWorkspace for a role
    other than viewer, member and admin, and for more than 200 open invites; InvalidEmail; AlreadyMember;
    TooManyAttempts when `by` had more than 100 mails sent within an hour. An address that got 10 gets no more of them,
    then `mailed` is False as it is without mail.
    """
    accounts = accounts_of(current_kernel())
    address = accounts.canonical_email(email)
    check_role(role, INVITED_AS)
    await db.privileged.ensure_tables(TABLES)
    mailed = await may_mail(address, by)
    async with db.transaction():
        workspace = await hold_workspace(db, workspace_id, by, ADMIN)
        account = await accounts.find_account(db, address)
        if account is not None and await store.get_member(db, workspace_id, account.id) is not None:
            raise AlreadyMember
        before = await store.find_invite_to(db, workspace_id, address)
        if before is None or before["expires_at"] <= clock.now():
            await _require_room(db, workspace_id)
        given = {} if before is None else {"id": before["id"]}
        made = await _save(db, workspace, {**given, "email": address, "role": role, "invited_by": by}, mailed)
        await emit_security("workspace.invited", by, workspace_id, by, invite_id=made["id"], role=role)
    return made


async def resend_invite(db: EntityStore, workspace_id: str, invite_id: str, *, by: str | None = None) -> Row:
    """Makes a new token for an invite, expired or not, in the place of the old one, and mails it; as `create_invite`.

    From now on it stands on the right of `by` to invite. Raises InviteNotFound besides.
    """
    invite = await store.get_invite(db, invite_id)
    if invite is None or invite["workspace_id"] != workspace_id:
        raise InviteNotFound
    mailed = await may_mail(invite["email"], by)
    async with db.transaction():
        workspace = await hold_workspace(db, workspace_id, by, ADMIN)
        invite = await _require(db, workspace_id, invite_id)
        if invite["expires_at"] <= clock.now():
            await _require_room(db, workspace_id)
        kept = {field: invite[field] for field in ("id", "email", "role")}
        made = await _save(db, workspace, {**kept, "invited_by": by}, mailed)
        await emit_security("workspace.invited", by, workspace_id, by, invite_id=invite_id, role=made["role"])
    return made


async def cancel_invite(db: EntityStore, workspace_id: str, invite_id: str, *, by: str | None = None) -> None:
    """Ends an invite and removes the address; raises WorkspaceNotFound, PermissionDenied and InviteNotFound."""
    async with db.transaction():
        await hold_workspace(db, workspace_id, by, ADMIN)
        await _require(db, workspace_id, invite_id)
        await store.delete_invites(db, [invite_id])
        await emit_security("workspace.invite_cancelled", None, workspace_id, by, invite_id=invite_id)


async def list_invites(db: EntityStore, workspace_id: str, *, limit: int = 100, offset: int = 0) -> list[Row]:
    """The invites into a workspace, the latest first, expired ones for 30 days; without their tokens."""
    found = await store.list_invites(db, workspace_id, limit, offset) if is_reached(db, workspace_id) else []
    return [_shown(row) for row in found]


async def withdraw_early(kernel: Kernel, event: OwnershipProven) -> None:
    """Ends what whoever signed up under an address has prepared, in the commit that gives the account to its owner.

    These are the invites that the account sent, and the choice of a workspace in which others are: the owner is to see
    who they share one with before they work in it.
    """
    db, user_id = kernel.db.connection(), event.user_id
    invites = await store.list_invites_by(db, user_id)
    await store.take_turns(db, {each["workspace_id"] for each in invites})
    await store.delete_invites(db, [each["id"] for each in invites])
    for each in invites:
        detail = {"invite_id": each["id"], "reason": "ownership_proven"}
        await emit_security("workspace.invite_cancelled", None, each["workspace_id"], user_id, **detail)
    chosen = await store.get_choice(db, user_id)
    if chosen is not None and len(await store.list_members(db, chosen, 2, 0)) > 1:
        await store.save_choice(db, user_id, None)


async def may_still_invite(db: EntityStore, invite: Row) -> bool:
    """Whether who invited may do so now: they can sign in, and are an admin of the workspace or more.

    Code that invited in nobody's name always may.
    """
    by, kernel = invite["invited_by"], find_kernel()
    if by is None:
        return True
    role = await store.get_role(db, invite["workspace_id"], by)
    if role is None or RANKS[role] < max(RANKS[ADMIN], RANKS[invite["role"]]):
        return False
    account = None if kernel is None else await accounts_of(kernel).get_account(db, by)
    return account is not None and account.is_active


async def _save(db: EntityStore, workspace: Row, values: Row, mailed: bool) -> Row:
    """Gives an invite a new token and mails it where it may, in one commit."""
    config, token, now = current_kernel().config, new_token(), clock.now()
    sent = {
        "token_hash": hash_token(token),
        "sent_at": now,
        "expires_at": now + timedelta(days=config.invite_days),
    }
    row = _shown(await store.save_invite(db, {"workspace_id": workspace["id"], **values, **sent}))
    link = None if config.accept_invite_url is None else f"{config.accept_invite_url}#token={token}"
    if mailed:
        await mail_invite(db, workspace, row, token, link)
    return {**row, "token": token, "link": link, "mailed": mailed}


async def _require(db: EntityStore, workspace_id: str, invite_id: str) -> Row:
    invite = await store.get_invite(db, invite_id)
    if invite is None or invite["workspace_id"] != workspace_id:
        raise InviteNotFound
    return invite


async def _require_room(db: EntityStore, workspace_id: str) -> None:
    if await store.count_open_invites(db, workspace_id) >= MAX_OPEN:
        raise InvalidWorkspace(f"A workspace has at most {MAX_OPEN} open invites; cancel one first.")


def _shown(row: Row) -> Row:
    """What may be shown of an invite: never its hash."""
    return {field: value for field, value in row.items() if field != "token_hash"}
