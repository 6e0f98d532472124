"""What the routes of auth take and give. Fields not named here are ignored: no role ever comes from a client."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app_kernel.auth.identifiers import MAX_IDENTIFIER
from app_kernel.auth.passwords import MAX_BYTES
from app_kernel.core.model_docs import LATER_INSTANT, SOME_ID, SOME_INSTANT, example, example_of_one


def _check_text(value: str) -> str:
    """Refuses what no database keeps or what would forge lines in a log: control characters and lone surrogates."""
    if any(ord(char) < 32 or 127 <= ord(char) < 160 or 0xD800 <= ord(char) < 0xE000 for char in value):
        raise ValueError("must be text without control characters")
    return value


def _check_password(value: str) -> str:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode text") from None
    if size > MAX_BYTES:
        raise ValueError(f"must have at most {MAX_BYTES} bytes")
    return value


Identifier = Annotated[
    str,
    Field(min_length=1, max_length=MAX_IDENTIFIER),
    AfterValidator(_check_text),
]
Email = Annotated[Identifier, Field(json_schema_extra={"format": "email"})]
Username = Annotated[
    str,
    Field(max_length=50, json_schema_extra={"pattern": "^[A-Za-z0-9._-]{3,50}$"}),
    AfterValidator(_check_text),
]
Name = Annotated[str, Field(max_length=200), AfterValidator(_check_text)]
Password = Annotated[str, Field(min_length=1, max_length=MAX_BYTES), AfterValidator(_check_password)]
NewPassword = Annotated[
    Password,
    # A character has at most four bytes, and a schema counts characters: two may be enough, one never is.
    Field(
        description="At least 8 bytes of UTF-8, or as many as `password_min_length` says; none of the common ones.",
        json_schema_extra={"minLength": 2, "format": "password"},
    ),
]
OpaqueToken = Annotated[str, Field(min_length=1, max_length=512)]

_SOMEBODY = {
    "id": SOME_ID,
    "email": "ada@example.com",
    "username": "ada",
    "name": "Ada Lovelace",
    "role": "user",
    "is_active": True,
    "email_verified": True,
    "created_at": SOME_INSTANT,
}


class _Input(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


UseCookie = Annotated[
    bool,
    Field(description="Put the session into cookies instead of the answer, for a page in a browser; see X-CSRF-Token."),
]


class RegisterRequest(_Input):
    """A new account."""

    model_config = example(email="ada@example.com", password="correct horse battery staple", name="Ada Lovelace")

    email: Email = Field(examples=["ada@example.com"])
    password: NewPassword = Field(examples=["correct horse battery staple"])
    name: Name | None = None
    username: Username | None = None
    cookie: UseCookie = False


class LoginRequest(_Input):
    """Either email or username, and the password."""

    model_config = example_of_one(
        ("email", "username"), email="ada@example.com", password="correct horse battery staple"
    )

    email: Identifier | None = None
    username: Identifier | None = None
    password: Password
    cookie: UseCookie = False

    @model_validator(mode="after")
    def _name_one(self) -> Self:
        if (self.email is None) == (self.username is None):
            raise ValueError("give either email or username")
        return self

    @property
    def identifier(self) -> str:
        """What names the account."""
        return self.email or self.username or ""


class RefreshRequest(_Input):
    """The refresh token of the session; left out where it is in a cookie."""

    model_config = example(refresh_token="rt_...")

    refresh_token: OpaqueToken | None = None


class EmailRequest(_Input):
    """The address of an account."""

    model_config = example(email="ada@example.com")

    email: Identifier = Field(examples=["ada@example.com"])


class ConfirmEmailRequest(_Input):
    """The token of a mailed link, and the account's password where the caller is not signed in to it."""

    model_config = example(token="ev_...", password="correct horse battery staple")

    token: OpaqueToken
    password: Password | None = None


class ResetPasswordRequest(_Input):
    """The token of a mailed link, and the password to come."""

    model_config = example(token="pr_...", new_password="river stone under another moon")

    token: OpaqueToken
    new_password: NewPassword


class ChangeEmailRequest(_Input):
    """The address to come, and the password of now; an account without a password needs a fresh sign-in."""

    model_config = example(new_email="ada@example.org", password="correct horse battery staple")

    new_email: Email = Field(examples=["ada@example.org"])
    password: Password | None = None


