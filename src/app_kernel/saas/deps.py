"""What the routes of workspaces depend on."""

from typing import Annotated, Any

from fastapi import Depends, Query

from app_kernel.core.deps import db_connection
from app_kernel.core.identity import UserIdentity, get_current_user
from app_kernel.core.ports import EntityStore
from app_kernel.core.problem_docs import problem
from app_kernel.core.workspaces import Membership, require_workspace_member, require_workspace_role

Store = Annotated[EntityStore, Depends(db_connection)]
User = Annotated[UserIdentity, Depends(get_current_user)]
Member = Annotated[Membership, Depends(require_workspace_member)]
Admin = Annotated[Membership, Depends(require_workspace_role("admin"))]
Owner = Annotated[Membership, Depends(require_workspace_role("owner"))]
Limit = Annotated[int, Query(ge=1, le=200)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]

UNAUTHENTICATED = problem("No access token, or one that is invalid, expired or revoked; or an API key.")
AMBIGUOUS = problem("The path and X-Workspace-ID or the query name different workspaces.")
INVALID = problem("The request does not validate, or a value cannot be used; detail says why.")
THROTTLED = problem("Too many invites were mailed; Retry-After says how many seconds to wait.")
NO_WORKSPACE = problem("There is no such workspace, or the caller is not in it.")
IN_WORKSPACE: dict[int | str, dict[str, Any]] = {400: AMBIGUOUS, 404: NO_WORKSPACE, 422: INVALID}
"""Error answers of every route of one workspace."""


def not_allowed(role: str) -> dict[str, Any]:
    """The documentation of a 403."""
    return problem(f"The caller's role is less than {role}, or does not reach what is to be changed.")
