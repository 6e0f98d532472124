"""Who is who, and what they may do: accounts, memberships, limits and mail, for features that do not keep them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from app_kernel.core.identity import UserIdentity
from app_kernel.core.ports.store import EntityStore


@dataclass(frozen=True, slots=True)
class Account:
    """An account, as far as ways to sign in to it are concerned."""

    id: str
    email: str
    role: str
    is_active: bool
    email_verified: bool
    """Whether its owner has shown that mail to the address reaches them."""
    has_password: bool


class Accounts(Protocol):
    """User accounts, for features that make or look up users without importing the one that keeps them."""

    async def create_user(
        self,
        db: EntityStore,
        email: str,
        password: str | None,
        *,
        role: str = "user",
        name: str | None = None,
        email_verified: bool = False,
    ) -> UserIdentity:
        """Makes an account; one without a password is signed in to by other ways only.

        Raises AccountError when it cannot be made as asked.
        """

    async def get_user(self, db: EntityStore, user_id: str) -> UserIdentity | None:
        """The account with this id, or None."""

    async def get_account(self, db: EntityStore, user_id: str) -> Account | None:
        """The account with this id and its ways to sign in, or None."""

    async def find_account(self, db: EntityStore, email: str) -> Account | None:
        """The account with this email in any spelling of it, or None; text that is no email finds nothing."""

    async def prove_owner(self, request: Request, db: EntityStore, user_id: str, password: str | None) -> None:
        """Returns when the caller has shown more than a token that may be stolen: the password, guarded as at a login.

        An account without a password needs a session that began within ten minutes. Raises PermissionDenied,
        TooManyAttempts, NotAuthenticated.
        """

    async def sign_in(
        self, request: Request, db: EntityStore, user_id: str, *, method: str, cookie: bool = False
    ) -> Response:
        """Starts a session and answers as POST /auth/login does: with tokens, or with cookies.

        `method` says in the security log how the user proved who they are. Raises NotAuthenticated when the account is
        gone or deactivated.
        """


class Memberships(Protocol):
    """Who belongs to which workspace."""

    async def role_in(self, db: EntityStore, workspace_id: str, user_id: str) -> str | None:
        """The role of a user in a workspace, or None for an outsider and for a workspace that does not exist."""


# One is made for every request, and freezing it would cost more than making it.
@dataclass(slots=True)
class Allowance:
    """What a limit says to one hit."""

    allowed: bool
    limit: int
    """Hits in a window."""
    window: int
    """The window, in seconds."""
    remaining: int
    """Hits that are left now."""
    reset_after: float
    """Seconds until there is more room than now: for a refused hit until one is allowed."""


class RateLimiter(Protocol):
    """Counts what may happen only so often, across all processes where Redis is there."""

    async def hit(self, bucket: str, limit: int, window: int) -> Allowance:
        """Counts one hit in the sliding window of `bucket` if there is room for it; never raises for a Redis away."""


class Mailer(Protocol):
    """Mail to users."""

    async def send_template(
        self, to: str, template: str, values: Mapping[str, Any], *, expires_at: datetime | None = None
    ) -> None:
        """Renders a mail and sends it by a background job: with the open transaction, or at once.

        After `expires_at` it is no longer tried. Raises MailNotConfigured where mail is not set up, and
        UndeliverableMail for an address or values that cannot be put into a mail.
        """
