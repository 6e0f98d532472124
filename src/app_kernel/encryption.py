"""Secrets at rest: what must be read again is sealed, what must only be recognised is a keyed hash.

Every use has a purpose, from which its key is derived (HKDF, RFC 5869): what was sealed for one purpose does not open
for another. The first secret of the ring seals; all of them open, so that a rotation loses nothing while the old secret
is still given.
"""

import base64
import hmac
from collections.abc import Sequence
from typing import TYPE_CHECKING

from app_kernel.core import clock
from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import KernelError, SealBroken

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

_NO_SECRET = "Nothing to derive keys from: set ENCRYPTION_KEY, or JWT_SECRET."  # noqa: S105 - a sentence


class KeyRing:
    """Seals, opens and recognises with the secrets of one service."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = tuple(secret.encode("utf-8", "surrogateescape") for secret in secrets)
        self._sealers: dict[str, MultiFernet] = {}
        self._mac_keys: dict[str, tuple[bytes, ...]] = {}

    def __bool__(self) -> bool:
        """Whether there is a secret at all."""
        return bool(self._secrets)

    def seal(self, purpose: str, data: bytes) -> str:
        """The data as text that only this service can read or make (Fernet: AES-128-CBC and HMAC-SHA256)."""
        sealed: bytes = self._sealer(purpose).encrypt_at_time(data, int(clock.epoch()))
        return sealed.decode()

    def unseal(self, purpose: str, text: str, *, max_age: int | None = None) -> bytes:
        """What was sealed for this purpose, at most `max_age` seconds ago; raises SealBroken."""
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - 40 ms that a start need not pay

        sealer, now = self._sealer(purpose), int(clock.epoch())
        try:
            if max_age is None:
                return sealer.decrypt(text.encode())
            return sealer.decrypt_at_time(text.encode(), max_age, now)
        except (InvalidToken, ValueError):
            raise SealBroken from None

    def mac(self, purpose: str, data: bytes) -> str:
        """The keyed hash of the data under the current secret (HMAC-SHA256, 64 hex digits)."""
        return self.macs(purpose, data)[0]

    def macs(self, purpose: str, data: bytes) -> list[str]:
        """The keyed hash under each secret of the ring, the current one first."""
        keys = self._mac_keys.get(purpose)
        if keys is None:
            keys = self._mac_keys[purpose] = tuple(
                self._derive(secret, f"mac {purpose}") for secret in self._required()
            )
        return [hmac.digest(key, data, "sha256").hex() for key in keys]

    def _required(self) -> tuple[bytes, ...]:
        if not self._secrets:
            raise KernelError(_NO_SECRET)
        return self._secrets

    def _sealer(self, purpose: str) -> "MultiFernet":
        sealer = self._sealers.get(purpose)
        if sealer is None:
            from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 - as above

            keys = [self._derive(secret, f"seal {purpose}") for secret in self._required()]
            sealer = self._sealers[purpose] = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])
        return sealer

    @staticmethod
    def _derive(secret: bytes, info: str) -> bytes:
        """HKDF-SHA256 with one block of output, whose salt is the kernel's name."""
        extracted = hmac.digest(b"app_kernel", secret, "sha256")
        return hmac.digest(extracted, info.encode() + b"\x01", "sha256")


def key_ring(config: ServiceConfig) -> KeyRing:
    """The key ring of a service's settings."""
    return KeyRing(config.sealing_secrets)
