"""What is kept of an answer: status, body and the headers that say what the body is; sealed, as it may be personal.

Cookies, credentials and the id of the first request are never kept, nor is `Retry-After`, which counts from the first
answer. Nothing is kept of an answer that says `no-store` (RFC 9111, 5.2.2.5), is sent in several pieces, or is larger
than 1 MB.
"""

import base64
import hashlib
from collections.abc import Iterable

import orjson
from starlette.responses import Response

from app_kernel.core.errors import AnswerNotKept, SealBroken
from app_kernel.encryption import KeyRing

MAX_BYTES = 1024 * 1024
"""The largest body that is kept."""
PURPOSE = "idempotency"
REPLAYED = (b"idempotency-replayed", b"true")
KEPT_HEADERS = frozenset(
    {
        b"cache-control", b"content-disposition", b"content-encoding", b"content-language", b"content-location",
        b"content-type", b"etag", b"expires", b"last-modified", b"link", b"location", b"vary",
    }
)  # fmt: skip

_TRY_AGAIN = frozenset({408, 425, 429})
"""Statuses below 500 that say: not now, the same request may do later (RFC 9110, 15.5.9; RFC 8470; RFC 6585)."""


def asks_to_try_again(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether an answer refuses a request for now only: 408, 425, 429, 5xx, and any other error with Retry-After."""
    if status >= 500 or status in _TRY_AGAIN:
        return True
    return status >= 400 and any(name.lower() == b"retry-after" for name, _ in headers)


def may_be_kept(headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
    """Whether an answer sent in one piece may be kept."""
    if len(body) > MAX_BYTES:
        return False
    return not any(name.lower() == b"cache-control" and b"no-store" in value.lower() for name, value in headers)


class Vault:
    """Seals and opens answers, and recognises requests, with the secrets of one service."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def fingerprints(self, request: bytes) -> list[str]:
        """What stands for the request in the table, under the current secret first.

        It is keyed, so that nobody who reads the table can find out a short secret in a body by trying.
        """
        if not self._ring:
            return [hashlib.sha256(request).hexdigest()]
        return self._ring.macs(PURPOSE, request)

    def seal(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> str:
        """The answer as text for the table."""
        kept = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers if _is_kept(name)]
        data = orjson.dumps([status, kept]) + b"\n" + body
        return self._ring.seal(PURPOSE, data) if self._ring else base64.b64encode(data).decode()

    def open(self, text: str) -> Response:
        """The kept answer; raises AnswerNotKept when its secret is gone."""
        try:
            data = self._ring.unseal(PURPOSE, text) if self._ring else base64.b64decode(text)
        except SealBroken:
            raise AnswerNotKept from None
        head, _, body = data.partition(b"\n")
        status, headers = orjson.loads(head)
        response = Response(body, status)
        response.raw_headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        response.raw_headers.append(REPLAYED)
        return response


def _is_kept(name: bytes) -> bool:
    return name.lower() in KEPT_HEADERS
