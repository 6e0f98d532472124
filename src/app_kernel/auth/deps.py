"""What the routes of auth depend on."""

from typing import Annotated

from fastapi import Depends, Header, Request

from app_kernel.auth.issuer import Issuer
from app_kernel.auth.tokens import AccessClaims
from app_kernel.core.context import current_context
from app_kernel.core.current import current_kernel
from app_kernel.core.deps import db_connection
from app_kernel.core.errors import InvalidToken, NotAuthenticated
from app_kernel.core.identity import OptionalUser, UserIdentity, get_current_user
from app_kernel.core.ports import EntityStore
from app_kernel.core.problem_docs import problem


async def issuer_of_service() -> Issuer:
    """The sessions of the running service."""
    return current_kernel().port(Issuer)


Store = Annotated[EntityStore, Depends(db_connection)]
Sessions = Annotated[Issuer, Depends(issuer_of_service)]
User = Annotated[UserIdentity, Depends(get_current_user)]
UserAgent = Annotated[str | None, Header(include_in_schema=False)]


async def claims_of_request(request: Request, user: User, sessions: Sessions) -> AccessClaims:
    """What the access token of the signed-in caller says."""
    claims = sessions.live.find_claims(request.scope)
    if claims is None:
        raise NotAuthenticated
    return claims


async def claims_if_any(request: Request, sessions: Sessions) -> AccessClaims | None:
    """What the caller's access token says; None without one.

    A token that is not accepted is refused rather than overlooked: who sent one does not mean to be nobody. But the
    cookie of a session that ended comes along by itself.
    """
    context = current_context()
    if context.auth_failure is not None:
        raise context.auth_failure
    if context.auth_error is not None and "authorization" in request.headers:
        raise InvalidToken(context.auth_error)
    return None if context.user is None else sessions.live.find_claims(request.scope)


get_user_of_session = OptionalUser("user_of_session")
"""Gives the signed-in user, or None where the route itself looks for the refresh cookie of a session."""

Claims = Annotated[AccessClaims, Depends(claims_of_request)]
MaybeClaims = Annotated[AccessClaims | None, Depends(claims_if_any)]

UNAUTHENTICATED = problem("No access token, or one that is invalid, expired or revoked.")
THROTTLED = problem("Too many failed attempts; Retry-After says how many seconds to wait.")
BUSY = problem("Too many passwords wait to be checked; try again after Retry-After seconds.")
INVALID = problem("The request does not validate.")
