"""Who is in a workspace, and as what: every change is decided within a turn of the workspace."""

from typing import Any

from app_kernel.core.errors import AlreadyMember, InvalidWorkspace, LastOwner, MemberNotFound
from app_kernel.core.events import UserDeleted
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import EntityStore
from app_kernel.core.workspaces import RANKS
from app_kernel.saas import store
from app_kernel.saas.authority import ADMIN, OWNER, check_role, require_grant, require_power
from app_kernel.saas.live import forget
from app_kernel.saas.surroundings import accounts_of, emit_security, hold_account, is_reached, require_active
from app_kernel.saas.tables import TABLES
from app_kernel.saas.workspaces import acting_role, hold_workspace, require_room

_LEAST = "viewer"

Row = dict[str, Any]


async def add_member(
    db: EntityStore, workspace_id: str, user_id: str, role: str = "member", *, by: str | None = None
) -> Row:
    """Makes a user a member without an invite: for code of the application, which knows that they agree.

    `by` is the user who does it, and may give roles up to their own; None where code decides. Raises WorkspaceNotFound,
    AlreadyMember, AccountNotFound, PermissionDenied, and InvalidWorkspace for text that is no role.
    """
    check_role(role)
    await db.privileged.ensure_tables(TABLES)
    async with db.transaction():
        await hold_account(db, user_id)
        await hold_workspace(db, workspace_id, by, ADMIN)
        if by is not None:
            require_grant(await acting_role(db, workspace_id, by), role)
        member = await insert(db, workspace_id, user_id, role)
        await told_of_joining(db, member, by)
    return member


async def list_members(db: EntityStore, workspace_id: str, *, limit: int = 100, offset: int = 0) -> list[Row]:
    """The memberships of a workspace, who joined first at the front: `user_id`, `role`, `created_at`."""
    return await store.list_members(db, workspace_id, limit, offset) if is_reached(db, workspace_id) else []


async def set_member_role(db: EntityStore, workspace_id: str, user_id: str, role: str, *, by: str | None = None) -> Row:
    """Gives a member another role, from their next request on (in other processes within a second).

    `by` gives roles up to their own, and changes others only if these are below an admin or they are an owner; anybody
    may take a lesser role themselves. None where code decides. Raises WorkspaceNotFound, MemberNotFound,
    PermissionDenied (also to make a deactivated account an owner, which could be left as the only one),
    InvalidWorkspace, and LastOwner for the only owner.
    """
    check_role(role)
    async with db.transaction():
        await hold_workspace(db, workspace_id, by, _LEAST)
        member = await _require_member(db, workspace_id, user_id)
        if by is not None:
            actor = await acting_role(db, workspace_id, by)
            steps_down = by == user_id and RANKS[role] <= RANKS[actor]
            if not steps_down:
                require_grant(actor, role)
                require_power(actor, member["role"])
        if role != OWNER:
            await _keep_an_owner(db, member)
        elif member["role"] != OWNER:
            await require_active(db, user_id)
        changed = await store.update_member(db, member, role)
        await _told_of_role(db, changed, member["role"], by)
    return changed


async def remove_member(db: EntityStore, workspace_id: str, user_id: str, *, by: str | None = None) -> None:
    """Ends a membership, from the next request on (in other processes within a second).

    `by` removes others only if these are below an admin or they are an owner, and may always leave themselves. Raises
    WorkspaceNotFound, MemberNotFound, PermissionDenied, and LastOwner for the only owner.
    """
    async with db.transaction():
        await hold_workspace(db, workspace_id, by, _LEAST)
        member = await _require_member(db, workspace_id, user_id)
        if by is not None and by != user_id:
            require_power(await acting_role(db, workspace_id, by), member["role"])
        await _keep_an_owner(db, member)
        await store.delete_members(db, [member])
        forget(db, workspace_id, user_id)
        name = "workspace.left" if by == user_id else "workspace.member_removed"
        await emit_security(name, user_id, workspace_id, by)


