"""GitHub and GitHub Enterprise: OAuth 2.0 without OpenID, so that who signed in is asked of the API."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from app_kernel.oauth.grant import grant_url, redeem
from app_kernel.oauth.providers import ProviderIdentity, SignInDenied, checked_email, checked_name
from app_kernel.oauth.settings import ProviderSettings
from app_kernel.oauth.ticket import Ticket
from app_kernel.oauth.wire import ProviderFailed, Wire

NO_REPLY = ("users.noreply.", "noreply.")
"""How domains begin to which no mail can be sent, so that an address there shows nothing."""


class GitHubProvider:
    """A provider that speaks as GitHub does."""

    def __init__(self, settings: ProviderSettings, wire: Wire) -> None:
        self._settings = settings
        self._wire = wire

    @property
    def name(self) -> str:
        """The name that it is configured under."""
        return self._settings.name

    async def authorization_url(self, ticket: Ticket) -> str:
        """Where to send the browser."""
        return grant_url(self._settings, self._settings.addresses["authorize_url"], ticket)

    async def identify(self, ticket: Ticket, code: str, issuer: str | None) -> ProviderIdentity:
        """Who came back with this code; raises SignInDenied, ProviderFailed.

        GitHub's issuer identifier is not in its documentation, so that an `iss` only has to be of its own host; each
        provider's callback is an address of its own, which is what keeps them apart (RFC 9700, 4.4.2).
        """
        addresses = self._settings.addresses
        if issuer is not None and _origin(issuer) != _origin(addresses["authorize_url"]):
            raise SignInDenied("issuer")
        granted = await redeem(self._wire, self._settings, addresses["token_url"], ticket, code, basic=False)
        headers = {"Authorization": f"Bearer {granted['access_token']}", "Accept": "application/vnd.github+json"}
        user = await self._wire.fetch_object(f"{addresses['api_url']}/user", headers)
        number = user.get("id")
        if not isinstance(number, int) or isinstance(number, bool):
            raise ProviderFailed("malformed")
        status, emails = await self._wire.fetch("GET", f"{addresses['api_url']}/user/emails", headers=headers)
        # An app without the right to read them answers 403 or 404; who is linked already may sign in all the same.
        email = primary_email(emails if status == 200 else None)
        return ProviderIdentity(
            provider=self.name,
            issuer=self._settings.issuer,
            subject=str(number),
            email=email,
            email_verified=email is not None,
            name=checked_name(user.get("name")),
        )


def primary_email(listed: object) -> str | None:
    """The primary address if GitHub has confirmed it and mail can reach it; never another one of the user's."""
    for entry in listed if isinstance(listed, list) else ():
        if not isinstance(entry, Mapping) or entry.get("primary") is not True or entry.get("verified") is not True:
            continue
        email = checked_email(entry.get("email"))
        if email is not None and not email.rpartition("@")[2].lower().startswith(NO_REPLY):
            return email
    return None


def _origin(url: str) -> tuple[Any, ...] | None:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port
    except ValueError:
        return None
