"""Who calls and what they may do, whichever way they proved it."""

from dataclasses import dataclass
from typing import Literal

from app_kernel.api_keys.scopes import may
from app_kernel.core.errors import MissingScope
from app_kernel.core.identity import UserIdentity


@dataclass(frozen=True, slots=True)
class Auth:
    """What `create_combined_auth` and `require_scope` give to a route."""

    type: Literal["api_key", "user"]
    user_id: str
    """The user, or the owner of the key."""
    user: UserIdentity
    """The user, or the owner of the key, as the account was at most a second ago."""
    key_id: str | None = None
    """The key; None for a user."""
    key_name: str | None = None
    workspace_id: str | None = None
    """The workspace that the key is for, else that of the request; None unless the caller is a member of it."""
    scopes: tuple[str, ...] = ()
    """What the caller may do now, with wildcards: of a key, what it was given as far as its owner still has it."""

    def has_scope(self, scope: str) -> bool:
        """Whether the caller may do this now. `admin` and `admin:...` need the role admin besides; `*` does too."""
        return may(self.scopes, self.user.role, scope)

    def require_scope(self, scope: str) -> None:
        """Raises MissingScope (403), which names the scope, when the caller may not do this."""
        if not self.has_scope(scope):
            raise missing_scope(scope)


def missing_scope(*scopes: str) -> MissingScope:
    """The error that names what is missing, for people and for programs (RFC 6750, 3.1)."""
    names = " ".join(scopes)
    error = MissingScope(f"This needs the scope {names}." if len(scopes) == 1 else f"This needs the scopes {names}.")
    error.headers = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{names}"'}  # type: ignore[misc]  # of this one
    return error
