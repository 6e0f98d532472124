"""Access tokens: JWT (RFC 7519) signed with HS256 and nothing else, checked after RFC 8725."""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson

from app_kernel.core import clock
from app_kernel.core.errors import InvalidToken

if TYPE_CHECKING:
    import jwt

ALGORITHM = "HS256"
LEEWAY = 60
"""Seconds by which `iat` and `nbf` may lie ahead of our clock; `exp` gets none."""

_LAST_INSTANT = 253_402_300_799  # the end of the year 9999, in seconds since 1970
# The header is short enough that no nesting in it can exhaust the stack of the JSON parser.
_SHAPE = re.compile(rb"[A-Za-z0-9_-]{2,256}\.[A-Za-z0-9_-]{2,4096}\.[A-Za-z0-9_-]{43}")
_HEADER_FIELDS = frozenset({"alg", "kid", "typ"})


@cache
def _signer() -> "jwt.PyJWS":
    """Signs and checks with HS256 alone."""
    # It brings in all of `cryptography` for algorithms that are not used here: a tenth of a second that a start, a
    # command or a worker without tokens need not pay.
    import jwt  # noqa: PLC0415
    from jwt.algorithms import HMACAlgorithm  # noqa: PLC0415

    class HS256(HMACAlgorithm):
        """HS256 that leaves the warning about short secrets to ServiceConfig, which gives it once, in our words."""

        def check_key_length(self, key: bytes) -> str | None:
            return None

    signer = jwt.PyJWS(algorithms=[ALGORITHM])
    signer.unregister_algorithm(ALGORITHM)
    signer.register_algorithm(ALGORITHM, HS256(HMACAlgorithm.SHA256))
    return signer


@cache
def _errors() -> tuple[type[Exception], ...]:
    from jwt import PyJWTError  # noqa: PLC0415 - as above

    return PyJWTError, ValueError


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a valid access token says."""

    user_id: str
    session_id: str
    expires_at: int
    """Seconds since 1970 from which the token is refused."""


def secret_bytes(secret: str) -> bytes:
    """The bytes of a secret, also of one that came from an environment with bytes that are no UTF-8."""
    return secret.encode("utf-8", "surrogateescape")


def key_id(secret: str) -> str:
    """The `kid` of a secret: tells the keys of a ring apart and says nothing of the secret itself."""
    return hmac.digest(secret_bytes(secret), b"app_kernel kid", "sha256").hex()[:16]


class AccessTokens:
    """Issues and checks the access tokens of one service.

    The first secret signs; all of them verify, so that a rotation signs nobody out while the old secret is still given.
    """

    def __init__(self, service: str, secrets: Sequence[str]) -> None:
        self._service = service
        self._keys = {key_id(secret): secret_bytes(secret) for secret in secrets}
        self._current = key_id(secrets[0])

    def issue(self, user_id: str, session_id: str, role: str, expires_at: int) -> str:
        """A token for a user's session that is refused from `expires_at` on (seconds since 1970)."""
        claims = {
            "iss": self._service,
            "aud": self._service,
            "sub": user_id,
            "sid": session_id,
            "typ": "access",
            "role": role,
            "iat": int(clock.epoch()),
            "exp": expires_at,
            "jti": clock.new_id(),
        }
        return _signer().encode(orjson.dumps(claims), self._keys[self._current], ALGORITHM, {"kid": self._current})

    def verify(self, token: bytes) -> AccessClaims:
        """What the token says; raises InvalidToken unless its shape, signature and every claim are as we issue them.

        Whether the session and the user still exist is not known here.
        """
        if not _SHAPE.fullmatch(token):
            raise InvalidToken
        signer, errors = _signer(), _errors()
        try:
            key = self._key_for(signer.get_unverified_header(token))
            payload = orjson.loads(signer.decode(token, key, [ALGORITHM]))
        except errors:
            raise InvalidToken from None
        return self._check_claims(payload)

    def _key_for(self, header: dict[str, Any]) -> bytes:
        """The key is chosen by an exact `kid` of the ring; a header that asks for anything else is refused unread."""
        kid = header.get("kid")
        if header.get("alg") != ALGORITHM or not header.keys() <= _HEADER_FIELDS or not isinstance(kid, str):
            raise InvalidToken
        key = self._keys.get(kid)
        if key is None:
            raise InvalidToken
        return key

    def _check_claims(self, claims: Any) -> AccessClaims:
        if not isinstance(claims, dict) or claims.get("typ") != "access":
            raise InvalidToken
        if claims.get("iss") != self._service or claims.get("aud") != self._service:
            raise InvalidToken
        if not all(_is_text(claims.get(name)) for name in ("sub", "sid", "jti", "role")):
            raise InvalidToken
        now = clock.epoch()
        issued_at, expires_at = _instant(claims, "iat"), _instant(claims, "exp")
        valid_from = max(issued_at, _instant(claims, "nbf") if "nbf" in claims else issued_at)
        if expires_at <= now or valid_from > now + LEEWAY or issued_at > expires_at:
            raise InvalidToken
        return AccessClaims(claims["sub"], claims["sid"], expires_at)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 255


def _instant(claims: dict[str, Any], name: str) -> int:
    """An int and nothing that merely compares like one: no bool, float or digits in a string."""
    value = claims.get(name)
    if type(value) is not int or not 0 <= value <= _LAST_INSTANT:
        raise InvalidToken
    return value
