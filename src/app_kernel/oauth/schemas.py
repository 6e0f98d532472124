"""What the routes of oauth take and give."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app_kernel.core.model_docs import SOME_INSTANT, example

Redirect = Annotated[str, Field(max_length=2000)]


class LinkRequest(BaseModel):
    """The password of now, and where to return to after an identity was linked."""

    model_config = {
        **ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True),
        **example(password="correct horse battery staple"),
    }

    password: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        default=None, description="Of the account; one without a password needs a session of the last ten minutes."
    )
    redirect_to: Redirect | None = Field(default=None, description="One of `oauth_redirect_urls`; the first if unset.")


class AuthorizationAnswer(BaseModel):
    """Where to send the browser."""

    model_config = example(authorization_url="https://github.com/login/oauth/authorize?...")

    authorization_url: str


class ExchangeRequest(BaseModel):
    """A one-time code, and what shows that the sign-in was begun here."""

    model_config = {
        **ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True),
        **example(code="oc_...", code_verifier="dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
    }

    code: Annotated[str, Field(min_length=1, max_length=200)]
    code_verifier: Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]{43,128}$")] | None = Field(
        default=None, description="Of the `code_challenge` that the start was given (RFC 7636)."
    )
    cookie: bool = Field(default=False, description="Whether the session is to live in cookies.")


class LinkedAccount(BaseModel):
    """An identity of a provider that signs in to the caller's account."""

    model_config = example(provider="github", email="ada@example.com", linked_at=SOME_INSTANT)

    provider: str
    email: str | None = Field(description="The address at the provider when it was linked.")
    linked_at: datetime
