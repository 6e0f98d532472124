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
