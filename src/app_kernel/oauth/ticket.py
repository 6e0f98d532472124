"""What a browser takes along to the provider and back: a sealed cookie, so that no process has to remember anything.

The state that goes through the provider means nothing without the cookie of the browser that began (RFC 6749, 10.12;
RFC 9700, 4.7), and the cookie can be neither read nor made by anybody but this service.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import SealBroken, SignInRefused
from app_kernel.encryption import KeyRing

TICKET_SECONDS = 600
"""How long a sign-in may take, from its start to its return."""
CODE_SECONDS = 60
"""How long a one-time code is good for."""
COOKIES_AT_ONCE = 5
"""Sign-ins that one browser may have under way; the cookies of older ones go, before a server refuses their size."""

_PURPOSE = "oauth state"
_challenge = re.compile(r"[A-Za-z0-9_-]{43}").fullmatch


@dataclass(frozen=True, slots=True)
class Ticket:
    """One sign-in under way."""

    provider: str
    state: str
    nonce: str
    verifier: str
    """Of PKCE (RFC 7636), towards the provider."""
    callback: str
    """The callback's address, as the provider was told."""
    target: str | None = None
    """The page to return to; None when the callback answers itself."""
    challenge: str | None = None
    """The S256 challenge of the page that is to exchange the one-time code."""
    link_user_id: str | None = None
    """Whose account the identity is to be linked to; None for a sign-in."""
    link_token: str | None = None
    """The access token with which they asked for that; None where it was in a cookie."""
    link_verified: bool = False
    """Whether the account's address was confirmed at that time."""


def new_ticket(provider: str, callback: str, **more: Any) -> Ticket:
    """A ticket with a state, a nonce and a PKCE verifier of 256 random bits each."""
    return Ticket(provider, new_secret(), new_secret(), new_secret(), callback, **more)


def new_secret() -> str:
    """256 random bits, in 43 characters that need no escaping anywhere."""
    return secrets.token_urlsafe(32)


def hash_of(secret: str) -> str:
    """What is kept of a secret that has 256 random bits of its own, so that no salt or cost is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def is_hash_of(kept: str, secret: str) -> bool:
    """Whether a secret is the one that was kept as a hash, in constant time."""
    return hmac.compare_digest(kept, hash_of(secret))


def is_challenge(text: str) -> bool:
    """Whether this can be an S256 challenge (RFC 7636, 4.2)."""
    return bool(_challenge(text))


class BrowserCookies:
    """The cookies of sign-ins, which scripts cannot read and other sites' pages cannot send in the background."""

    def __init__(self, config: ServiceConfig, keys: KeyRing) -> None:
        self._keys = keys
        self._secure = config.production or (config.public_url or "").startswith("https://")
        # With the prefix nobody can set one from a subdomain or without TLS (RFC 6265bis, 4.1.3).
        self._prefix = "__Host-" if self._secure else ""

    def keep(self, request: Request, response: Response, ticket: Ticket) -> None:
        """Gives the browser its ticket; several sign-ins in several tabs do not get in each other's way."""
        sealed = self._keys.seal(_PURPOSE, orjson.dumps(asdict(ticket)))
        for name in self._tickets_of(request)[: -COOKIES_AT_ONCE + 1]:
            self._set(response, name, "", 0)
        self._set(response, self._name(ticket.state), sealed, TICKET_SECONDS)

    def open(self, request: Request, provider: str, state: str) -> Ticket:
        """The ticket with this state that this very browser was given for this provider; raises SignInRefused."""
        text = request.cookies.get(self._name(state))
        if not state or not text:
            raise SignInRefused
        try:
            ticket = Ticket(**orjson.loads(self._keys.unseal(_PURPOSE, text, max_age=TICKET_SECONDS)))
        except (SealBroken, TypeError, ValueError):
            raise SignInRefused from None
        if not hmac.compare_digest(ticket.state.encode(), state.encode("utf-8", "surrogatepass")):
            raise SignInRefused
        if ticket.provider != provider:
            raise SignInRefused
        return ticket

    def keep_for_exchange(self, response: Response, code: str, secret: str) -> None:
        """Gives the browser the other half of a one-time code."""
        self._set(response, self._code_name(code), secret, CODE_SECONDS)

    def for_exchange(self, request: Request, code: str) -> str | None:
        """The other half of a one-time code, if this browser has it."""
        return request.cookies.get(self._code_name(code))

    def forget_state(self, state: str) -> tuple[bytes, bytes]:
        """The header that takes a ticket back."""
        return self._forget(self._name(state))

    def forget_code(self, code: str) -> tuple[bytes, bytes]:
        """The header that takes the other half of a one-time code back."""
        return self._forget(self._code_name(code))

    def _forget(self, name: str) -> tuple[bytes, bytes]:
        response = Response()
        self._set(response, name, "", 0)
        return next(header for header in response.raw_headers if header[0] == b"set-cookie")

    def _name(self, state: str) -> str:
        return f"{self._prefix}oauth-{hash_of(state)[:16]}"

    def _code_name(self, code: str) -> str:
        return f"{self._prefix}oauthcode-{hash_of(code)[:16]}"

    def _tickets_of(self, request: Request) -> Sequence[str]:
        """Browsers send older cookies first (RFC 6265, 5.4)."""
        return [name for name in request.cookies if name.startswith(f"{self._prefix}oauth-")]

    def _set(self, response: Response, name: str, value: str, seconds: int) -> None:
        response.set_cookie(name, value, seconds, path="/", secure=self._secure, httponly=True, samesite="lax")


def add_cookies(response: Response, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Adds headers of which there may be several of one name."""
    response.raw_headers.extend(headers)
