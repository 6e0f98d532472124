"""The routes under /auth."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Header, Request, Response
from fastapi.responses import JSONResponse

from app_kernel.auth.accounts import emit_security, update_profile
from app_kernel.auth.issuer import Issuer, SignedIn
from app_kernel.auth.schemas import (
    ChangePasswordRequest,
    LoginRequest,
    OAuthError,
    OAuthPassword,
    ProfileRequest,
    RefreshRequest,
    RegisterRequest,
    SessionAnswer,
    TokenAnswer,
    UserAnswer,
    problem,
)
from app_kernel.auth.sign_in import change_password, login, register
from app_kernel.auth.store import get_user_row
from app_kernel.auth.tokens import AccessClaims
from app_kernel.core.current import current_kernel
from app_kernel.core.deps import db_connection
from app_kernel.core.errors import AccountNotFound, NotAuthenticated
from app_kernel.core.identity import UserIdentity, get_current_user
from app_kernel.core.ports import EntityStore


async def forbid_storing(response: Response) -> None:
    """Keeps tokens and personal data out of every cache (RFC 6749, 5.1)."""
    response.headers["Cache-Control"] = "no-store"


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


Claims = Annotated[AccessClaims, Depends(claims_of_request)]

_UNAUTHENTICATED = problem("No access token, or one that is invalid, expired or revoked.")
_THROTTLED = problem("Too many failed attempts; Retry-After says how many seconds to wait.")
_BUSY = problem("Too many passwords wait to be checked; try again after Retry-After seconds.")
_INVALID = problem("The request does not validate.")

router = APIRouter(prefix="/auth", tags=["auth"], dependencies=[Depends(forbid_storing)])


@router.post(
    "/register",
    status_code=201,
    summary="Sign up",
    responses={
        403: problem("Sign-up is disabled."),
        409: problem("The email or username is taken."),
        422: problem("The email, username or password cannot be used; detail says why."),
        503: _BUSY,
    },
)
async def post_register(
    data: RegisterRequest, db: Store, sessions: Sessions, user_agent: UserAgent = None
) -> TokenAnswer:
    """Makes an account and signs it in. The role is always `user`."""
    return _token_answer(await register(db, sessions, data.model_dump(), user_agent))


@router.post(
    "/login",
    summary="Sign in",
    responses={401: problem("Wrong email, username or password."), 422: _INVALID, 429: _THROTTLED, 503: _BUSY},
)
async def post_login(data: LoginRequest, db: Store, sessions: Sessions, user_agent: UserAgent = None) -> TokenAnswer:
    """Signs in with an email or username and the password."""
    return _token_answer(await login(db, sessions, data.identifier, data.password, user_agent))


@router.post(
    "/token",
    summary="Sign in (OAuth2 password form)",
    response_model=TokenAnswer,
    responses={
        400: {"model": OAuthError, "description": "Wrong username or password, or another grant type (RFC 6749, 5.2)."},
        422: _INVALID,
        429: _THROTTLED,
        503: _BUSY,
    },
)
async def post_token(
    form: Annotated[OAuthPassword, Form()], db: Store, sessions: Sessions, user_agent: UserAgent = None
) -> TokenAnswer | Response:
    """What the Authorize button of the documentation calls; `username` is the email or the username."""
    if form.grant_type != "password":
        return _oauth_error("unsupported_grant_type", "The grant type is password.")
    try:
        return _token_answer(await login(db, sessions, form.username, form.password, user_agent))
    except NotAuthenticated as exc:
        return _oauth_error("invalid_grant", exc.message)


@router.post(
    "/refresh",
    summary="Get new tokens",
    responses={401: problem("The refresh token is invalid, expired or revoked."), 422: _INVALID},
)
async def post_refresh(data: RefreshRequest, db: Store, sessions: Sessions) -> TokenAnswer:
    """Exchanges a refresh token for new tokens. It is used up; using it again later ends the session."""
    return _token_answer(await sessions.renew(db, data.refresh_token))


@router.post("/logout", status_code=204, summary="Sign out here", responses={401: _UNAUTHENTICATED})
async def post_logout(claims: Claims, db: Store, sessions: Sessions) -> None:
    """Ends the session of this token, with everything issued from it."""
    await sessions.end(db, claims.session_id)
    await emit_security("auth.logout", claims.user_id, session_id=claims.session_id)


@router.post("/logout-all", status_code=204, summary="Sign out everywhere", responses={401: _UNAUTHENTICATED})
async def post_logout_all(user: User, db: Store, sessions: Sessions) -> None:
    """Ends every session of the caller, this one too."""
    await sessions.end_all(db, user.id)
    await emit_security("auth.logout_all", user.id)


@router.post(
    "/change-password",
    status_code=204,
    summary="Change the password",
    responses={
        401: _UNAUTHENTICATED,
        403: problem("The current password is wrong."),
        422: problem("The new password cannot be used; detail says why."),
        429: _THROTTLED,
        503: _BUSY,
    },
)
async def post_change_password(data: ChangePasswordRequest, claims: Claims, db: Store, sessions: Sessions) -> None:
    """Replaces the password and ends all other sessions of the caller."""
    await change_password(db, sessions, claims.user_id, claims.session_id, data.current_password, data.new_password)


@router.get("/me", summary="Who am I", responses={401: _UNAUTHENTICATED})
async def get_me(user: User, db: Store) -> UserAnswer:
    """The account of the caller."""
    row = await get_user_row(db, user.id)
    if row is None:
        raise NotAuthenticated
    return _user_answer(row)


@router.patch(
    "/me",
    summary="Change my profile",
    responses={
        401: _UNAUTHENTICATED,
        409: problem("The username is taken."),
        422: problem("The name or username cannot be used; detail says why."),
    },
)
async def patch_me(data: ProfileRequest, user: User, db: Store) -> UserAnswer:
    """Changes the name and username that are given; null clears one."""
    return _user_answer(await update_profile(db, user.id, data.model_dump(exclude_unset=True)))


@router.get("/sessions", summary="List my sessions", responses={401: _UNAUTHENTICATED})
async def get_sessions(claims: Claims, db: Store, sessions: Sessions) -> list[SessionAnswer]:
    """Where the caller is signed in, the newest session first."""
    rows = await sessions.list_sessions(db, claims.user_id)
    return [_session_answer(row, claims.session_id) for row in rows]


@router.delete(
    "/sessions/{id}",
    status_code=204,
    summary="End one of my sessions",
    responses={401: _UNAUTHENTICATED, 404: problem("The caller has no such session.")},
)
async def delete_session(id: str, claims: Claims, db: Store, sessions: Sessions) -> None:
    """Ends a session of the caller, with everything issued from it."""
    if await sessions.find_live(db, claims.user_id, id) is None:
        raise AccountNotFound("There is no such session.")
    await sessions.end(db, id)
    await emit_security("auth.logout", claims.user_id, session_id=id)


def _token_answer(signed_in: SignedIn) -> TokenAnswer:
    return TokenAnswer(
        access_token=signed_in.access_token,
        refresh_token=signed_in.refresh_token,
        expires_in=signed_in.expires_in,
        user=_user_answer(signed_in.user),
    )


def _user_answer(row: Mapping[str, Any]) -> UserAnswer:
    return UserAnswer(**{field: row[field] for field in UserAnswer.model_fields})


def _session_answer(row: Mapping[str, Any], current: str) -> SessionAnswer:
    return SessionAnswer(
        id=row["id"],
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
        expires_at=row["expires_at"],
        address=row["address"],
        user_agent=row["user_agent"],
        current=row["id"] == current,
    )


def _oauth_error(error: str, description: str) -> Response:
    body = OAuthError(error=error, error_description=description)
    return JSONResponse(body.model_dump(), 400, {"Cache-Control": "no-store"})
