"""What a receiver does: whether a request is a webhook of who it says it is from, and fresh (Standard Webhooks 1.0)."""

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from app_kernel.core import clock
from app_kernel.core.errors import InvalidSignature, InvalidWebhook
from app_kernel.webhooks.signing import ID, SIGNATURE, TIMESTAMP, key_of, sign

TOLERANCE = 300
"""Seconds that a webhook may be old, or ahead of this machine's clock."""
MOST_SIGNATURES = 32
LONGEST_ID = 256

Headers: TypeAlias = Mapping[Any, Any] | Iterable[tuple[Any, Any]]
Secrets: TypeAlias = str | Iterable[str]

_is_seconds = re.compile(r"[0-9]{1,12}").fullmatch
_FIELDS = (ID, TIMESTAMP, SIGNATURE)


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A webhook that was verified."""

    id: str
    """The same in every attempt to deliver this event, so that a receiver knows one that it has handled."""
    timestamp: int
    """When this attempt was made, in seconds since 1970."""
    payload: Any
    """The body, parsed."""

    @property
    def type(self) -> str:
        """What happened, such as `deployment.succeeded`; empty where the body does not say."""
        found = self.payload.get("type") if isinstance(self.payload, dict) else None
        return found if isinstance(found, str) else ""

    @property
    def data(self) -> Any:
        """What it happened to; None where the body does not say."""
        return self.payload.get("data") if isinstance(self.payload, dict) else None


def verify_webhook(
    secrets: Secrets, headers: Headers, body: bytes | str, *, tolerance: int = TOLERANCE
) -> WebhookEvent:
    """The event of a request, whose body is given as it came.

    `secrets` is one secret or several, each `whsec_...`; one that fits is enough, so that a rotation loses nothing.
    `headers` is any mapping or list of pairs, in any case. `tolerance` is in seconds. Raises InvalidSignature when a
    header field is missing, repeated or malformed, the request is too old or from the future, or no signature is right;
    InvalidWebhook for a secret that is none, and for a signed body that is no JSON.
    """
    keys = [key_of(secret) for secret in ([secrets] if isinstance(secrets, str) else secrets)]
    if not isinstance(body, str | bytes | bytearray | memoryview):
        raise TypeError("verify_webhook() takes the body as it came, as bytes or text, not what was parsed of it.")
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body)
    found = _fields(headers)
    event_id, timestamp = found[ID], found[TIMESTAMP]
    if not 0 < len(event_id) <= LONGEST_ID or not _is_seconds(timestamp):
        raise InvalidSignature
    # All of them, and each to its end: how long it takes tells nothing of how much was right.
    expected = [sign(key, event_id, timestamp, raw).encode() for key in keys]
    given = [each.encode() for each in found[SIGNATURE].split(" ")[:MOST_SIGNATURES]]
    fits = [hmac.compare_digest(each, right) for each in given for right in expected]
    if not any(fits):
        raise InvalidSignature
    if abs(clock.epoch() - int(timestamp)) > tolerance:
        raise InvalidSignature("The request is signed, but too old or from the future.")
    try:
        return WebhookEvent(event_id, int(timestamp), orjson.loads(raw))
    except orjson.JSONDecodeError:
        raise InvalidWebhook("The request is signed, but its body is no JSON.") from None


def _fields(headers: Headers) -> dict[str, str]:
    """The three fields, each there once and of visible ASCII; raises InvalidSignature."""
    found: dict[str, str] = {}
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        known = _text(name).lower()
        if known in _FIELDS:
            if known in found:
                raise InvalidSignature
            found[known] = _text(value)
    if len(found) < len(_FIELDS) or not all(value.isascii() and value.isprintable() for value in found.values()):
        raise InvalidSignature
    return found


def _text(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return value.decode("latin-1")
    return value if isinstance(value, str) else ""
