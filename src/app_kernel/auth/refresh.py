"""Refresh tokens: `rt_<session>_<generation>_<mac>`, opaque to clients and derivable by us, so none is ever stored.

The mac needs both the service's secret and the session's nonce: neither a leaked database nor a leaked secret is
enough to forge one. As every generation can be derived again, an old token is told from a forged one, and two callers
that refresh at the same time can be given the same successor (RFC 6749, 10.4; RFC 9700, 4.14.2).
"""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from app_kernel.auth.tokens import secret_bytes
from app_kernel.core.errors import InvalidToken

GRACE = timedelta(seconds=10)
"""How long after a rotation the token before it is answered with the same successor."""

_SHAPE = re.compile(r"rt_([0-9A-Za-z-]{1,64})_([1-9][0-9]{0,8})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """The parts of a refresh token."""

    session_id: str
    generation: int
    mac: str


def parse_refresh_token(text: str) -> RefreshToken:
    """The parts of a refresh token; raises InvalidToken when the text is none."""
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise InvalidToken("The refresh token is invalid, expired or revoked.")
    return RefreshToken(match[1], int(match[2]), match[3])


def new_nonce() -> str:
    """A session's share of the key of its refresh tokens: 128 random bits in hex."""
    return secrets.token_hex(16)


def hash_refresh_token(text: str) -> str:
    """The stored form of a refresh token: SHA-256 in hex; the mac's 256 bits need no slow hash."""
    return hashlib.sha256(text.encode()).hexdigest()


class RefreshTokens:
    """Derives and checks the refresh tokens of one service."""

    def __init__(self, secrets_: Sequence[str]) -> None:
        self._keys = tuple(
            hmac.digest(secret_bytes(secret), b"app_kernel refresh token", "sha256") for secret in secrets_
        )

    def derive(self, session_id: str, generation: int, nonce: str) -> str:
        """The token of a session's generation, under the current secret."""
        return self._derive(self._keys[0], session_id, generation, nonce)

    def derive_stored(self, session_id: str, generation: int, nonce: str, stored_hash: str) -> str | None:
        """The token whose hash was stored, whichever secret it was made with; None when its secret is gone."""
        for key in self._keys:
            token = self._derive(key, session_id, generation, nonce)
            if hmac.compare_digest(hash_refresh_token(token), stored_hash):
                return token
        return None

    def is_genuine(self, token: RefreshToken, nonce: str) -> bool:
        """Whether we made this token, at any time, for the session with this nonce."""
        macs = [_mac(key, token.session_id, token.generation, nonce) for key in self._keys]
        return any(hmac.compare_digest(mac, token.mac) for mac in macs)

    def _derive(self, key: bytes, session_id: str, generation: int, nonce: str) -> str:
        return f"rt_{session_id}_{generation}_{_mac(key, session_id, generation, nonce)}"


def _mac(key: bytes, session_id: str, generation: int, nonce: str) -> str:
    digest = hmac.digest(key, f"{session_id}|{generation}|{nonce}".encode(), "sha256")
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
