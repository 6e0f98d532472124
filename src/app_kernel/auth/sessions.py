"""How long a session lives and when it is over: pure questions about a session's row."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from app_kernel.core.config import ServiceConfig


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long access tokens and sessions live."""

    access: timedelta
    absolute: timedelta
    """From sign-in to the end in any case."""
    idle: timedelta
    """From the last refresh to the end."""

    @classmethod
    def of(cls, config: ServiceConfig) -> Self:
        """The lifetimes of a service; a session lives at least as long as the access token it gave, so that
        `jwt_expiry_hours` always means what it says.
        """
        access = timedelta(hours=config.jwt_expiry_hours)
        return cls(
            access,
            max(timedelta(days=config.session_days), access),
            max(timedelta(days=config.session_idle_days), access),
        )

    def access_expiry(self, session: Mapping[str, Any], now: datetime) -> int:
        """Seconds since 1970 at which a token issued now ends: never after its session."""
        return int(min(now + self.access, session["expires_at"]).timestamp())

    def is_live(self, session: Mapping[str, Any], now: datetime) -> bool:
        """Whether a session was neither ended nor ran out."""
        if session["revoked_at"] is not None:
            return False
        ends: datetime = min(session["expires_at"], session["last_used_at"] + self.idle)
        return now < ends
