"""Who may do what in the workspace of a request: the dependencies of routes, over the port Memberships."""

from dataclasses import dataclass

from starlette.requests import HTTPConnection

from app_kernel.core.context import current_context
from app_kernel.core.errors import (
    AmbiguousWorkspace,
    PermissionDenied,
    WorkspaceNotFound,
    WorkspaceRequired,
)
from app_kernel.core.identity import CurrentUser, get_current_user
from app_kernel.core.named_workspaces import named_workspaces
from app_kernel.core.policies import makes_dependency

ROLES = ("viewer", "member", "admin", "owner")
"""Roles in a workspace, each with all that the ones before it may do."""
RANKS = {role: rank for rank, role in enumerate(ROLES)}


@dataclass(frozen=True, slots=True)
class Membership:
    """That a user belongs to a workspace, as it was at most a second ago."""

    workspace_id: str
    user_id: str
    role: str
    """viewer, member, admin or owner."""


class WorkspaceMember(CurrentUser):
    """A dependency that gives the signed-in user's membership in the workspace of the request."""

    def __init__(self, role: str = ROLES[0]) -> None:
        super().__init__()
        self.scheme_name = "workspace_member" if role == ROLES[0] else "workspace_role"
        self.role = role
        """The least role that is let in."""

    async def __call__(self, request: HTTPConnection) -> Membership:  # type: ignore[override]  # another thing is given
        """The membership; raises NotAuthenticated, WorkspaceRequired, AmbiguousWorkspace (400), WorkspaceNotFound
        (404, to outsiders too) and PermissionDenied (403)."""
        user = await get_current_user(request)
        context = current_context()
        memberships = None if context.kernel is None else context.kernel.memberships
        if memberships is None:
            raise PermissionDenied("This service has no workspaces: set saas_enabled, or add create_saas_router().")
        named = named_workspaces(request) or ({user.workspace_id} if user.workspace_id else set())
        if len(named) > 1:
            raise AmbiguousWorkspace
        if not named:
            raise WorkspaceRequired
        workspace_id = named.pop()
        role = await memberships.recent_role(workspace_id, user.id)
        if role is None:
            raise WorkspaceNotFound
        # A role that the kernel does not know, of another provider, is good for nothing.
        if RANKS.get(role, -1) < RANKS[self.role]:
            raise PermissionDenied(f"This needs the role {self.role} in the workspace.")
        context.workspace_id = workspace_id
        return Membership(workspace_id, user.id, role)


@makes_dependency
def require_workspace_role(role: str) -> WorkspaceMember:
    """A dependency that gives the membership of a user with at least this role in the workspace of the request.

    Roles are viewer, member, admin and owner; each may do what the ones before it may. The workspace is the one that
    `workspace_id` in the path or query or the header `X-Workspace-ID` names, else the user's current one. Answers 401
    without a user, 400 when two of these places disagree or none names one, 404 to outsiders and for workspaces that do
    not exist, and 403 for a lesser role. Raises ValueError for an unknown role.
    """
    if role not in RANKS:
        raise ValueError(f"{role!r} is no role in a workspace; there are {', '.join(ROLES)}")
    return WorkspaceMember(role)


require_workspace_member = WorkspaceMember()
"""A dependency that gives the membership of a user of whatever role; see `require_workspace_role`."""
