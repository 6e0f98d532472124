"""Workspaces with members, roles and invites.

app = create_service("shop", routers=[router, create_saas_router()])

@router.get("/projects")
async def list_projects(member: Annotated[Membership, Depends(require_workspace_member)], db=Depends(db_connection)):
    return await db.in_workspace(member.workspace_id).find_entities("projects")

workspace = await create_workspace(db, "Analytical Engines", ada.id)
invite = await create_invite(db, workspace["id"], "charles@example.com", "admin", by=ada.id)
"""

from app_kernel.saas.accepting import (
    accept_invite,
    accept_pending_invite,
    decline_invite,
    decline_pending_invite,
    list_pending_invites,
)
from app_kernel.saas.feature import create_feature, create_saas_router
from app_kernel.saas.invites import cancel_invite, create_invite, list_invites, resend_invite
from app_kernel.saas.members import add_member, list_members, remove_member, set_member_role, transfer_ownership
from app_kernel.saas.tables import TABLES
from app_kernel.saas.workspaces import (
    choose_workspace,
    create_workspace,
    delete_workspace,
    get_workspace,
    list_workspaces,
    restore_workspace,
    update_workspace,
)

__all__ = [
    "TABLES",
    "accept_invite",
    "accept_pending_invite",
    "add_member",
    "cancel_invite",
    "choose_workspace",
    "create_feature",
    "create_invite",
    "create_saas_router",
    "create_workspace",
    "decline_invite",
    "decline_pending_invite",
    "delete_workspace",
    "get_workspace",
    "list_invites",
    "list_members",
    "list_pending_invites",
    "list_workspaces",
    "remove_member",
    "resend_invite",
    "restore_workspace",
    "set_member_role",
    "transfer_ownership",
    "update_workspace",
]
