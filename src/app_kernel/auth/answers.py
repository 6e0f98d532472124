"""What signing in answers: the tokens themselves, or cookies that hold them."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Scope

from app_kernel.auth.issuer import Issuer, SignedIn
from app_kernel.auth.schemas import CookieAnswer, TokenAnswer, UserAnswer

NO_STORE = {"Cache-Control": "no-store"}
"""Keeps tokens and personal data out of every cache (RFC 6749, 5.1)."""


def sign_in_response(scope: Scope, issuer: Issuer, signed_in: SignedIn, status: int = 200) -> Response:
    """The answer to who signed in, with cookies where the session is to live in them."""
    if not signed_in.cookie:
        return _json(token_answer(signed_in).model_dump_json(), status)
    response = _json(
        CookieAnswer(
            csrf_token=issuer.cookies.csrf_token(signed_in.session_id),
            expires_in=signed_in.expires_in,
            user=user_answer(signed_in.user),
        ).model_dump_json(),
        status,
    )
    tokens = signed_in.access_token, signed_in.refresh_token
    lifetimes = signed_in.expires_in, signed_in.session_seconds
    add_cookies(response, issuer.cookies.to_set(scope, signed_in.session_id, tokens, lifetimes))
    return response


def add_cookies(response: Response, headers: Any) -> None:
    """Adds headers of which there may be several of one name."""
    for name, value in headers:
        response.headers.append(name, value)


def token_answer(signed_in: SignedIn) -> TokenAnswer:
    """The tokens, and whose they are."""
    return TokenAnswer(
        access_token=signed_in.access_token,
        refresh_token=signed_in.refresh_token,
        expires_in=signed_in.expires_in,
        user=user_answer(signed_in.user),
    )


def user_answer(row: Mapping[str, Any]) -> UserAnswer:
    """An account as its owner and admins see it."""
    given = {field: row[field] for field in UserAnswer.model_fields if field != "email_verified"}
    return UserAnswer(**given, email_verified=row["email_verified_at"] is not None)


def _json(body: str, status: int) -> Response:
    return Response(body, status, NO_STORE, "application/json")
