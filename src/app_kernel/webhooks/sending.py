"""One attempt to hand an event to a receiver: within a time, over a connection of its own, and nowhere else."""

import asyncio
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache

import httpcore2
import httpx2

from app_kernel.core import clock
from app_kernel.webhooks.attempts import Answer
from app_kernel.webhooks.network import AddressRefused, AnswerTooLarge, Gate, NameUnknown
from app_kernel.webhooks.urls import Target

BODY_SECONDS = 2.0
"""How long the body of an answer is read, whose status is known already."""
EXCERPT = 1024
"""Bytes that are kept of an answer."""
_LONGEST_FIELD = 64


@dataclass(frozen=True, slots=True)
class Order:
    """What is sent, and where to."""

    target: Target
    body: bytes
    headers: Mapping[str, str]
    seconds: float
    """Until the answer's status must be there."""
    allow_private: bool


async def send(order: Order) -> Answer:
    """What came of it; never raises for what the receiver or the network do."""
    started = time.perf_counter()
    try:
        answer = await _exchange(order)
    except AddressRefused:
        answer = Answer("refused")
    except NameUnknown:
        answer = Answer("dns")
    except (TimeoutError, httpcore2.TimeoutException):
        answer = Answer("timeout")
    except (AnswerTooLarge, httpcore2.ProtocolError):
        answer = Answer("protocol")
    except (httpcore2.NetworkError, OSError) as exc:
        answer = Answer("tls" if _is_tls(exc) else "connection")
    return replace(answer, seconds=time.perf_counter() - started)


async def _exchange(order: Order) -> Answer:
    target = order.target
    scheme, host, path = target.scheme.encode(), target.host.encode(), target.path.encode()
    # A connection for each attempt: it goes where this look-up says, and what one answer leaves behind is gone with it.
    gate = Gate(allow_private=order.allow_private)
    connection = httpcore2.AsyncHTTPConnection(
        origin=httpcore2.Origin(scheme, host, target.port),
        ssl_context=_trust() if target.scheme == "https" else None,
        network_backend=gate,
    )
    fields = {
        "Host": target.origin.partition("://")[2],
        "Content-Type": "application/json",
        "Content-Length": str(len(order.body)),
        "User-Agent": "app_kernel-webhooks",
        "Accept": "*/*",
        # Without an encoding an answer cannot grow while it is unpacked.
        "Accept-Encoding": "identity",
        "Connection": "close",
        **order.headers,
    }
    request = httpcore2.Request(
        "POST",
        httpcore2.URL(scheme=scheme, host=host, port=target.port, target=path),
        headers=list(fields.items()),
        content=order.body,
    )
    try:
        # The status decides: one that came in time is not lost to a body that comes slowly.
        async with asyncio.timeout(order.seconds):
            response = await connection.handle_async_request(request)
        excerpt = await _read(response)
        asked = {name.lower(): value for name, value in response.headers}.get(b"retry-after")
        outcome = "delivered" if 200 <= response.status < 300 else "status"
        return Answer(outcome, response.status, _seconds_of(asked), _as_text(excerpt))
    finally:
        await gate.close()


async def _read(response: httpcore2.Response) -> bytes:
    """The beginning of the body; all that can go wrong with the rest of it changes nothing any more."""
    excerpt = bytearray()
    with suppress(TimeoutError, AnswerTooLarge, httpcore2.NetworkError, httpcore2.ProtocolError):
        async with asyncio.timeout(BODY_SECONDS):
            async for part in response.aiter_stream():
                excerpt += part[: EXCERPT - len(excerpt)]
    return bytes(excerpt)


def _as_text(excerpt: bytes) -> str:
    """What every database can store and a page can show."""
    text = excerpt.decode("utf-8", "replace")
    return "".join(character if character.isprintable() or character == "\n" else "\ufffd" for character in text)


def _seconds_of(field: bytes | None) -> float | None:
    """Retry-After in seconds, which is a number or a date (RFC 9110, 10.2.3); None for what is neither."""
    if field is None or len(field) > _LONGEST_FIELD:
        return None
    text = field.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return max(0.0, (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() - clock.epoch())


def _is_tls(exc: BaseException | None) -> bool:
    while exc is not None:
        if isinstance(exc, ssl.SSLError):
            return True
        exc = exc.__cause__ or exc.__context__
    return False


@cache
def _trust() -> ssl.SSLContext:
    """The authorities that vouch for receivers; reading them takes a tenth of a second, once in a process."""
    return httpx2.create_ssl_context(trust_env=False)
