"""What happens in process: an event is a frozen value, a listener hears of it after the fact."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


# One is made for every request, and freezing it would cost more than making it.
@dataclass(slots=True)
class RequestFinished:
    """A request was answered, or its connection was lost."""

    method: str
    route: str
    """The route's template, such as /widgets/{id}; empty when no route matched."""
    path: str
    status: int
    """The status sent; 499 when the client left before the answer began."""
    duration: float
    """Seconds from the first byte of the request to the last byte of the answer."""
    user_id: str | None
    request_id: str


@dataclass(frozen=True, slots=True)
class EntityChanged:
    """One change of one entity, as recorders see it inside its transaction."""

    entity: str
    id: str | int
    version: int
    """From 1; each change counts one up."""
    action: str
    """create, update, delete, restore or purge."""
    before: Mapping[str, Any] | None
    """The whole row before the change; None when there was none."""
    after: Mapping[str, Any] | None
    """The whole row after the change; None when it is gone."""
    at: str
    """When, as UTC ISO 8601 text."""
    actor_id: str | None
    comment: str | None
    request_id: str | None
    address: str | None
    """The client's address."""
    workspace_id: str | None

    @property
    def changes(self) -> dict[str, list[Any]]:
        """What differs, as field to [old, new], without the fields that every change moves."""
        before, after = self.before or {}, self.after or {}
        names = dict.fromkeys((*before, *after))
        return {
            name: [before.get(name), after.get(name)]
            for name in names
            if name not in _MOVED_BY_EVERY_CHANGE and before.get(name) != after.get(name)
        }


_MOVED_BY_EVERY_CHANGE = frozenset({"updated_at", "updated_by", "_version"})


@dataclass(frozen=True, slots=True)
class UserRegistered:
    """An account was made, by sign-up, by an administrator or by code."""

    user_id: str
    email: str
    role: str


@dataclass(frozen=True, slots=True)
class SecurityEvent:
    """Something a security log must show: who did what, from where, and whether it worked.

    `name` is one of auth.login, auth.login_failed, auth.login_throttled, auth.logout, auth.logout_all,
    auth.password_changed, auth.refresh_reused, auth.registered, auth.role_changed, auth.deactivated, auth.activated.
    """

    name: str
    user_id: str | None
    address: str | None
    detail: Mapping[str, Any]