class DeleteAccountRequest(_Input):
    """The password of now; an account without a password needs a fresh sign-in."""

    model_config = example(password="correct horse battery staple")

    password: Password | None = None


class ChangeUserRequest(_Input):
    """What an admin changes of an account."""

    model_config = example(role="admin", is_active=True)

    role: (
        Annotated[str, Field(max_length=50, json_schema_extra={"pattern": "^[A-Za-z0-9][A-Za-z0-9._:-]{0,49}$"})] | None
    ) = None
    is_active: bool | None = None


class OAuthPassword(_Input):
    """The form of the resource owner password grant (RFC 6749, 4.3.2)."""

    model_config = example(grant_type="password", username="ada@example.com", password="correct horse battery staple")

    grant_type: Annotated[str, Field(max_length=50)] = "password"
    username: Identifier
    password: Password


class ChangePasswordRequest(_Input):
    """The password of now, and the one to come."""

    model_config = example(
        current_password="correct horse battery staple", new_password="river stone under another moon"
    )

    current_password: Password
    new_password: NewPassword


class ProfileRequest(_Input):
    """What is given changes; null clears it."""

    model_config = example(name="Ada Lovelace", username="ada")

    name: Name | None = None
    username: Username | None = None


class UserAnswer(BaseModel):
    """An account."""

    model_config = example(**_SOMEBODY)

    id: str
    email: str
    username: str | None
    name: str | None
    role: str
    is_active: bool
    email_verified: bool = Field(description="Whether the owner has shown that mail to the address reaches them.")
    created_at: str


class TokenAnswer(BaseModel):
    """A session's tokens (RFC 6749, 5.1)."""

    model_config = example(
        access_token="eyJ...", refresh_token="rt_...", token_type="bearer", expires_in=86400, user=_SOMEBODY
    )

    access_token: str
    refresh_token: str
    token_type: str = "bearer"  # noqa: S105 - the type's name, not a token
    expires_in: int = Field(description="Seconds for which the access token is accepted.")
    user: UserAnswer


class CookieAnswer(BaseModel):
    """A session whose tokens are in cookies."""

    model_config = example(token_type="cookie", csrf_token="5f2b...", expires_in=86400, user=_SOMEBODY)

    token_type: str = "cookie"  # noqa: S105 - the type's name, not a token
    csrf_token: str = Field(description="To be sent as X-CSRF-Token with every request that changes something.")
    expires_in: int = Field(description="Seconds after which POST /auth/refresh is due.")
    user: UserAnswer


class MailSent(BaseModel):
    """What is the same whether or not there is such an account."""

    model_config = example(detail="If this can be done for the address, a mail is on its way to it.")

    detail: str = "If this can be done for the address, a mail is on its way to it."


class ConfirmedAnswer(BaseModel):
    """An account whose address is confirmed."""

    model_config = example(user=_SOMEBODY, choose_password_token=None)

    user: UserAnswer
    choose_password_token: str | None = Field(
        default=None,
        description="Given when nobody could tell that the password was chosen by who reads mail there: it was removed,"
        " and POST /auth/reset-password sets a new one with this token within 15 minutes.",
    )


class CsrfAnswer(BaseModel):
    """What a page sends in X-CSRF-Token."""

    model_config = example(csrf_token="5f2b...")

    csrf_token: str


class SessionAnswer(BaseModel):
    """A session of the caller's."""

    model_config = example(
        id=SOME_ID,
        created_at=SOME_INSTANT,
        last_used_at=SOME_INSTANT,
        expires_at=LATER_INSTANT,
        address="192.0.2.7",
        user_agent="curl/8.5",
        current=True,
    )

    id: str
    created_at: datetime
    last_used_at: datetime = Field(description="When it was last refreshed.")
    expires_at: datetime
    address: str | None
    user_agent: str | None
    current: bool = Field(description="Whether this request came with it.")


class OAuthError(BaseModel):
    """An error of the token endpoint (RFC 6749, 5.2)."""

    model_config = example(error="invalid_grant", error_description="Wrong email, username or password.")

    error: str
    error_description: str
