"""How much of a request is read: size of headers, query and body, and the time that the body may take.

A JSON body (RFC 8259) is read and checked before the route sees it: what Python's parser lets through and nothing
behind it can store or send back, such as NaN, 1e400, a lone surrogate or a thousand nested lists, is refused here.
Slow headers are the server's or proxy's matter.
"""

import asyncio
from collections.abc import Iterable
from itertools import chain
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app_kernel.core.bodies import read_body, replayed
from app_kernel.core.config import ServiceConfig
from app_kernel.core.exchange import exchange_of
from app_kernel.core.feature import Feature
from app_kernel.core.kernel import Kernel

MAX_HEADER_BYTES = 32 * 1024
MAX_QUERY_BYTES = 16 * 1024
MAX_JSON_DEPTH = 100

_CLOSE = {"Connection": "close"}


class RequestLimits:
    """Pure ASGI. Inside `receive` too it raises HTTPException, the one error that FastAPI's body reader lets pass."""

    def __init__(self, app: ASGIApp, kernel: Kernel) -> None:
        self.app = app
        self._max_bytes = kernel.config.max_body_bytes
        self._seconds = kernel.config.body_timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        _check_sizes(scope)
        headers = exchange_of(scope).request_headers
        if not _may_have_body(scope, headers):
            await self.app(scope, receive, send)
            return
        if _announced_length(headers) > self._max_bytes:
            raise HTTPException(413, f"The body is larger than {self._max_bytes} bytes.", _CLOSE)
        body = _LimitedBody(receive, self._max_bytes, self._seconds)
        if not _is_json(headers.get(b"content-type", b"")):
            await self.app(scope, body.receive, send)
            return
        whole = await read_body(body.receive)
        if whole is None:
            return  # the client has left; nobody waits for an answer
        check_json(whole)
        await self.app(scope, replayed(whole, receive), send)


class _LimitedBody:
    """Counts what arrives, and from the first look at it how long that takes."""

    __slots__ = ("_complete", "_deadline", "_left", "_limit", "_receive", "_seconds")

    def __init__(self, receive: Receive, max_bytes: int, seconds: float) -> None:
        self._receive = receive
        self._limit = self._left = max_bytes
        self._seconds = seconds
        self._deadline: float | None = None
        self._complete = False

    async def receive(self) -> Message:
        """The next part of the body; raises HTTPException 413 or 408 when it is too much or too late."""
        if self._complete:
            return await self._receive()  # what may still come is the client's leaving
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "The body did not arrive in time.", _CLOSE) from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise HTTPException(413, f"The body is larger than {self._limit} bytes.", _CLOSE)
        self._complete = not message.get("more_body", False)
        return message


def _check_sizes(scope: Scope) -> None:
    if len(b"".join(chain.from_iterable(scope["headers"]))) > MAX_HEADER_BYTES:
        raise HTTPException(431, f"The headers are larger than {MAX_HEADER_BYTES} bytes.", _CLOSE)
    if len(scope["query_string"]) > MAX_QUERY_BYTES:
        raise HTTPException(414, f"The query is longer than {MAX_QUERY_BYTES} bytes.")
    path = scope["path"]
    if not path.isascii() and not _is_text(path):
        raise HTTPException(400, "The path is not valid UTF-8.")


def _announced_length(headers: dict[bytes, bytes]) -> int:
    value = headers.get(b"content-length", b"0")
    if not value.isdigit() or len(value) > 18:
        raise HTTPException(400, "The Content-Length is not a number.", _CLOSE)
    return int(value)


def _may_have_body(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    # In HTTP/1 one of these headers announces every body (RFC 9112, 6.3); in HTTP/2 a body needs neither.
    return b"content-length" in headers or b"transfer-encoding" in headers or scope["http_version"][0] != "1"


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_json(content_type: bytes) -> bool:
    essence = content_type.partition(b";")[0].strip().lower()
    return essence == b"application/json" or (essence.startswith(b"application/") and essence.endswith(b"+json"))


def check_json(body: bytes) -> None:
    """Refuses, with the error that FastAPI raises for malformed JSON, what is no interoperable JSON (RFC 8259, 8)."""
    if not body or body.isspace():
        return
    try:
        value = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as exc:
        raise _invalid_json(exc.pos, exc.msg) from None
    if body.count(b"[") + body.count(b"{") > MAX_JSON_DEPTH and _is_too_deep(value):
        raise _invalid_json(0, f"more than {MAX_JSON_DEPTH} levels deep")


def _is_too_deep(value: Any) -> bool:
    """Whether more lists and objects stand in each other than are allowed; level by level, so that nothing recurses."""
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        if not level:
            return False
        level = [child for item in level for child in _children(item)]
    return any(isinstance(item, dict | list) for item in level)


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _invalid_json(position: int, reason: str) -> RequestValidationError:
    error = {"type": "json_invalid", "loc": ("body", position), "msg": f"JSON decode error: {reason}"}
    return RequestValidationError([error])


def create_feature(config: ServiceConfig) -> Feature:
    """The request limits; the size and the time are settings."""
    return Feature(name="request_limits", middleware=(RequestLimits,))
