"""Secrets of webhooks at rest, and what a delivery is signed with."""

from collections.abc import Mapping
from typing import Any

from app_kernel.core import clock
from app_kernel.core.errors import WebhookKeyMissing
from app_kernel.encryption import KeyRing
from app_kernel.webhooks.signing import key_of

PURPOSE = "webhooks"


def seal_secret(ring: KeyRing, secret: str) -> str:
    """A secret as it is kept; raises WebhookKeyMissing in a service that has nothing to seal with."""
    if not ring:
        raise WebhookKeyMissing
    return ring.seal(PURPOSE, secret.encode())


def signing_keys(ring: KeyRing, webhook: Mapping[str, Any]) -> list[bytes]:
    """The keys that a delivery is signed with now, the current one first; raises SealBroken, WebhookKeyMissing."""
    if not ring:
        raise WebhookKeyMissing
    sealed = [webhook["secret"]]
    if webhook["previous_secret"] is not None and webhook["previous_until"] > clock.now():
        sealed.append(webhook["previous_secret"])
    return [key_of(ring.unseal(PURPOSE, each).decode()) for each in sealed]
