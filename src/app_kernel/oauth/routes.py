"""The routes under /auth/oauth."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from app_kernel.core.current import current_kernel
from app_kernel.core.deps import db_connection, forbid_storing
from app_kernel.core.errors import SignInRefused
from app_kernel.core.identity import UserIdentity, get_current_user
from app_kernel.core.model_docs import SOME_ID
from app_kernel.core.policies import public
from app_kernel.core.ports import EntityStore
from app_kernel.core.problem_docs import problem
from app_kernel.oauth import store
from app_kernel.oauth.flow import OAuth
from app_kernel.oauth.schemas import AuthorizationAnswer, ExchangeRequest, LinkedAccount, LinkRequest


async def oauth_of_service() -> OAuth:
    """The sign-ins of the running service."""
    return current_kernel().port(OAuth)


Store = Annotated[EntityStore, Depends(db_connection)]
SignIns = Annotated[OAuth, Depends(oauth_of_service)]
User = Annotated[UserIdentity, Depends(get_current_user)]
Name = Annotated[str, Path(description="The provider's name in `oauth_providers`.")]
Code = Annotated[str | None, Query(max_length=4096)]
# Told shorter than what is read and refused, so that all of them together fit into a query.
Text = Annotated[str | None, Query(max_length=4096, json_schema_extra={"maxLength": 1000})]

_REFUSED = problem("The sign-in could not be completed; start it again.")
_UNAUTHENTICATED = problem("No access token, or one that is invalid, expired or revoked.")
_UNKNOWN = problem("There is no such provider.")
_AWAY = problem("The provider does not answer as it should.")
_JSON_ANSWER = {
    "description": "As POST /auth/login answers.",
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["token_type", "expires_in", "user"]},
            "example": {
                "access_token": "eyJ...",
                "refresh_token": "rt_...",
                "token_type": "bearer",
                "expires_in": 86400,
                "user": {"id": SOME_ID, "email": "ada@example.com", "role": "user"},
            },
        }
    },
}

router = APIRouter(prefix="/auth/oauth", tags=["oauth"], dependencies=[Depends(forbid_storing)])


@router.get("/accounts", summary="List my identities elsewhere", responses={401: _UNAUTHENTICATED})
async def get_accounts(user: User, db: Store) -> list[LinkedAccount]:
    """The identities that sign in to the caller's account, the oldest first."""
    rows = await store.list_identities(db, user.id)
    return [LinkedAccount(provider=row["provider"], email=row["email"], linked_at=row["linked_at"]) for row in rows]


@router.post(
    "/exchange",
    summary="Exchange a one-time code",
    response_class=Response,
    responses={200: _JSON_ANSWER, 400: _REFUSED, 422: problem("The request does not validate.")},
)
@public
async def post_exchange(data: ExchangeRequest, request: Request, db: Store, sign_ins: SignIns) -> Response:
    """Signs in with the code that came back to the page, once and within a minute.

    It needs the verifier of the challenge that the start was given, or the cookie that the browser has from the
    callback; for a session in cookies always the latter.
    """
    return await sign_ins.exchange(request, db, data)


@router.get(
    "/{provider}",
    summary="Sign in elsewhere",
    status_code=303,
    response_class=Response,
    responses={303: {"description": "To the provider."}, 400: _REFUSED, 404: _UNKNOWN, 502: _AWAY},
)
@public
async def get_start(
    provider: Name,
    request: Request,
    sign_ins: SignIns,
    redirect_to: Annotated[
        str | None, Query(max_length=2000, description="One of `oauth_redirect_urls`; the first if unset.")
    ] = None,
    code_challenge: Annotated[
        str | None,
        Query(
            max_length=200,
            description="Of a page's own verifier, S256.",
            json_schema_extra={"pattern": "^[A-Za-z0-9_-]{43}$"},
        ),
    ] = None,
    code_challenge_method: Annotated[
        str, Query(max_length=20, description="S256 only.", json_schema_extra={"const": "S256"})
    ] = "S256",
) -> Response:
    """Sends the browser to the provider; open it as a page, not with a script."""
    if code_challenge_method != "S256":
        raise SignInRefused("The code_challenge_method is S256.")
    return await sign_ins.start(request, provider, redirect_to, code_challenge)


@router.get(
    "/{provider}/callback",
    summary="Return from a provider",
    response_class=Response,
    responses={
        200: _JSON_ANSWER,
        303: {"description": "To the page, with a one-time code."},
        400: _REFUSED,
        403: problem("Sign-up is disabled."),
        404: _UNKNOWN,
        409: problem("Sign in to the account first and link the provider there; or the identity is another account's."),
        502: _AWAY,
    },
)
@public
async def get_callback(
    provider: Name,
    request: Request,
    db: Store,
    sign_ins: SignIns,
    code: Code = None,
    state: Text = None,
    iss: Text = None,
    error: Text = None,
) -> Response:
    """Where the provider sends the browser back to; its address is what has to be entered there."""
    return await sign_ins.finish(request, db, provider, {"code": code, "state": state, "iss": iss, "error": error})


@router.post(
    "/{provider}/link",
    summary="Link an identity elsewhere",
    response_model=AuthorizationAnswer,
    responses={
        400: _REFUSED,
        401: _UNAUTHENTICATED,
        403: problem("The password is missing or wrong, or the session is not fresh."),
        404: _UNKNOWN,
        422: problem("The request does not validate."),
        429: problem("Too many failed attempts; Retry-After says how many seconds to wait."),
        502: _AWAY,
        503: problem("Too many passwords wait to be checked."),
    },
)
async def post_link(
    provider: Name, request: Request, user: User, db: Store, sign_ins: SignIns, data: LinkRequest | None = None
) -> Response:
    """Answers where to send this browser, after which the identity signs in to the caller's account.

    As a way in stays when a session has ended, a token alone is not enough: it needs the account's password.
    """
    given = data or LinkRequest()
    return await sign_ins.start_link(request, db, provider, user.id, given)


@router.delete(
    "/{provider}",
    status_code=204,
    summary="Unlink an identity elsewhere",
    responses={
        400: problem("It is the only way to sign in to the account."),
        401: _UNAUTHENTICATED,
        404: problem("The account is not linked to this provider."),
    },
)
async def delete_link(provider: Name, user: User, db: Store, sign_ins: SignIns) -> None:
    """Takes the identity of this provider away from the caller's account."""
    await sign_ins.linking.unlink(db, user.id, provider, sign_ins.names)
