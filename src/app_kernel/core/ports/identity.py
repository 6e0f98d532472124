"""Who is who, and what they may do: accounts, memberships, limits and mail, for features that do not keep them."""

from collections.abc import Iterable, Mapping, Sequence
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
    name: str | None = None
    """What its owner is called, as far as they said."""


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

    async def list_accounts(self, db: EntityStore, user_ids: Sequence[str]) -> list[Account]:
        """The accounts with these ids that are there, in the order of the ids."""

    def canonical_email(self, email: str) -> str:
        """The spelling of an address that its account would have; raises InvalidEmail."""

    async def prove_owner(self, request: Request, db: EntityStore, user_id: str, password: str | None) -> None:
        """Returns when the caller has shown more than a token that may be stolen: the password, guarded as at a login.

        An account without a password needs a session that began within ten minutes. Raises PermissionDenied,
        TooManyAttempts, NotAuthenticated.
        """

    async def hold_account(self, db: EntityStore, user_id: str) -> None:
        """Makes whoever else holds the account, signs in or ends its sessions wait for the open transaction's end.

        Called first in it: what is read of the account afterwards stays true until then.
        """

    async def require_session(self, request: Request, db: EntityStore, user_id: str) -> None:
        """Holds the account and reads the caller's session and account anew, in the open transaction.

        `get_current_user` may go by what was true a second ago: too old for what stays when the session is over, such
        as a key. Raises NotAuthenticated when the session is over or another user's, or the account may not sign in.
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
        """The role of a user in a workspace, or None for an outsider and for a workspace that does not exist.

        Roles are viewer, member, admin and owner.
        """

    async def recent_role(self, workspace_id: str, user_id: str) -> str | None:
        """The same for the running request, as it was in the service's database at most a second ago.

        A change that this process made counts at once.
        """

    async def current_workspace(self, db: EntityStore, user_id: str) -> str | None:
        """The workspace that a user chose to work in, if they are still a member of it, or None."""


class WorkspaceStates(Protocol):
    """Which workspaces are closed; provided beside Memberships by who can tell."""

    async def deleted_among(self, db: EntityStore, workspace_ids: Iterable[str]) -> set[str]:
        """Those of these workspaces that were deleted, so that nothing is done for them; unknown ids are not."""


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
        """Counts one hit in the sliding window of `bucket` if there is room for it; never raises for a Redis away.

        `bucket` may be any text, such as `mails:42`. A limit below 1 allows nothing: the answer is a refusal, with the
        window as `reset_after`. Raises ValueError for a window below 1 second.
        """


class Mailer(Protocol):
    """Mail to users."""

    @property
    def can_send(self) -> bool:
        """Whether mail is set up; without, `send_template` raises MailNotConfigured."""

    async def send_template(
        self, to: str, template: str, values: Mapping[str, Any], *, expires_at: datetime | None = None
    ) -> None:
        """Renders a mail and sends it by a background job: with the open transaction, or at once.

        After `expires_at` it is no longer tried. Raises MailNotConfigured where mail is not set up, and
        UndeliverableMail for an address or values that cannot be put into a mail.
        """
