"""The routes under /auth by which an address is confirmed or changed and a forgotten password replaced."""

from fastapi import APIRouter, Depends, Request

from app_kernel.auth.answers import user_answer
from app_kernel.auth.deps import (
    BUSY,
    INVALID,
    THROTTLED,
    UNAUTHENTICATED,
    Claims,
    MaybeClaims,
    Sessions,
    Store,
)
from app_kernel.auth.links import service_base
from app_kernel.auth.mailing import ask_for_link
from app_kernel.auth.registration import confirm, request_email_change, reset_password
from app_kernel.auth.schemas import (
    ChangeEmailRequest,
    ConfirmedAnswer,
    ConfirmEmailRequest,
    EmailRequest,
    MailSent,
    ResetPasswordRequest,
)
from app_kernel.auth.sign_in import require_user
from app_kernel.core.deps import forbid_storing
from app_kernel.core.policies import public
from app_kernel.core.problem_docs import problem

_NO_MAIL = problem("The service cannot send mail, or too many passwords wait to be checked.")
_BAD_LINK = problem("The link is invalid, used or expired.")

router = APIRouter(prefix="/auth", tags=["auth"], dependencies=[Depends(forbid_storing)])


@router.post(
    "/forgot-password", status_code=202, summary="Ask for a new password", responses={422: INVALID, 503: _NO_MAIL}
)
@public
async def post_forgot_password(request: Request, data: EmailRequest, sessions: Sessions) -> MailSent:
    """Mails a link with which a new password is set, if there is an account; the answer is the same if not."""
    await ask_for_link(sessions.config, data.email, "reset", service_base(sessions.config, request.scope))
    return MailSent()


@router.post(
    "/reset-password",
    status_code=204,
    summary="Set a new password by a mailed link",
    responses={400: _BAD_LINK, 422: problem("The new password cannot be used; detail says why."), 503: BUSY},
)
@public
async def post_reset_password(data: ResetPasswordRequest, db: Store, sessions: Sessions) -> None:
    """Sets the password, ends every session of the account, and counts its address as confirmed."""
    await reset_password(db, sessions, data.token, data.new_password)


@router.post(
    "/verify-email",
    summary="Confirm an address by a mailed link",
    responses={
        400: _BAD_LINK,
        401: problem("The access token that came with it is not accepted."),
        403: problem("The password is wrong, or a change of address needs it."),
        409: problem("Another account has the address by now."),
        422: INVALID,
        429: THROTTLED,
        503: BUSY,
    },
)
@public
async def post_verify_email(
    data: ConfirmEmailRequest, db: Store, sessions: Sessions, claims: MaybeClaims
) -> ConfirmedAnswer:
    """Confirms the address of an account, or a new one.

    Whoever is not signed in to the account gives its password. Without it the address is confirmed all the same, but
    the password, which somebody else may have chosen, is removed, and the answer lets the owner choose one.
    """
    caller = None if claims is None else (claims.user_id, claims.session_id)
    user, choose = await confirm(db, sessions, data.token, data.password, caller)
    return ConfirmedAnswer(user=user_answer(user), choose_password_token=choose)


@router.post(
    "/resend-verification",
    status_code=202,
    summary="Ask for another link to confirm an address",
    responses={422: INVALID, 503: _NO_MAIL},
)
@public
async def post_resend_verification(request: Request, data: EmailRequest, sessions: Sessions) -> MailSent:
    """Mails another link, if there is an account whose address is not confirmed; the answer is the same if not."""
    await ask_for_link(sessions.config, data.email, "verify", service_base(sessions.config, request.scope))
    return MailSent()


@router.post(
    "/change-email",
    status_code=202,
    summary="Change my address",
    responses={
        401: UNAUTHENTICATED,
        403: problem("The password is missing or wrong, or the session is not fresh."),
        422: problem("The new address cannot be used; detail says why."),
        429: THROTTLED,
        503: _NO_MAIL,
    },
)
async def post_change_email(
    request: Request, data: ChangeEmailRequest, claims: Claims, db: Store, sessions: Sessions
) -> MailSent:
    """Mails a link to the new address; nothing changes before it is followed."""
    user = await require_user(db, claims.user_id)
    base = service_base(sessions.config, request.scope)
    await request_email_change(db, sessions, user, claims.session_id, (data.new_email, data.password), base)
    return MailSent()
