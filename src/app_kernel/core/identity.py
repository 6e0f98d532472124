"""Who is calling: the user identity and the dependencies that require one.

The dependencies are instances of FastAPI's SecurityBase: the OpenAPI document shows the scheme, the Authorize
button of /docs works, and a route pays for one dependency instead of two. Their `scheme_name` is a key of
`core.access_docs.ACCESS`, which says what else the document tells of a route that depends on them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from fastapi.openapi.models import OAuth2 as OAuth2Model
from fastapi.openapi.models import OAuthFlowPassword, OAuthFlows
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection

from app_kernel.core.context import current_context
from app_kernel.core.errors import InvalidToken, NotAuthenticated, PermissionDenied
from app_kernel.core.named_workspaces import named_workspaces
from app_kernel.core.policies import makes_dependency


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """The user behind a request, as the account was at most a second ago."""

    id: str
    email: str
    role: str = "user"
    """"user", "admin", or a role of the application's own."""
    is_active: bool = True
    workspace_id: str | None = None
    """The workspace of the request: the one it names, else the user's current one; None unless they are its member."""


TOKEN_PATH = "auth/token"  # noqa: S105 - a path, not a secret


class CurrentUser(SecurityBase):
    """A dependency that gives the signed-in user, and may ask for more than being signed in."""

    def __init__(self, check: Callable[[UserIdentity], bool] | None = None, refusal: str = "") -> None:
        self.model = OAuth2Model(
            flows=OAuthFlows(password=OAuthFlowPassword(tokenUrl=TOKEN_PATH, scopes={})),
            description="An access token of POST /auth/login or /auth/token.",
        )
        self.scheme_name = "user" if check is None else "user_with_role"
        self._check = check
        self._refusal = refusal
        self.roles: tuple[str, ...] = ()
        """The roles of which the user must have one; empty where any will do, or where a check says more."""

    async def __call__(self, request: HTTPConnection) -> UserIdentity:
        """The user whose access token came with the request; raises NotAuthenticated or PermissionDenied."""
        context = current_context()
        user = context.user
        if user is None:
            if context.auth_failure is not None:
                raise context.auth_failure
            if context.auth_error is not None:
                raise InvalidToken(context.auth_error)
            raise NotAuthenticated
        if self._check is not None and not self._check(user):
            raise PermissionDenied(self._refusal)
        return user if context.kernel is None or context.kernel.memberships is None else await _placed(request, user)


class OptionalUser(CurrentUser):
    """A dependency that gives the signed-in user, or None for everybody else."""

    def __init__(self, scheme_name: str = "user_if_any") -> None:
        super().__init__()
        self.scheme_name = scheme_name

    async def __call__(self, request: HTTPConnection) -> UserIdentity | None:  # type: ignore[override]  # None is the point
        """The user whose access token came with the request, or None when none came or it was not accepted.

        Raises what the authenticator raised when it could not tell, so that nobody counts as anonymous by accident.
        """
        context = current_context()
        if context.auth_failure is not None:
            raise context.auth_failure
        user = context.user
        if user is None or context.kernel is None or context.kernel.memberships is None:
            return user
        return await _placed(request, user)


async def _placed(request: HTTPConnection, user: UserIdentity) -> UserIdentity:
    """The user in the workspace of the request. One that they are no member of is as good as none.

    Whether that is an error is for `require_workspace_member` to say: a report for admins may name any workspace.
    """
    context = current_context()
    named = named_workspaces(request)
    workspace_id = user.workspace_id if not named else named.pop() if len(named) == 1 else None
    # The current one is asked for again too: it was read with the session, and membership may have ended since.
    if workspace_id is not None and await context.kernel.memberships.recent_role(workspace_id, user.id) is None:
        workspace_id = None
    if workspace_id != user.workspace_id:
        user = replace(user, workspace_id=workspace_id)
    context.workspace_id = user.workspace_id
    return user


@makes_dependency
def require_role(*roles: str) -> CurrentUser:
    """A dependency that gives the user if their role is one of `roles`, and answers 403 otherwise."""
    if not roles:
        raise ValueError("require_role() needs at least one role")
    wanted = frozenset(roles)
    dependency = CurrentUser(lambda user: user.role in wanted, f"This needs the role {' or '.join(roles)}.")
    dependency.roles = roles
    return dependency


get_current_user = CurrentUser()
"""A dependency that gives the signed-in user, and answers 401 to everybody else."""
get_current_user_optional = OptionalUser()
"""A dependency that gives the signed-in user, or None for everybody else."""
require_admin = require_role("admin")
"""A dependency that gives the user if they are an admin of the service, and answers 403 to others."""
