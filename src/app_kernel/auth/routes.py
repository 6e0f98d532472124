"""The routes under /auth with which one signs in and out, and sees to one's own account."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import JSONResponse

from app_kernel.auth.accounts import delete_user, update_profile
from app_kernel.auth.answers import add_cookies, sign_in_response, user_answer
from app_kernel.auth.deps import (
    BUSY,
    INVALID,
    THROTTLED,
    UNAUTHENTICATED,
    Claims,
    MaybeClaims,
    Sessions,
    Store,
    User,
    UserAgent,
    get_user_of_session,
)
from app_kernel.auth.issuer import Issuer
from app_kernel.auth.links import service_base
from app_kernel.auth.refresh import parse_refresh_token
from app_kernel.auth.registration import register
from app_kernel.auth.schemas import (
    ChangePasswordRequest,
    CookieAnswer,
    CsrfAnswer,
    DeleteAccountRequest,
    LoginRequest,
    MailSent,
    OAuthError,
    OAuthPassword,
    ProfileRequest,
    RefreshRequest,
    RegisterRequest,
    SessionAnswer,
    TokenAnswer,
    UserAnswer,
)
from app_kernel.auth.sign_in import change_password, login, prove_owner, require_user
from app_kernel.auth.store import get_user_row
from app_kernel.core.deps import forbid_storing
from app_kernel.core.errors import AccountNotFound, InvalidToken, NotAuthenticated
from app_kernel.core.policies import public
from app_kernel.core.problem_docs import problem

router = APIRouter(prefix="/auth", tags=["auth"], dependencies=[Depends(forbid_storing)])


@router.post(
    "/register",
    status_code=201,
    summary="Sign up",
    response_model=TokenAnswer | CookieAnswer,
    responses={
        202: {
            "model": MailSent,
            "description": "A mail is on its way; the account signs in once its link is followed.",
        },
        403: problem("Sign-up is disabled."),
        409: problem("The email or username is taken."),
        422: problem("The email, username or password cannot be used; detail says why."),
        503: BUSY,
    },
)
@public
async def post_register(
    request: Request, data: RegisterRequest, db: Store, sessions: Sessions, user_agent: UserAgent = None
) -> Response:
    """Makes an account and signs it in. The role is always `user`."""
    if data.cookie:
        sessions.cookies.require_own_page(request.scope)
    config = sessions.config
    by_mail = config.allow_self_signup and config.email_verification == "required"
    base = service_base(config, request.scope) if by_mail else ""
    signed_in = await register(db, sessions, data.model_dump(), user_agent, base)
    if signed_in is None:
        return JSONResponse(MailSent().model_dump(), 202)
    return sign_in_response(request.scope, sessions, signed_in, 201)


@router.post(
    "/login",
    summary="Sign in",
    response_model=TokenAnswer | CookieAnswer,
    responses={
        401: problem("Wrong email, username or password."),
        403: problem("The email address is not confirmed yet, or another site's page asked for cookies."),
        422: INVALID,
        429: THROTTLED,
        503: BUSY,
    },
)
@public
async def post_login(
    request: Request, data: LoginRequest, db: Store, sessions: Sessions, user_agent: UserAgent = None
) -> Response:
    """Signs in with an email or username and the password."""
    if data.cookie:
        sessions.cookies.require_own_page(request.scope)
    signed_in = await login(db, sessions, data.identifier, data.password, user_agent, cookie=data.cookie)
    return sign_in_response(request.scope, sessions, signed_in)


@router.post(
    "/token",
    summary="Sign in (OAuth2 password form)",
    response_model=TokenAnswer,
    responses={
        400: {"model": OAuthError, "description": "Wrong username or password, or another grant type (RFC 6749, 5.2)."},
        422: INVALID,
        429: THROTTLED,
        503: BUSY,
    },
)
@public
async def post_token(
    request: Request,
    form: Annotated[OAuthPassword, Form()],
    db: Store,
    sessions: Sessions,
    user_agent: UserAgent = None,
) -> Response:
    """What the Authorize button of the documentation calls; `username` is the email or the username."""
    if form.grant_type != "password":
        return _oauth_error("unsupported_grant_type", "The grant type is password.")
    try:
        signed_in = await login(db, sessions, form.username, form.password, user_agent)
    except NotAuthenticated as exc:
        return _oauth_error("invalid_grant", exc.message)
    return sign_in_response(request.scope, sessions, signed_in)


@router.post(
    "/refresh",
    summary="Get new tokens",
    response_model=TokenAnswer | CookieAnswer,
    responses={
        401: problem("The refresh token is invalid, expired or revoked."),
        403: problem("The refresh token came in a cookie, and X-CSRF-Token is missing or wrong."),
        422: INVALID,
    },
)
@public
async def post_refresh(request: Request, db: Store, sessions: Sessions, data: RefreshRequest | None = None) -> Response:
    """Exchanges a refresh token for new tokens. It is used up; using it again later ends the session.

    Where it came in a cookie, the new ones go into cookies too, and X-CSRF-Token is needed.
    """
    given = None if data is None else data.refresh_token
    if given is not None:
        return sign_in_response(request.scope, sessions, await sessions.renew(db, given))
    token = sessions.cookies.read(request.scope, sessions.cookies.refresh)
    if token is None:
        raise InvalidToken("There is no refresh token, neither in the body nor in a cookie.")
    sessions.cookies.require_same_site(request.scope, parse_refresh_token(token).session_id)
    signed_in = await sessions.renew(db, token)
    return sign_in_response(request.scope, sessions, replace(signed_in, cookie=True))


@router.get(
    "/csrf",
    summary="The CSRF token of a cookie session",
    dependencies=[Depends(get_user_of_session)],
    responses={401: UNAUTHENTICATED},
)
@public
async def get_csrf(request: Request, claims: MaybeClaims, db: Store, sessions: Sessions) -> CsrfAnswer:
    """What a page sends in X-CSRF-Token; a page of the same origin may read it from the cookie instead.

    Also while the access token has run out and the refresh token has not, as after a reload of the page.
    """
    session_id = claims.session_id if claims is not None else await _cookie_session(request, db, sessions)
    if session_id is None:
        raise NotAuthenticated
    return CsrfAnswer(csrf_token=sessions.cookies.csrf_token(session_id))


@router.post(
    "/logout",
    status_code=204,
    summary="Sign out here",
    dependencies=[Depends(get_user_of_session)],
    responses={401: UNAUTHENTICATED, 403: problem("The session is in a cookie, and X-CSRF-Token is missing or wrong.")},
)
@public
async def post_logout(request: Request, response: Response, claims: MaybeClaims, db: Store, sessions: Sessions) -> None:
    """Ends the session of this token, with everything issued from it, and clears its cookies."""
    session_id = claims.session_id if claims is not None else await _cookie_session(request, db, sessions)
    if session_id is None:
        raise NotAuthenticated
    if claims is None:
        sessions.cookies.require_same_site(request.scope, session_id)
    user_id = claims.user_id if claims is not None else None
    await sessions.end(db, session_id, user_id)
    _clear_cookies(request, response, sessions)


@router.post("/logout-all", status_code=204, summary="Sign out everywhere", responses={401: UNAUTHENTICATED})
async def post_logout_all(request: Request, response: Response, user: User, db: Store, sessions: Sessions) -> None:
    """Ends every session of the caller, this one too."""
    await sessions.end_all(db, user.id)
    _clear_cookies(request, response, sessions)


@router.post(
    "/change-password",
    status_code=204,
    summary="Change the password",
    responses={
        401: UNAUTHENTICATED,
        403: problem("The current password is wrong."),
        422: problem("The new password cannot be used; detail says why."),
        429: THROTTLED,
        503: BUSY,
    },
)
async def post_change_password(data: ChangePasswordRequest, claims: Claims, db: Store, sessions: Sessions) -> None:
    """Replaces the password and ends all other sessions of the caller."""
    await change_password(db, sessions, claims.user_id, claims.session_id, data.current_password, data.new_password)


@router.get("/me", summary="Who am I", responses={401: UNAUTHENTICATED})
async def get_me(user: User, db: Store) -> UserAnswer:
    """The account of the caller."""
    row = await get_user_row(db, user.id)
    if row is None:
        raise NotAuthenticated
    return user_answer(row)


@router.patch(
    "/me",
    summary="Change my profile",
    responses={
        401: UNAUTHENTICATED,
        409: problem("The username is taken."),
        422: problem("The name or username cannot be used; detail says why."),
    },
)
async def patch_me(data: ProfileRequest, user: User, db: Store) -> UserAnswer:
    """Changes the name and username that are given; null clears one."""
    return user_answer(await update_profile(db, user.id, data.model_dump(exclude_unset=True)))


@router.delete(
    "/me",
    status_code=204,
    summary="Delete my account",
    responses={
        401: UNAUTHENTICATED,
        403: problem("The password is missing or wrong, or the session is not fresh."),
        422: INVALID,
        429: THROTTLED,
        503: BUSY,
    },
)
async def delete_me(
    request: Request,
    response: Response,
    claims: Claims,
    db: Store,
    sessions: Sessions,
    data: DeleteAccountRequest | None = None,
) -> None:
    """Deletes the caller's account for good, with its sessions, keys and linked identities."""
    user = await require_user(db, claims.user_id)
    await prove_owner(db, sessions, user, claims.session_id, None if data is None else data.password)
    await delete_user(db, claims.user_id)
    _clear_cookies(request, response, sessions)


