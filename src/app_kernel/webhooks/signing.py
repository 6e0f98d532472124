"""Secrets and signatures of Standard Webhooks 1.0: `v1,` and Base64 of HMAC-SHA256 over `id.timestamp.body`."""

import base64
import binascii
import hmac
import secrets
from collections.abc import Iterable

from app_kernel.core.errors import InvalidWebhook

PREFIX = "whsec_"
VERSION = "v1,"
SHORTEST, LONGEST = 24, 64
"""Bytes of a secret."""
OWN_LENGTH = 32

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
"""The header fields of a delivery."""


def make_secret() -> str:
    """A new secret: `whsec_` and 32 random bytes as Base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(OWN_LENGTH)).decode()


def key_of(secret: object) -> bytes:
    """The bytes that a secret stands for; raises InvalidWebhook for text that is none, which it does not repeat."""
    if isinstance(secret, str) and secret.startswith(PREFIX):
        text = secret.removeprefix(PREFIX)
        try:
            key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if SHORTEST <= len(key) <= LONGEST:
            return key
    raise InvalidWebhook(f"The secret of a webhook is {PREFIX} and {SHORTEST} to {LONGEST} bytes as Base64.")


def sign(key: bytes, event_id: str, timestamp: int | str, body: bytes) -> str:
    """One signature."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    return VERSION + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def headers_for(keys: Iterable[bytes], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three header fields of a delivery, with a signature for each key."""
    signatures = " ".join(sign(key, event_id, timestamp, body) for key in keys)
    return {ID: event_id, TIMESTAMP: str(timestamp), SIGNATURE: signatures}
