"""The routes under /workspaces/{workspace_id} for its members."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Depends

from app_kernel.core.current import current_kernel
from app_kernel.core.deps import forbid_storing
from app_kernel.core.ports import EntityStore
from app_kernel.core.problem_docs import problem
from app_kernel.saas.deps import IN_WORKSPACE, UNAUTHENTICATED, Limit, Member, Offset, Owner, Store, not_allowed
from app_kernel.saas.members import list_members, remove_member, set_member_role, transfer_ownership
from app_kernel.saas.schemas import ChangeMemberRequest, MemberAnswer, TransferRequest
from app_kernel.saas.surroundings import accounts_of

_LAST = problem("The workspace would be without an owner.")
_NO_MEMBER = problem("There is no such workspace or member, or the caller is not in the workspace.")

router = APIRouter(
    prefix="/workspaces/{workspace_id}",
    tags=["workspaces"],
    dependencies=[Depends(forbid_storing)],
    responses={401: UNAUTHENTICATED, **IN_WORKSPACE},
)


@router.get("/members", summary="List the members")
async def get_members(member: Member, db: Store, limit: Limit = 100, offset: Offset = 0) -> list[MemberAnswer]:
    """Who is in the workspace; who joined first comes first."""
    return await _answers(db, await list_members(db, member.workspace_id, limit=limit, offset=offset))


@router.patch(
    "/members/{user_id}",
    summary="Change a member's role",
    responses={403: not_allowed("admin"), 404: _NO_MEMBER, 409: _LAST},
)
async def patch_member(user_id: str, data: ChangeMemberRequest, member: Member, db: Store) -> MemberAnswer:
    """Gives a member another role, up to the caller's own; owners and admins are changed by owners only."""
    changed = await set_member_role(db, member.workspace_id, user_id, data.role, by=member.user_id)
    return (await _answers(db, [changed]))[0]


@router.delete(
    "/members/{user_id}",
    status_code=204,
    summary="Remove a member",
    responses={403: not_allowed("admin"), 404: _NO_MEMBER, 409: _LAST},
)
async def delete_member(user_id: str, member: Member, db: Store) -> None:
    """Ends a membership, the caller's own too; owners and admins are removed by owners only."""
    await remove_member(db, member.workspace_id, user_id, by=member.user_id)


@router.post("/leave", status_code=204, summary="Leave a workspace", responses={409: _LAST})
async def post_leave(member: Member, db: Store) -> None:
    """Ends the caller's membership."""
    await remove_member(db, member.workspace_id, member.user_id, by=member.user_id)


@router.post(
    "/transfer",
    summary="Hand a workspace over",
    responses={403: not_allowed("owner"), 404: _NO_MEMBER},
)
async def post_transfer(data: TransferRequest, member: Owner, db: Store) -> MemberAnswer:
    """Makes another member an owner, and the caller an admin."""
    taker = await transfer_ownership(db, member.workspace_id, member.user_id, data.user_id)
    return (await _answers(db, [taker]))[0]


async def _answers(db: EntityStore, members: Sequence[dict[str, Any]]) -> list[MemberAnswer]:
    accounts = await accounts_of(current_kernel()).list_accounts(db, [each["user_id"] for each in members])
    known = {account.id: account for account in accounts}
    return [
        MemberAnswer(
            user_id=each["user_id"],
            role=each["role"],
            email=known[each["user_id"]].email if each["user_id"] in known else None,
            name=known[each["user_id"]].name if each["user_id"] in known else None,
            joined_at=each["created_at"],
        )
        for each in members
    ]
