"""Every line that touches the tables of workspaces; portable verbs only."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from app_kernel.core import clock
from app_kernel.core.errors import UniqueViolation, WorkspaceExists
from app_kernel.core.ports import EntityStore
from app_kernel.saas.tables import CHOICES, INVITES, MEMBERS, TURNS, WORKSPACES

Row = dict[str, Any]

KEEP_EXPIRED = timedelta(days=30)
"""How long an invite that ran out is still listed, to be sent again."""
PRUNE = 5
"""Invites that ran out long ago which a new one may remove; more than it adds, so the table stays bounded."""
_PAGE = 200

_id = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII).fullmatch
_user_id = re.compile("[^\x00-\x1f\x7f\ud800-\udfff]{1,120}").fullmatch


async def insert_workspace(db: EntityStore, name: str, slug: str) -> Row:
    """Adds a workspace; raises WorkspaceExists when the slug is taken, however close the race."""
    return await _save_workspace(db, {"name": name, "slug": slug})


async def update_workspace(db: EntityStore, workspace_id: str, values: Mapping[str, Any]) -> Row:
    """Changes fields of a workspace; raises WorkspaceExists when the new slug is taken."""
    return await _save_workspace(db, {"id": workspace_id, **values})


async def _save_workspace(db: EntityStore, values: Mapping[str, Any]) -> Row:
    try:
        async with db.transaction():
            return _workspace(await db.privileged.save_entity(WORKSPACES, values))
    except UniqueViolation:
        raise WorkspaceExists from None


async def get_workspace(db: EntityStore, workspace_id: str, *, deleted: bool = False) -> Row | None:
    """The workspace with this id, with `deleted` also one that was deleted, or None."""
    row = await db.privileged.get_entity(WORKSPACES, workspace_id) if _may_be_id(workspace_id) else None
    return None if row is None or (row["removed_at"] is not None and not deleted) else _workspace(row)


async def has_slug(db: EntityStore, slug: str) -> bool:
    """Whether a workspace has this slug, deleted or not."""
    return bool(await db.privileged.count_entities(WORKSPACES, "[slug] = ?", (slug,)))


async def find_workspaces(
    db: EntityStore, workspace_ids: Sequence[str], *, deleted: bool, limit: int, offset: int
) -> list[Row]:
    """Those of the workspaces that are there, or those that were deleted; the oldest first."""
    if not workspace_ids:
        return []
    rows = await db.privileged.find_entities(
        WORKSPACES,
        f"[id] IN (?) AND [removed_at] IS {'NOT ' if deleted else ''}NULL",
        (list(workspace_ids),),
        order_by="[created_at], [id]",
        limit=limit,
        offset=offset,
    )
    return [_workspace(row) for row in rows]


async def deleted_among(db: EntityStore, workspace_ids: Iterable[str]) -> set[str]:
    """Those of the workspaces that were deleted."""
    given = sorted(filter(_may_be_id, set(workspace_ids)))
    if not given:
        return set()
    rows = await db.privileged.find_entities(WORKSPACES, "[id] IN (?) AND [removed_at] IS NOT NULL", (given,))
    return {row["id"] for row in rows}


async def delete_workspace(db: EntityStore, workspace_id: str) -> None:
    """Deletes a workspace, so that it can be restored."""
    await db.privileged.save_entity(WORKSPACES, {"id": workspace_id, "removed_at": clock.now()})


async def restore_workspace(db: EntityStore, workspace_id: str) -> Row:
    """Undoes the deletion of a workspace."""
    return _workspace(await db.privileged.save_entity(WORKSPACES, {"id": workspace_id, "removed_at": None}))


async def take_turn(db: EntityStore, workspace_id: str) -> None:
    """Makes whoever else takes a turn of this workspace wait until the open transaction ends.

    Who waited sees what it left. It is taken before the members of the workspace are read, and after an account is
    held: so nobody decides by what is about to change, and no two wait for each other.
    """
    await take_turns(db, [workspace_id])


async def take_turns(db: EntityStore, workspace_ids: Iterable[str]) -> None:
    """Takes a turn of each of the workspaces, in an order that is the same for all who take several."""
    # Another value each time: a save that changes nothing might not be one.
    turns = [{"id": each, "turn": clock.new_id()} for each in sorted(workspace_ids)]
    if turns:
        await db.privileged.save_entities(TURNS, turns)


async def insert_member(db: EntityStore, workspace_id: str, user_id: str, role: str) -> Row:
    """Adds a membership; within a turn of the workspace, in which there was none."""
    values = {"id": _member_id(workspace_id, user_id), "workspace_id": workspace_id, "user_id": user_id, "role": role}
    return await db.privileged.save_entity(MEMBERS, values)


async def update_member(db: EntityStore, member: Row, role: str) -> Row:
    """Gives a member another role; within a turn of the workspace, in which the row was read."""
    return await db.privileged.save_entity(MEMBERS, {"id": member["id"], "role": role})


async def delete_members(db: EntityStore, members: Sequence[Row]) -> None:
    """Removes memberships for good."""
    if members:
        await db.privileged.delete_entities(MEMBERS, [each["id"] for each in members], permanent=True)


async def get_member(db: EntityStore, workspace_id: str, user_id: str) -> Row | None:
    """The membership of a user in a workspace, deleted or not, or None."""
    if not _may_be_id(workspace_id) or not _may_be_user_id(user_id):
        return None
    return await db.privileged.get_entity(MEMBERS, _member_id(workspace_id, user_id))


async def get_role(db: EntityStore, workspace_id: str, user_id: str, *, deleted: bool = False) -> str | None:
    """The role of a user in a workspace, with `deleted` also in one that was deleted, or None."""
    member = await get_member(db, workspace_id, user_id)
    if member is None or await get_workspace(db, workspace_id, deleted=deleted) is None:
        return None
    return str(member["role"])


async def list_members(db: EntityStore, workspace_id: str, limit: int, offset: int) -> list[Row]:
    """The memberships of a workspace, who joined first at the front."""
    return await db.privileged.find_entities(
        MEMBERS, "[workspace_id] = ?", (workspace_id,), order_by="[created_at], [id]", limit=limit, offset=offset
    )


async def count_owners(db: EntityStore, workspace_id: str) -> int:
    """How many owners a workspace has."""
    return await db.privileged.count_entities(MEMBERS, "[workspace_id] = ? AND [role] = ?", (workspace_id, "owner"))


async def without_owner(db: EntityStore, workspace_ids: Sequence[str]) -> list[str]:
    """Those of the workspaces that have no owner."""
    if not workspace_ids:
        return []
    clause = "[workspace_id] IN (?) AND [role] = ?"
    owners = await db.privileged.find_entities(MEMBERS, clause, (list(workspace_ids), "owner"))
    owned = {each["workspace_id"] for each in owners}
    return [each for each in workspace_ids if each not in owned]


async def list_heirs(db: EntityStore, workspace_id: str) -> list[Row]:
    """Members of a workspace without an owner, at most 200: of the highest role first, and who joined first."""
    return await db.privileged.find_entities(
        MEMBERS,
        "[workspace_id] = ?",
        (workspace_id,),
        # In this order the roles are as they are by rank: admin, member, viewer.
        order_by="[role], [created_at], [id]",
        limit=_PAGE,
    )


async def list_memberships(db: EntityStore, user_id: str) -> list[Row]:
    """Every membership of a user, in deleted workspaces too."""
    return await db.privileged.find_entities(MEMBERS, "[user_id] = ?", (user_id,))


async def count_memberships(db: EntityStore, user_id: str) -> int:
    """How many memberships a user has, in deleted workspaces too."""
    return await db.privileged.count_entities(MEMBERS, "[user_id] = ?", (user_id,))


async def save_invite(db: EntityStore, values: Mapping[str, Any]) -> Row:
    """Adds an invite, or changes the one whose `id` is given, and removes a few that ran out long ago."""
    row = await db.privileged.save_entity(INVITES, values)
    before = clock.now() - KEEP_EXPIRED
    old = await db.privileged.find_entities(
        INVITES, "[expires_at] < ?", (before,), order_by="[expires_at]", limit=PRUNE
    )
    await delete_invites(db, [each["id"] for each in old])
    return row


async def get_invite(db: EntityStore, invite_id: str) -> Row | None:
    """The invite with this id, expired or not, or None."""
    return await db.privileged.get_entity(INVITES, invite_id) if _may_be_id(invite_id) else None


async def find_invite(db: EntityStore, token_hash: str) -> Row | None:
    """The invite whose token has this hash, expired or not, or None."""
    found = await db.privileged.find_entities(INVITES, "[token_hash] = ?", (token_hash,), limit=1)
    return found[0] if found else None


async def find_invite_to(db: EntityStore, workspace_id: str, email: str) -> Row | None:
    """The invite of an address into a workspace, expired or not, or None."""
    clause = "[workspace_id] = ? AND [email] = ?"
    found = await db.privileged.find_entities(INVITES, clause, (workspace_id, email), limit=1)
    return found[0] if found else None


async def list_invites(db: EntityStore, workspace_id: str, limit: int, offset: int) -> list[Row]:
    """The invites into a workspace that were neither accepted nor cancelled, the latest first."""
    return await db.privileged.find_entities(
        INVITES,
        "[workspace_id] = ?",
        (workspace_id,),
        order_by="[created_at] DESC, [id] DESC",
        limit=limit,
        offset=offset,
    )


async def list_invites_of(db: EntityStore, email: str) -> list[Row]:
    """Open invites of an address, at most 200, the latest first."""
    return await db.privileged.find_entities(
        INVITES,
        "[email] = ? AND [expires_at] > ?",
        (email, clock.now()),
        order_by="[created_at] DESC, [id] DESC",
        limit=_PAGE,
    )


async def list_invites_by(db: EntityStore, user_id: str) -> list[Row]:
    """The invites that stand on a user's right to invite, expired ones too."""
    return await db.privileged.find_entities(INVITES, "[invited_by] = ?", (user_id,))


