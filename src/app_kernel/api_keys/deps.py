"""Dependencies that accept a user or an API key. Nothing else in the kernel accepts a key."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection

from app_kernel.api_keys.credential import Auth, missing_scope
from app_kernel.api_keys.last_used import OpenDb
from app_kernel.api_keys.live import REFUSED, LiveKeys
from app_kernel.api_keys.scopes import EVERYTHING, granted_to, is_scope
from app_kernel.core import deps, identity
from app_kernel.core.context import current_context
from app_kernel.core.errors import (
    AmbiguousWorkspace,
    InvalidToken,
    NoRunningKernel,
    NotAuthenticated,
    RateLimited,
    WorkspaceNotFound,
)
from app_kernel.core.events import RequestLimited
from app_kernel.core.exchange import exchange_of
from app_kernel.core.identity import UserIdentity
from app_kernel.core.kernel import Kernel
from app_kernel.core.limits import is_counted_for, limit_headers, limit_of, whole_seconds
from app_kernel.core.named_workspaces import named_workspaces
from app_kernel.core.policies import makes_dependency
from app_kernel.core.ports import RateLimiter

GetUser = Callable[[HTTPConnection], Awaitable[UserIdentity | None] | UserIdentity | None]

_ACCEPTED = "app_kernel.api_keys"
"""Where the scope of a request keeps what was accepted, so that several dependencies of a route check it once."""
_MIXED = "The request has more than one credential; send one."
_DESCRIPTION = (
    "The access token of a user, or an API key: `Authorization: Bearer sk_live_...`, or in the header `X-API-Key`."
)


class CombinedAuth(SecurityBase):
    """A dependency that gives who calls and what they may do, and may ask for a scope; see `create_combined_auth`."""

    def __init__(self, open_db: OpenDb, get_user: GetUser, scope: str | None = None) -> None:
        self.model = HTTPBearer(description=_DESCRIPTION)
        self.scheme_name = "user_or_api_key" if scope is None else "user_or_api_key_with_scope"
        self._open_db = open_db
        self._get_user = get_user
        self.scope = scope
        """What the caller must be allowed to do; None where any live key, and any user, will do."""

    async def __call__(self, request: HTTPConnection) -> Auth:
        """Who calls; raises NotAuthenticated or InvalidToken (401), MissingScope (403), RateLimited (429)."""
        kernel: Kernel | None = current_context().kernel
        if kernel is None:
            # Beside the kernel's layers there is no context of this request that could hold whose key it is.
            raise NoRunningKernel
        key = _key_of(request)
        auth = await self._user_auth(kernel, request) if key is None else await self._key_auth(kernel, request, key)
        if self.scope is not None and not auth.has_scope(self.scope):
            raise missing_scope(self.scope)
        return auth

    async def _user_auth(self, kernel: Kernel, request: HTTPConnection) -> Auth:
        found: Any = self._get_user(request)
        user: UserIdentity | None = await found if inspect.isawaitable(found) else found
        if user is None or not user.is_active:
            raise NotAuthenticated
        scopes = granted_to(user.role, kernel.config.role_scopes)
        return Auth("user", user.id, user, workspace_id=user.workspace_id, scopes=scopes)

    async def _key_auth(self, kernel: Kernel, request: HTTPConnection, key: str) -> Auth:
        context = current_context()
        if context.user is not None:
            # A cookie of a signed-in browser beside a key: nobody can say which of the two was meant.
            raise InvalidToken(_MIXED)
        accepted = request.scope.setdefault(_ACCEPTED, {})
        auth: Auth | None = accepted.get(self._open_db)
        if auth is None:
            live = kernel.find_port(LiveKeys)
            if live is None:
                raise InvalidToken("This service has no API keys.")
            auth = await live.check(key, self._open_db)
            await _count_request(kernel, request, auth)
            accepted[self._open_db] = auth
        auth = await _placed(kernel, request, auth)
        context.actor_id, context.api_key_id = auth.user_id, auth.key_id
        if auth.workspace_id is not None:
            context.workspace_id = auth.workspace_id
        return auth


@makes_dependency
def create_combined_auth(get_db_connection: OpenDb, get_current_user: GetUser) -> CombinedAuth:
    """A dependency for `Depends`: accepts the access token of a user, or an API key, and gives an `Auth`.

    Keys are looked up through `get_db_connection`, which opens a context with a database handle; users come from
    `get_current_user`, which is called with the request, plain or async. A key counts as its owner: rows that the route
    saves carry the owner as `created_by`. Answers 401 without a credential, with one that is not accepted, and with
    two; 429 with too many wrong keys from one address, or too many requests of one owner. A key for a workspace is good
    for this one only: where the path parameter or query parameter `workspace_id`, or the header `X-Workspace-ID`, names
    another one, the answer is 404. Of another key, the workspace that the request names is `auth.workspace_id`; where
    its owner is not in it the answer is 404. So `auth.workspace_id` is always one that the caller is a member of.
    """
    return CombinedAuth(get_db_connection, get_current_user)


@makes_dependency
def require_scope(scope: str) -> CombinedAuth:
    """A dependency for `Depends`: as `create_combined_auth` in the service's own database, and 403 without the scope.

    Raises ValueError, when the route is made, for text that is no scope; `*` is none that a route can ask for.
    """
    if not is_scope(scope) or scope == EVERYTHING:
        raise ValueError(f"{scope!r} is no scope that a route can ask for; write names joined by colons")
    return CombinedAuth(deps.get_db_connection, identity.get_current_user, scope)


async def _placed(kernel: Kernel, request: HTTPConnection, auth: Auth) -> Auth:
    """The key in the workspace that it is for, else in the one that the request names, if its owner is in it now.

    Raises WorkspaceNotFound where another one is named, or one that the owner is not in: whether there is such a
    workspace is no business of the key's holder. Raises AmbiguousWorkspace, and InvalidToken when the owner left.
    """
    own, named = auth.workspace_id, named_workspaces(request)
    if own is not None and named - {own}:
        raise WorkspaceNotFound
    memberships = kernel.memberships
    if memberships is None or (own is None and not named):
        return auth
    if len(named) > 1:
        raise AmbiguousWorkspace
    workspace_id = own or named.pop()
    if await memberships.recent_role(workspace_id, auth.user_id) is None:
        raise WorkspaceNotFound if own is None else InvalidToken(REFUSED)
    if own is not None:
        return auth
    return replace(auth, workspace_id=workspace_id, user=replace(auth.user, workspace_id=workspace_id))


async def _count_request(kernel: Kernel, request: HTTPConnection, auth: Auth) -> None:
    """Counts a request against the limit of the key's owner, as the owner's own; raises RateLimited at its end.

    A route with a limit of its own counts nowhere else: the layer of rate limits has counted it by address. Nor is one
    counted twice that this layer knew to be the owner's.
    """
    config = kernel.config
    limiter = kernel.find_port(RateLimiter)  # type: ignore[type-abstract]  # a port is asked for by its protocol
    if (
        limiter is None
        or limit_of(request.scope.get("endpoint")) is not None
        or is_counted_for(request.scope, auth.user_id)
    ):
        return
    allowance = await limiter.hit(f"user:{auth.user_id}", config.rate_limit_requests, config.rate_limit_window)
    if request.scope["type"] == "http":
        exchange = exchange_of(request.scope)
        others = [header for header in exchange.extra_headers if not header[0].startswith(b"ratelimit")]
        exchange.extra_headers = others + limit_headers("default", allowance)
    if not allowance.allowed:
        await kernel.emit(RequestLimited("default"))
        raise RateLimited(whole_seconds(allowance.reset_after))


def _key_of(request: HTTPConnection) -> str | None:
    """The API key that came with the request, None without one; raises InvalidToken for two credentials."""
    authorizations: list[bytes] = []
    keys: list[bytes] = []
    for name, value in request.scope["headers"]:
        if name == b"authorization":
            authorizations.append(value)
        elif name == b"x-api-key":
            keys.append(value)
    if len(authorizations) + len(keys) > 1:
        raise InvalidToken(_MIXED)
    if keys:
        return keys[0].strip().decode("latin-1")
    if not authorizations:
        return None
    scheme, _, token = authorizations[0].partition(b" ")
    token = token.strip()
    return token.decode("latin-1") if scheme.lower() == b"bearer" and token.startswith(b"sk_") else None
