"""What a provider is to this service: somewhere to send a browser, and somebody to ask who came back."""

from dataclasses import dataclass
from typing import Protocol

from app_kernel.oauth.ticket import Ticket


@dataclass(frozen=True, slots=True)
class ProviderIdentity:
    """Who somebody is at a provider."""

    provider: str
    issuer: str
    subject: str
    """What the provider never gives to another person, unlike an email or a user name."""
    email: str | None
    email_verified: bool
    """Whether the provider says that it has confirmed the address; False whenever it does not say so plainly."""
    name: str | None = None


class SignInDenied(Exception):
    """The provider, or what it sent, does not allow this sign-in; the text is a fixed word for the log."""


class Provider(Protocol):
    """A way to sign in elsewhere."""

    @property
    def name(self) -> str:
        """The name that it is configured under."""

    async def authorization_url(self, ticket: Ticket) -> str:
        """Where to send the browser; raises ProviderFailed."""

    async def identify(self, ticket: Ticket, code: str, issuer: str | None) -> ProviderIdentity:
        """Who came back with this code, and with this `iss` (RFC 9207); raises SignInDenied, ProviderFailed."""


def checked_email(given: object) -> str | None:
    """An email as far as it is text of a plausible length."""
    return given if isinstance(given, str) and 3 <= len(given) <= 320 else None


def checked_name(given: object) -> str | None:
    """A display name without control characters and of a length that an account takes, or None."""
    if not isinstance(given, str):
        return None
    return "".join(char for char in given if char.isprintable()).strip()[:200] or None
