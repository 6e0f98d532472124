"""ID tokens: signed by a key of the issuer's own, for this client, for this very sign-in, and still valid.

OpenID Connect Core 1.0, 3.1.3.7; the algorithm is chosen from a list, never by the token (RFC 8725, 3.1).
"""

import hmac
import logging
import warnings
from typing import Any

from authlib.oidc.core import CodeIDToken  # type: ignore[import-untyped]  # the library has no types
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError, SecurityWarning
from joserfc.jwk import JWKRegistry, KeySet
from joserfc.jws import JWSRegistry

from app_kernel.core import clock

ALGORITHMS = ("RS256", "PS256", "ES256", "Ed25519", "EdDSA")
"""Asymmetric ones only: with HS256 whoever knows a public key could sign. EdDSA is the older name of Ed25519."""
KEY_TYPES = frozenset({"RSA", "EC", "OKP"})
SMALLEST_RSA = 2048
MOST_KEYS = 50
LEEWAY = 60
"""Seconds by which the issuer's clock may differ."""
LONGEST_TOKEN = 64 * 1024

_log = logging.getLogger("app_kernel.oauth")


class TokenRefused(Exception):
    """An ID token is not what it has to be; the text is a fixed word for the log."""


class UnknownKey(TokenRefused):
    """No key of the issuer has the token's id."""


def read_keys(document: object) -> KeySet:
    """The keys of a JWK Set (RFC 7517) that may sign ID tokens; what is not understood is left out."""
    listed = document.get("keys") if isinstance(document, dict) else None
    keys = []
    for data in (listed if isinstance(listed, list) else [])[:MOST_KEYS]:
        if not isinstance(data, dict) or data.get("kty") not in KEY_TYPES or data.get("use", "sig") != "sig":
            continue
        try:
            with warnings.catch_warnings():
                # A weak key is dropped below, and needs no warning.
                warnings.simplefilter("ignore")
                key = JWKRegistry.import_key(data)
        except (JoseError, ValueError, TypeError):
            continue
        if data["kty"] != "RSA" or key.public_key.key_size >= SMALLEST_RSA:  # type: ignore[union-attr]  # RSA has one
            keys.append(key)
    return KeySet(keys)


def verify_id_token(
    token: object, keys: KeySet, *, issuer: str, client_id: str, nonce: str, access_token: str | None
) -> dict[str, Any]:
    """The claims of a token that is good; raises TokenRefused, and UnknownKey when newer keys might help."""
    if not isinstance(token, str) or len(token) > LONGEST_TOKEN:
        raise TokenRefused("missing")
    registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    try:
        with warnings.catch_warnings():
            # That EdDSA has a newer name (RFC 9864) is for the issuer to know.
            warnings.simplefilter("ignore", SecurityWarning)
            decoded = jwt.decode(token, keys, registry=registry)
    except InvalidKeyIdError:
        raise UnknownKey("key") from None
    except (JoseError, ValueError, TypeError, KeyError):
        raise TokenRefused("signature") from None
    claims = CodeIDToken(
        decoded.claims,
        decoded.header,
        options={"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": client_id}},
        params={"nonce": nonce, "client_id": client_id, "access_token": access_token},
    )
    try:
        claims.validate(now=int(clock.epoch()), leeway=LEEWAY)
    except (JoseError, ValueError, TypeError, OverflowError) as exc:
        _log.info("oauth_id_token_refused", extra={"claim": str(getattr(exc, "claim", None))[:20]})
        raise TokenRefused("claims") from None
    _check_ourselves(claims, nonce)
    return dict(claims)


def _check_ourselves(claims: dict[str, Any], nonce: str) -> None:
    """What the library leaves open: a nonce is text that is there, and so is a subject of at most 255 characters."""
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode("utf-8", "replace"), nonce.encode()):
        raise TokenRefused("nonce")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= 255:
        raise TokenRefused("subject")
