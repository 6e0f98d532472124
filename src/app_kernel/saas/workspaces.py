"""Making, finding, changing, deleting and restoring workspaces, from routes, jobs and start-up code alike."""

from typing import Any

from app_kernel.core.errors import InvalidWorkspace, WorkspaceExists, WorkspaceNotFound
from app_kernel.core.ports import EntityStore
from app_kernel.saas import store
from app_kernel.saas.authority import ADMIN, OWNER, require_rank
from app_kernel.saas.live import forget
from app_kernel.saas.slugs import another, check_name, check_slug, slug_of
from app_kernel.saas.surroundings import emit_security, hold_account, is_reached
from app_kernel.saas.tables import TABLES

MAX_MEMBERSHIPS = 200
"""Workspaces that a user may be in, deleted ones included. Deleting an account sees to each of them in one commit."""
_ATTEMPTS = 5

Row = dict[str, Any]


async def create_workspace(db: EntityStore, name: str, owner_id: str, *, slug: str | None = None) -> Row:
    """Makes a workspace with its owner as the first member; its row with `role`.

    Without `slug` one is made of the name, with random characters behind it where it is taken. A slug stays taken while
    its workspace is deleted, so that it can be restored. Raises InvalidWorkspace for a name or slug that no workspace
    can have and for a user who is in 200 workspaces, WorkspaceExists for a slug that is taken, AccountNotFound, and
    PermissionDenied for a deactivated account. In a script without a running service the account is not looked at.
    """
    name, wanted = check_name(name), None if slug is None else check_slug(slug)
    await db.privileged.ensure_tables(TABLES)
    async with db.transaction():
        await hold_account(db, owner_id)
        await require_room(db, owner_id)
        row = await (_insert_near(db, name) if wanted is None else store.insert_workspace(db, name, wanted))
        await store.insert_member(db, row["id"], owner_id, OWNER)
        forget(db, row["id"])
        await emit_security("workspace.created", owner_id, row["id"], None)
    return {**row, "role": OWNER}


async def get_workspace(db: EntityStore, workspace_id: str) -> Row | None:
    """The workspace, or None when there is none or it was deleted."""
    return await store.get_workspace(db, workspace_id) if is_reached(db, workspace_id) else None


async def list_workspaces(
    db: EntityStore, user_id: str, *, deleted: bool = False, limit: int = 100, offset: int = 0
) -> list[Row]:
    """The workspaces that a user is in, the oldest first, each with their `role` in it.

    With `deleted` instead those that they may restore: deleted ones of which they are an owner.
    """
    memberships = await store.list_memberships(db, user_id)
    roles = {each["workspace_id"]: each["role"] for each in memberships if not deleted or each["role"] == OWNER}
    rows = await store.find_workspaces(db, list(roles), deleted=deleted, limit=limit, offset=offset)
    return [{**row, "role": roles[row["id"]]} for row in rows]


async def update_workspace(
    db: EntityStore, workspace_id: str, *, name: str | None = None, slug: str | None = None, by: str | None = None
) -> Row:
    """Gives a workspace another name or slug; None leaves it.

    `by` is the user who does it, and must be an admin of it; None where code decides. Raises WorkspaceNotFound (to
    outsiders too), PermissionDenied, InvalidWorkspace and WorkspaceExists.
    """
    given = {"name": None if name is None else check_name(name), "slug": None if slug is None else check_slug(slug)}
    values = {field: value for field, value in given.items() if value is not None}
    async with db.transaction():
        row = await hold_workspace(db, workspace_id, by, ADMIN)
        if values:
            row = await store.update_workspace(db, workspace_id, values)
    return row


async def delete_workspace(db: EntityStore, workspace_id: str, *, by: str | None = None) -> None:
    """Deletes a workspace, so that it can be restored: from now on nobody is in it, and its API keys are refused.

    The application's rows of it stay. `by` must be an owner; see `update_workspace`.
    """
    async with db.transaction():
        await hold_workspace(db, workspace_id, by, OWNER)
        await store.delete_workspace(db, workspace_id)
        forget(db, workspace_id)
        await emit_security("workspace.deleted", by, workspace_id, by)


async def restore_workspace(db: EntityStore, workspace_id: str, *, by: str | None = None) -> Row:
    """Undoes the deletion of a workspace: members, roles, keys and open invites are as they were; its row.

    `by` must be an owner; see `update_workspace`. Restoring one that is not deleted changes nothing.
    """
    async with db.transaction():
        row = await hold_workspace(db, workspace_id, by, OWNER, deleted=True)
        was_deleted = row["deleted_at"] is not None
        if was_deleted:
            row = await store.restore_workspace(db, workspace_id)
        forget(db, workspace_id)
        if was_deleted:
            await emit_security("workspace.restored", by, workspace_id, by)
    return row


async def choose_workspace(db: EntityStore, user_id: str, workspace_id: str | None) -> None:
    """Makes a workspace the one that a user works in where a request names none; None for none.

    Raises WorkspaceNotFound when they are no member of it, and AccountNotFound.
    """
    async with db.transaction():
        await hold_account(db, user_id)
        if workspace_id is not None and await store.get_role(db, workspace_id, user_id) is None:
            raise WorkspaceNotFound
        await store.save_choice(db, user_id, workspace_id)
        await emit_security("workspace.selected", user_id, workspace_id or "", user_id)


async def hold_workspace(
    db: EntityStore, workspace_id: str, by: str | None, least: str, *, deleted: bool = False
) -> Row:
    """The workspace, whose members nobody else changes before the open transaction ends.

    Raises WorkspaceNotFound where there is none and where `by` is not in it, PermissionDenied when their role is less
    than `least`; as they are now, whatever was true when the request began.
    """
    if not is_reached(db, workspace_id) or await store.get_workspace(db, workspace_id, deleted=deleted) is None:
        raise WorkspaceNotFound
    await store.take_turn(db, workspace_id)
    row = await store.get_workspace(db, workspace_id, deleted=deleted)
    if row is None:
        raise WorkspaceNotFound
    if by is not None:
        require_rank(await acting_role(db, workspace_id, by), least)
    return row


async def acting_role(db: EntityStore, workspace_id: str, by: str) -> str:
    """The role of who acts, in a workspace that is held; raises WorkspaceNotFound to outsiders."""
    member = await store.get_member(db, workspace_id, by)
    if member is None:
        raise WorkspaceNotFound
    return str(member["role"])


async def require_room(db: EntityStore, user_id: str) -> None:
    """Raises InvalidWorkspace for a user who is in as many workspaces as can be, within a hold of their account."""
    if await store.count_memberships(db, user_id) >= MAX_MEMBERSHIPS:
        raise InvalidWorkspace(f"A user can be in {MAX_MEMBERSHIPS} workspaces; leave one first.")


async def _insert_near(db: EntityStore, name: str) -> Row:
    base = slug_of(name)
    slug = another(base) if await store.has_slug(db, base) else base
    for _ in range(_ATTEMPTS):
        try:
            return await store.insert_workspace(db, name, slug)
        except WorkspaceExists:
            slug = another(base)
    raise WorkspaceExists(f"Too many workspaces are called like this at this moment; give it a slug other than {base}.")
