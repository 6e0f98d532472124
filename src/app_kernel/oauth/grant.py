"""The authorization code grant with PKCE, as every provider here speaks it (RFC 6749, 4.1; RFC 7636)."""

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri  # type: ignore[import-untyped]  # it has no types
from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]  # as above

from app_kernel.oauth.providers import SignInDenied
from app_kernel.oauth.settings import ProviderSettings
from app_kernel.oauth.ticket import Ticket
from app_kernel.oauth.wire import ProviderFailed, Wire

_USED_UP = frozenset({"invalid_grant", "bad_verification_code"})
"""What providers say of a code that is wrong, old or used; the second one is GitHub's."""


def grant_url(settings: ProviderSettings, endpoint: str, ticket: Ticket, **more: str) -> str:
    """The address at the provider that asks the user, with the state and the PKCE challenge."""
    url: str = prepare_grant_uri(
        endpoint,
        settings.client_id,
        "code",
        ticket.callback,
        settings.scopes,
        ticket.state,
        code_challenge=s256(ticket.verifier),
        code_challenge_method="S256",
        **more,
    )
    return url


def s256(verifier: str) -> str:
    """The challenge of a PKCE verifier (RFC 7636, 4.2)."""
    challenge: str = create_s256_code_challenge(verifier)
    return challenge


async def redeem(
    wire: Wire, settings: ProviderSettings, endpoint: str, ticket: Ticket, code: str, *, basic: bool
) -> Mapping[str, Any]:
    """The provider's answer to a code; its access token is there, and is kept nowhere.

    `basic` says how the client shows who it is: in a header, or in the form. Raises SignInDenied, ProviderFailed.
    """
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": ticket.callback,
        "code_verifier": ticket.verifier,
    }
    headers = {}
    if basic:
        # Each part is escaped first (RFC 6749, 2.3.1).
        pair = f"{quote_plus(settings.client_id)}:{quote_plus(settings.client_secret)}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    else:
        form |= {"client_id": settings.client_id, "client_secret": settings.client_secret}
    status, answer = await wire.fetch("POST", endpoint, form=form, headers=headers)
    if not isinstance(answer, dict):
        raise ProviderFailed("malformed")
    error = answer.get("error")
    if error in _USED_UP:
        raise SignInDenied("code")
    if status != 200 or error is not None:
        raise ProviderFailed("client_refused" if error == "invalid_client" else "refused")
    token, kind = answer.get("access_token"), answer.get("token_type", "bearer")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or str(kind).lower() != "bearer":
        raise ProviderFailed("malformed")
    return answer
