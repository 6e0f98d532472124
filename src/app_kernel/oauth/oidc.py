"""An OpenID issuer: found by its discovery document when it is first used, and asked for keys as they rotate."""

import asyncio
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joserfc.jwk import KeySet

from app_kernel.core import clock
from app_kernel.oauth.addresses import find_address_problem
from app_kernel.oauth.grant import grant_url, redeem
from app_kernel.oauth.id_token import TokenRefused, UnknownKey, read_keys, verify_id_token
from app_kernel.oauth.providers import ProviderIdentity, SignInDenied, checked_email, checked_name
from app_kernel.oauth.settings import ProviderSettings
from app_kernel.oauth.ticket import Ticket
from app_kernel.oauth.wire import ProviderFailed, Wire

DISCOVERY_PATH = "/.well-known/openid-configuration"
FRESH_SECONDS = 3600
"""How long a discovery document and a key set are used before they are asked for again."""
KEYS_PAUSE_SECONDS = 10
"""Least time between two requests for keys, so that invented key ids cannot be made into a flood."""


@dataclass(frozen=True, slots=True)
class Discovered:
    """What is needed of a discovery document (OpenID Connect Discovery 1.0, 3)."""

    authorize_url: str
    token_url: str
    keys_url: str
    user_info_url: str | None
    basic: bool
    """Whether the client's secret goes into a header; else into the form."""
    sends_issuer: bool
    """Whether every answer names its issuer (RFC 9207)."""
    at: float
    """When it was read, by the monotonic clock."""


class OpenIdProvider:
    """One issuer. Its document and keys are kept in memory, and shared by all who sign in at the time."""

    def __init__(self, settings: ProviderSettings, wire: Wire, *, loopback_http: bool) -> None:
        self._settings = settings
        self._wire = wire
        self._loopback_http = loopback_http
        self._discovered: Discovered | None = None
        self._keys: KeySet | None = None
        self._keys_at = 0.0
        self._turn = asyncio.Lock()

    @property
    def name(self) -> str:
        """The name that it is configured under."""
        return self._settings.name

    async def authorization_url(self, ticket: Ticket) -> str:
        """Where to send the browser; raises ProviderFailed."""
        found = await self._discover()
        return grant_url(self._settings, found.authorize_url, ticket, nonce=ticket.nonce)

    async def identify(self, ticket: Ticket, code: str, issuer: str | None) -> ProviderIdentity:
        """Who came back with this code; raises SignInDenied, ProviderFailed."""
        found = await self._discover()
        if (issuer is None and found.sends_issuer) or (issuer is not None and issuer != self._settings.issuer):
            raise SignInDenied("issuer")
        granted = await redeem(self._wire, self._settings, found.token_url, ticket, code, basic=found.basic)
        try:
            claims: Mapping[str, Any] = await self._verify(found, granted, ticket.nonce)
        except TokenRefused as exc:
            raise SignInDenied(f"id_token_{exc}") from None
        subject = claims["sub"]
        if "email" not in claims and found.user_info_url is not None:
            claims = await self._user_info(found.user_info_url, granted["access_token"], subject)
        return ProviderIdentity(
            provider=self.name,
            issuer=self._settings.issuer,
            subject=subject,
            email=checked_email(claims.get("email")),
            email_verified=claims.get("email_verified") is True,
            name=checked_name(claims.get("name")),
        )

    async def _verify(self, found: Discovered, granted: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        keys = await self._current_keys(found)
        expected = {"issuer": self._settings.issuer, "client_id": self._settings.client_id, "nonce": nonce}
        token, access_token = granted.get("id_token"), granted["access_token"]
        try:
            return verify_id_token(token, keys, access_token=access_token, **expected)
        except UnknownKey:
            # The issuer may have rotated its keys since they were read.
            keys = await self._newer_keys(found, keys)
            return verify_id_token(token, keys, access_token=access_token, **expected)

    async def _user_info(self, url: str, access_token: str, subject: str) -> dict[str, Any]:
        """What the issuer tells of the user apart from the token (OpenID Connect Core, 5.3); of this very user."""
        claims = await self._wire.fetch_object(url, {"Authorization": f"Bearer {access_token}"})
        if not hmac.compare_digest(
            str(claims.get("sub")).encode("utf-8", "replace"), subject.encode("utf-8", "replace")
        ):
            raise SignInDenied("user_info")
        return claims

    async def _discover(self) -> Discovered:
        async with self._turn:
            if self._discovered is None or clock.monotonic() - self._discovered.at > FRESH_SECONDS:
                url = self._settings.issuer.rstrip("/") + DISCOVERY_PATH
                self._discovered = self._read(await self._wire.fetch_object(url))
            return self._discovered

    async def _current_keys(self, found: Discovered) -> KeySet:
        async with self._turn:
            if self._keys is None or clock.monotonic() - self._keys_at > FRESH_SECONDS:
                await self._fetch_keys(found)
            return self._keys or KeySet([])

    async def _newer_keys(self, found: Discovered, known: KeySet) -> KeySet:
        async with self._turn:
            if self._keys is known and clock.monotonic() - self._keys_at > KEYS_PAUSE_SECONDS:
                await self._fetch_keys(found)
            return self._keys or known

    async def _fetch_keys(self, found: Discovered) -> None:
        # Before the answer: one that fails or is slow must not be asked for again and again either.
        self._keys_at = clock.monotonic() if self._keys is not None else self._keys_at
        keys = read_keys(await self._wire.fetch_object(found.keys_url))
        if not keys:
            raise ProviderFailed("keys")
        self._keys, self._keys_at = keys, clock.monotonic()

    def _read(self, document: Mapping[str, Any]) -> Discovered:
        """Raises ProviderFailed for a document of another issuer, or with an address that may not be used."""
        if document.get("issuer") != self._settings.issuer:
            raise ProviderFailed("issuer")
        for key in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"):
            if key == "userinfo_endpoint" and key not in document:
                continue
            if find_address_problem(document.get(key), loopback_http=self._loopback_http) is not None:
                raise ProviderFailed("address")
        methods = document.get("token_endpoint_auth_methods_supported")
        return Discovered(
            authorize_url=document["authorization_endpoint"],
            token_url=document["token_endpoint"],
            keys_url=document["jwks_uri"],
            user_info_url=document.get("userinfo_endpoint"),
            basic=not isinstance(methods, list) or "client_secret_basic" in methods,
            sends_issuer=document.get("authorization_response_iss_parameter_supported") is True,
            at=clock.monotonic(),
        )