@router.get("/sessions", summary="List my sessions", responses={401: UNAUTHENTICATED})
async def get_sessions(claims: Claims, db: Store, sessions: Sessions) -> list[SessionAnswer]:
    """Where the caller is signed in, the newest session first."""
    rows = await sessions.list_sessions(db, claims.user_id)
    return [_session_answer(row, claims.session_id) for row in rows]


@router.delete(
    "/sessions/{id}",
    status_code=204,
    summary="End one of my sessions",
    responses={401: UNAUTHENTICATED, 404: problem("The caller has no such session.")},
)
async def delete_session(id: str, claims: Claims, db: Store, sessions: Sessions) -> None:
    """Ends a session of the caller, with everything issued from it."""
    if await sessions.find_live(db, claims.user_id, id) is None:
        raise AccountNotFound("There is no such session.")
    await sessions.end(db, id, claims.user_id)


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


async def _cookie_session(request: Request, db: Store, sessions: Issuer) -> str | None:
    """The live session of the refresh cookie, which outlives the access token; None without one."""
    token = sessions.cookies.read(request.scope, sessions.cookies.refresh)
    return None if token is None else await sessions.find_renewable(db, token)


def _clear_cookies(request: Request, response: Response, sessions: Issuer) -> None:
    if any(name == b"cookie" for name, _ in request.scope["headers"]):
        add_cookies(response, sessions.cookies.to_clear(request.scope))


def _oauth_error(error: str, description: str) -> Response:
    body = OAuthError(error=error, error_description=description)
    return JSONResponse(body.model_dump(), 400, {"Cache-Control": "no-store"})