async def transfer_ownership(db: EntityStore, workspace_id: str, from_id: str, to_id: str) -> Row:
    """Makes another member an owner and the owner `from_id` an admin, in one commit; the new owner's membership.

    Raises WorkspaceNotFound, PermissionDenied when `from_id` is no owner or the other account is deactivated,
    MemberNotFound for a user who is no member, and InvalidWorkspace for a transfer to oneself.
    """
    if from_id == to_id:
        raise InvalidWorkspace("A workspace is transferred to another member.")
    async with db.transaction():
        if await store.get_member(db, workspace_id, to_id) is not None:
            await hold_account(db, to_id)
        await hold_workspace(db, workspace_id, from_id, OWNER)
        giver = await _require_member(db, workspace_id, from_id)
        taker = await _require_member(db, workspace_id, to_id)
        taker = await store.update_member(db, taker, OWNER)
        await store.update_member(db, giver, ADMIN)
        for user_id in (from_id, to_id):
            forget(db, workspace_id, user_id)
            await emit_security("workspace.ownership_transferred", user_id, workspace_id, from_id, to=to_id)
    return taker


async def insert(db: EntityStore, workspace_id: str, user_id: str, role: str) -> Row:
    """Adds a membership in a workspace and for an account that are held; raises AlreadyMember, InvalidWorkspace."""
    if await store.get_member(db, workspace_id, user_id) is not None:
        raise AlreadyMember
    await require_room(db, user_id)
    return await store.insert_member(db, workspace_id, user_id, role)


async def told_of_joining(db: EntityStore, member: Row, by: str | None, **detail: Any) -> None:
    """Lets the service know of a new member."""
    forget(db, member["workspace_id"], member["user_id"])
    await emit_security(
        "workspace.joined", member["user_id"], member["workspace_id"], by, role=member["role"], **detail
    )


async def leave_all(kernel: Kernel, event: UserDeleted) -> None:
    """Ends every membership of an account in the commit that deletes it, and leaves no workspace without an owner.

    Where the account was the only owner, the member of the highest role who joined first becomes one, of those who can
    sign in if there are any. A workspace in which nobody is left is deleted.
    """
    db, user_id = kernel.db.connection(), event.user_id
    await store.take_turns(db, [each["workspace_id"] for each in await store.list_memberships(db, user_id)])
    # As whoever had the turns before left them; none can come, as the account is held.
    memberships = await store.list_memberships(db, user_id)
    await store.delete_members(db, memberships)
    await store.save_choice(db, user_id, None)
    for member in memberships:
        forget(db, member["workspace_id"], user_id)
    owned = [each["workspace_id"] for each in memberships if each["role"] == OWNER]
    for workspace_id in await store.without_owner(db, owned):
        await _pass_on(kernel, db, workspace_id, user_id)


async def _pass_on(kernel: Kernel, db: EntityStore, workspace_id: str, owner_id: str) -> None:
    heirs = await store.list_heirs(db, workspace_id)
    if heirs:
        accounts = await accounts_of(kernel).list_accounts(db, [each["user_id"] for each in heirs])
        active = {account.id for account in accounts if account.is_active}
        heir = next((each for each in heirs if each["user_id"] in active), heirs[0])
        await _told_of_role(db, await store.update_member(db, heir, OWNER), heir["role"], None, instead_of=owner_id)
    elif await store.get_workspace(db, workspace_id) is not None:
        await store.delete_workspace(db, workspace_id)
        forget(db, workspace_id)
        await emit_security("workspace.deleted", None, workspace_id, None, reason="empty")


async def _keep_an_owner(db: EntityStore, member: Row) -> None:
    if member["role"] == OWNER and await store.count_owners(db, member["workspace_id"]) < 2:
        raise LastOwner


async def _require_member(db: EntityStore, workspace_id: str, user_id: str) -> Row:
    member = await store.get_member(db, workspace_id, user_id)
    if member is None:
        raise MemberNotFound
    return member


async def _told_of_role(db: EntityStore, member: Row, before: str, by: str | None, **detail: Any) -> None:
    workspace_id, user_id = member["workspace_id"], member["user_id"]
    forget(db, workspace_id, user_id)
    if member["role"] != before:
        changes = {"role": member["role"], "before": before, **detail}
        await emit_security("workspace.role_changed", user_id, workspace_id, by, **changes)