async def count_open_invites(db: EntityStore, workspace_id: str) -> int:
    """How many invites into a workspace can be accepted now."""
    clause = "[workspace_id] = ? AND [expires_at] > ?"
    return await db.privileged.count_entities(INVITES, clause, (workspace_id, clock.now()))


async def delete_invites(db: EntityStore, invite_ids: Iterable[str]) -> None:
    """Removes invites for good."""
    ids = list(invite_ids)
    if ids:
        await db.privileged.delete_entities(INVITES, ids, permanent=True)


async def get_choice(db: EntityStore, user_id: str) -> str | None:
    """The workspace that a user chose to work in, whether or not they are still in it, or None."""
    row = await db.privileged.get_entity(CHOICES, user_id)
    return None if row is None else row["workspace_id"]


async def save_choice(db: EntityStore, user_id: str, workspace_id: str | None) -> None:
    """Notes the workspace that a user works in; None for none."""
    if workspace_id is None:
        await db.privileged.delete_entity(CHOICES, user_id, permanent=True)
    else:
        await db.privileged.save_entity(CHOICES, {"id": user_id, "workspace_id": workspace_id})


def _workspace(row: Row) -> Row:
    """The row as others see it: with when the workspace was deleted as `deleted_at`."""
    return {**{field: value for field, value in row.items() if field != "removed_at"}, "deleted_at": row["removed_at"]}


# Ids come from callers, and not every value can be one. A colon in the first would make two memberships one.
def _may_be_id(value: object) -> bool:
    return isinstance(value, str) and _id(value) is not None


def _may_be_user_id(value: object) -> bool:
    return isinstance(value, str) and _user_id(value) is not None


def _member_id(workspace_id: str, user_id: str) -> str:
    return f"{workspace_id}:{user_id}"
