"""The routes under /workspaces for workspaces themselves, and /auth/me/workspace."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from app_kernel.core.deps import forbid_storing
from app_kernel.core.errors import WorkspaceNotFound
from app_kernel.core.problem_docs import problem
from app_kernel.saas import store
from app_kernel.saas.deps import (
    IN_WORKSPACE,
    INVALID,
    NO_WORKSPACE,
    UNAUTHENTICATED,
    Admin,
    Limit,
    Member,
    Offset,
    Owner,
    Store,
    User,
    not_allowed,
)
from app_kernel.saas.schemas import (
    ChangeWorkspaceRequest,
    ChooseWorkspaceRequest,
    CreateWorkspaceRequest,
    CurrentWorkspaceAnswer,
    WorkspaceAnswer,
)
from app_kernel.saas.workspaces import (
    choose_workspace,
    create_workspace,
    delete_workspace,
    get_workspace,
    list_workspaces,
    restore_workspace,
    update_workspace,
)

_TAKEN = problem("Another workspace has the slug, a deleted one perhaps.")

router = APIRouter(
    tags=["workspaces"], dependencies=[Depends(forbid_storing)], responses={401: UNAUTHENTICATED, 422: INVALID}
)


@router.post("/workspaces", status_code=201, summary="Make a workspace", responses={409: _TAKEN})
async def post_workspace(data: CreateWorkspaceRequest, user: User, db: Store) -> WorkspaceAnswer:
    """Makes a workspace of which the caller is the owner."""
    return WorkspaceAnswer.model_validate(await create_workspace(db, data.name, user.id, slug=data.slug))


@router.get("/workspaces", summary="List my workspaces")
async def get_workspaces(
    user: User,
    db: Store,
    deleted: Annotated[bool, Query(description="Instead: deleted ones, which the caller may restore.")] = False,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[WorkspaceAnswer]:
    """The workspaces that the caller is in, the oldest first."""
    rows = await list_workspaces(db, user.id, deleted=deleted, limit=limit, offset=offset)
    return [WorkspaceAnswer.model_validate(row) for row in rows]


@router.get("/workspaces/{workspace_id}", summary="Look at a workspace", responses=IN_WORKSPACE)
async def get_one_workspace(member: Member, db: Store) -> WorkspaceAnswer:
    """One workspace that the caller is in."""
    row = await get_workspace(db, member.workspace_id)
    if row is None:
        raise WorkspaceNotFound
    return WorkspaceAnswer.model_validate({**row, "role": member.role})


@router.patch(
    "/workspaces/{workspace_id}",
    summary="Change a workspace",
    responses={**IN_WORKSPACE, 403: not_allowed("admin"), 409: _TAKEN},
)
async def patch_workspace(data: ChangeWorkspaceRequest, member: Admin, db: Store) -> WorkspaceAnswer:
    """Gives a workspace another name or slug; for admins."""
    row = await update_workspace(db, member.workspace_id, name=data.name, slug=data.slug, by=member.user_id)
    return WorkspaceAnswer.model_validate({**row, "role": member.role})


@router.delete(
    "/workspaces/{workspace_id}",
    status_code=204,
    summary="Delete a workspace",
    responses={**IN_WORKSPACE, 403: not_allowed("owner")},
)
async def remove_workspace(member: Owner, db: Store) -> None:
    """Shuts everybody out of a workspace and ends its API keys, until an owner restores it; for owners."""
    await delete_workspace(db, member.workspace_id, by=member.user_id)


@router.post(
    "/workspaces/{workspace_id}/restore",
    summary="Restore a deleted workspace",
    responses={403: not_allowed("owner"), 404: NO_WORKSPACE},
)
async def post_restore(workspace_id: str, user: User, db: Store) -> WorkspaceAnswer:
    """Brings a workspace back, with its members and keys; for its owners."""
    row = await restore_workspace(db, workspace_id, by=user.id)
    return WorkspaceAnswer.model_validate({**row, "role": "owner"})


@router.get("/auth/me/workspace", summary="Which workspace I work in")
async def get_current(user: User, db: Store) -> CurrentWorkspaceAnswer:
    """The workspace of the caller's requests that name none; null when none was chosen."""
    workspace_id = await store.get_choice(db, user.id)
    role = None if workspace_id is None else await store.get_role(db, workspace_id, user.id)
    return CurrentWorkspaceAnswer(workspace_id=workspace_id if role is not None else None, role=role)


@router.put("/auth/me/workspace", summary="Choose the workspace I work in", responses={404: NO_WORKSPACE})
async def put_current(data: ChooseWorkspaceRequest, user: User, db: Store) -> CurrentWorkspaceAnswer:
    """Makes a workspace the one of the caller's requests that name none, in all their sessions; null for none."""
    await choose_workspace(db, user.id, data.workspace_id)
    return await get_current(user, db)
