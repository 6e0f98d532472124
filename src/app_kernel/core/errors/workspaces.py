"""What cannot be done to a workspace, its members and its invites."""

from app_kernel.core.errors.base import KernelError


class WorkspaceError(KernelError):
    """A workspace cannot be made, used or changed as asked."""


class WorkspaceNotFound(WorkspaceError):
    """There is no such workspace."""

    status = 404
    title = "Not Found"


class WorkspaceRequired(WorkspaceError):
    """This needs a workspace: name one (workspace_id or X-Workspace-ID), or choose one (PUT /auth/me/workspace)."""

    status = 400
    title = "Bad Request"


class AmbiguousWorkspace(WorkspaceError):
    """The request names more than one workspace."""

    status = 400
    title = "Bad Request"


class InvalidWorkspace(WorkspaceError, ValueError):
    """A name, slug, role or address that a workspace, a member or an invite cannot have."""

    status = 422
    title = "Unprocessable Content"


class WorkspaceExists(WorkspaceError):
    """This slug belongs to another workspace."""

    status = 409
    title = "Conflict"


class LastOwner(WorkspaceError):
    """A workspace has at least one owner; make somebody else an owner first."""

    status = 409
    title = "Conflict"


class MemberNotFound(WorkspaceError):
    """There is no such member in this workspace."""

    status = 404
    title = "Not Found"


class AlreadyMember(WorkspaceError):
    """This user is a member of the workspace already."""

    status = 409
    title = "Conflict"


class InviteNotFound(WorkspaceError):
    """There is no such invite, or it is no longer open."""

    status = 404
    title = "Not Found"


class InviteRefused(WorkspaceError):
    """This invite is not for this account, or the account has not confirmed its email."""

    status = 403
    title = "Forbidden"
