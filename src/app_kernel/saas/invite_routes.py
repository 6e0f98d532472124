"""The routes of invites: under /workspaces/{workspace_id}/invites for who invites, under /invites for the invited."""

from fastapi import APIRouter, Depends

from app_kernel.core.deps import forbid_storing
from app_kernel.core.problem_docs import problem
from app_kernel.saas.accepting import (
    accept_invite,
    accept_pending_invite,
    decline_invite,
    decline_pending_invite,
    list_pending_invites,
)
from app_kernel.saas.deps import (
    IN_WORKSPACE,
    INVALID,
    THROTTLED,
    UNAUTHENTICATED,
    Admin,
    Limit,
    Offset,
    Store,
    User,
    not_allowed,
)
from app_kernel.saas.invites import cancel_invite, create_invite, list_invites, resend_invite
from app_kernel.saas.schemas import (
    InviteAnswer,
    InviteAnswerRequest,
    InviteRequest,
    MembershipAnswer,
    NewInviteAnswer,
    PendingInviteAnswer,
)

_NO_INVITE = problem("There is no such workspace or invite, or the caller is not in the workspace.")
_CLOSED = problem("The invite is unknown, used, cancelled or expired, or who sent it may no longer invite.")
_REFUSED = problem("The invite is for another address, or the caller has not confirmed theirs.")

router = APIRouter(tags=["workspaces"], dependencies=[Depends(forbid_storing)], responses={401: UNAUTHENTICATED})


@router.post(
    "/workspaces/{workspace_id}/invites",
    status_code=201,
    summary="Invite somebody",
    responses={
        **IN_WORKSPACE,
        403: not_allowed("admin"),
        409: problem("The account with this address is a member already."),
        429: THROTTLED,
    },
)
async def post_invite(data: InviteRequest, member: Admin, db: Store) -> NewInviteAnswer:
    """Invites an address, and mails the invite where mail is set up; the answer is the only one that has the token.

    A new invite for an address takes the place of the one before.
    """
    made = await create_invite(db, member.workspace_id, data.email, data.role, by=member.user_id)
    return NewInviteAnswer.model_validate(made)


@router.get(
    "/workspaces/{workspace_id}/invites",
    summary="List the invites",
    responses={**IN_WORKSPACE, 403: not_allowed("admin")},
)
async def get_invites(member: Admin, db: Store, limit: Limit = 100, offset: Offset = 0) -> list[InviteAnswer]:
    """The invites that were neither accepted nor cancelled, the latest first, expired ones too."""
    rows = await list_invites(db, member.workspace_id, limit=limit, offset=offset)
    return [InviteAnswer.model_validate(row) for row in rows]


@router.post(
    "/workspaces/{workspace_id}/invites/{invite_id}/resend",
    summary="Send an invite again",
    responses={**IN_WORKSPACE, 403: not_allowed("admin"), 404: _NO_INVITE, 429: THROTTLED},
)
async def post_resend(invite_id: str, member: Admin, db: Store) -> NewInviteAnswer:
    """Gives an invite a new token and a new term; the old token ends."""
    return NewInviteAnswer.model_validate(await resend_invite(db, member.workspace_id, invite_id, by=member.user_id))


@router.delete(
    "/workspaces/{workspace_id}/invites/{invite_id}",
    status_code=204,
    summary="Cancel an invite",
    responses={**IN_WORKSPACE, 403: not_allowed("admin"), 404: _NO_INVITE},
)
async def delete_invite(invite_id: str, member: Admin, db: Store) -> None:
    """Ends an invite from now on."""
    await cancel_invite(db, member.workspace_id, invite_id, by=member.user_id)


@router.get("/invites", summary="List the invites for me")
async def get_my_invites(user: User, db: Store) -> list[PendingInviteAnswer]:
    """Open invites for the caller's address; none while it is not confirmed."""
    return [PendingInviteAnswer.model_validate(row) for row in await list_pending_invites(db, user.id)]


@router.post(
    "/invites/accept",
    summary="Accept an invite",
    responses={
        403: _REFUSED,
        404: _CLOSED,
        409: problem("The caller is a member already; the invite stays."),
        422: INVALID,
    },
)
async def post_accept(data: InviteAnswerRequest, user: User, db: Store) -> MembershipAnswer:
    """Makes the caller a member, by the token of an invite or by the id of a listed one."""
    if data.token is not None:
        return MembershipAnswer.model_validate(await accept_invite(db, data.token, user.id))
    return MembershipAnswer.model_validate(await accept_pending_invite(db, data.invite_id or "", user.id))


@router.post(
    "/invites/decline",
    status_code=204,
    summary="Decline an invite",
    responses={403: _REFUSED, 404: _CLOSED, 422: INVALID},
)
async def post_decline(data: InviteAnswerRequest, user: User, db: Store) -> None:
    """Ends an invite for the caller's address."""
    if data.token is not None:
        await decline_invite(db, data.token, user.id)
    else:
        await decline_pending_invite(db, data.invite_id or "", user.id)
