"""The outermost layer: each request gets an id and a context of its own, and leaves one JSON line.

The id is the client's `X-Request-ID` if that is 1 to 64 characters of `[A-Za-z0-9._-]`, else a new one; the answer
carries it. The client's address is the peer's, unless the peer is a trusted proxy: then it is the last address of
`X-Forwarded-For` that no trusted proxy has.
"""

import ipaddress
import logging
import re
from collections.abc import Iterable
from functools import lru_cache
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app_kernel.core.clock import new_id, now
from app_kernel.core.config import ServiceConfig
from app_kernel.core.context import Context, enter_context
from app_kernel.core.events import RequestFinished
from app_kernel.core.exchange import Exchange, begin_exchange
from app_kernel.core.feature import Feature
from app_kernel.core.kernel import Kernel
from app_kernel.core.transaction import enter_transaction
from app_kernel.logs import logs_at, write_event

CLIENT_CLOSED = 499
"""The status in logs and metrics when the client left before the answer began."""

_wanted_id = re.compile(rb"[A-Za-z0-9._-]{1,64}").fullmatch
_line_end = re.compile(rb"[\r\n\0]").search
_trace = re.compile(
    rb"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(-.*)?", re.DOTALL
).fullmatch
"""W3C Trace Context, 3.2 and 4.3: of a later version, the fields of this one, and whatever follows them."""

Header = tuple[bytes, bytes]


class RequestLog:
    """Pure ASGI; the one `send` wrapper that the kernel's layers share."""

    def __init__(self, app: ASGIApp, kernel: Kernel) -> None:
        self.app = app
        self._kernel = kernel
        self._client_address = ClientAddress(kernel.config.trusted_proxies)
        self._has_listeners = kernel.hears(RequestFinished)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._converse(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        headers = _first_of_each(scope)
        context = self._enter(scope, headers)
        exchange = begin_exchange(scope, context.request_id or "", headers)

        async def send_answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer_headers = _complete_headers(message.get("headers", ()), exchange)
                if self._kernel.draining and scope["http_version"] in ("1.0", "1.1"):
                    # The client's next request goes over another connection, which a balancer leads elsewhere.
                    answer_headers.append((b"connection", b"close"))
                message = {**message, "headers": answer_headers}
                exchange.status = message["status"]
            elif message["type"] == "http.response.body":
                exchange.bytes_sent += len(message.get("body", b""))
                exchange.complete = not message.get("more_body", False)
            await send(message)

        try:
            await self.app(scope, receive, send_answer)
        finally:
            seconds = perf_counter() - began
            route, status = route_template(scope), exchange.status or CLIENT_CLOSED
            if logs_at(logging.INFO):
                _write_line("request", scope, context, seconds, route=route, status=status, bytes=exchange.bytes_sent)
            if self._has_listeners:
                finished = RequestFinished(
                    scope["method"],
                    route,
                    scope["path"],
                    status,
                    seconds,
                    context.actor_id,
                    exchange.request_id,
                    context.workspace_id,
                    context.api_key_id,
                    context.traceparent,
                    exchange.error,
                )
                await self._kernel.emit(finished)

    async def _converse(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        context = self._enter(scope, _first_of_each(scope))
        try:
            await self.app(scope, receive, send)
        finally:
            if logs_at(logging.INFO):
                _write_line("websocket", scope, context, perf_counter() - began)

    def _enter(self, scope: Scope, headers: dict[bytes, bytes]) -> Context:
        wanted = headers.get(b"x-request-id")
        request_id = wanted.decode() if wanted is not None and _wanted_id(wanted) else new_id()
        trace = headers.get(b"traceparent")
        context = Context(
            kernel=self._kernel,
            request_id=request_id,
            address=self._client_address.find(scope),
            traceparent=None if trace is None else read_traceparent(scope),
        )
        enter_context(context)
        # A dependency may have left one open in the task of an in-process client, whose next request this is.
        enter_transaction(None)
        return context


def read_traceparent(scope: Scope) -> str | None:
    """The trace that the caller's request is a part of, in the spelling of version 00; None where it is malformed."""
    given = [value for name, value in scope["headers"] if name == b"traceparent"]
    found = _trace(given[0]) if len(given) == 1 else None
    if found is None or (found[1] == b"00" and found[3] is not None):
        return None
    return f"00-{found[2].decode()}"


def _write_line(event: str, scope: Scope, context: Context, seconds: float, **answer: Any) -> None:
    write_event(
        {
            "timestamp": now(),
            "level": "info",
            "event": event,
            "logger": "app_kernel.request",
            "request_id": context.request_id,
            **({} if context.traceparent is None else {"trace_id": context.traceparent[3:35]}),
            "method": scope.get("method"),
            "path": scope["path"],
            **answer,
            "duration_ms": round(seconds * 1000, 3),
            "address": context.address,
            "user_id": context.actor_id,
        }
    )


class ClientAddress:
    """Finds the client's address behind trusted proxies (RFC 7239, 7.4 on why only theirs counts)."""

    def __init__(self, trusted_proxies: Iterable[str]) -> None:
        networks = tuple(ipaddress.ip_network(proxy, strict=False) for proxy in trusted_proxies)

        @lru_cache(maxsize=1024)
        def is_trusted(address: str) -> bool:
            parsed = _parse_address(address)
            return parsed is not None and any(parsed in network for network in networks)

        self._is_trusted = is_trusted
        self._trusts_anybody = bool(networks)

    def find(self, scope: Scope) -> str | None:
        """The address from which the request came, as far as trusted proxies vouch for it; None without a peer."""
        peer = scope.get("client")
        address: str | None = peer[0] if peer else None
        if not self._trusts_anybody or address is None or not self._is_trusted(address):
            return address
        # A proxy may add a header of its own instead of extending the one that came, so all of them count, in order.
        hops = b",".join([value for name, value in scope["headers"] if name == b"x-forwarded-for"]).decode("latin-1")
        for hop in reversed(hops.split(",")):
            parsed = _parse_address(hop.strip())
            if parsed is None:
                break  # what a proxy wrote is an address; anything else came from the client
            address = str(parsed)
            if not self._is_trusted(address):
                break
        return address


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address as proxies write it: bare, in brackets, or with a port."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _first_of_each(scope: Scope) -> dict[bytes, bytes]:
    # As Starlette reads them: a layer that looked at another one of two headers could be talked past.
    return dict(list(scope["headers"])[::-1])


def route_template(scope: Scope) -> str:
    """The template of the route that served the request, prefixes of routers and mounts included; empty for none."""
    # FastAPI keeps the route as it is seen through its router's prefixes here; a route of the app itself has none.
    effective = scope.get("fastapi", {}).get("effective_route_context")
    route = scope.get("route") if effective is None else effective.starlette_route or effective
    if route is None:
        return _plain_template(scope)
    path: str = getattr(route, "path_format", "")
    return f"{_mount_template(scope)}{path}" if "app_root_path" in scope else path


def _mount_template(scope: Scope) -> str:
    """Where the application that answered is mounted, with the names of its parameters in the place of their values."""
    names = {str(value): name for name, value in scope.get("path_params", {}).items()}
    parts = scope["root_path"].removeprefix(scope["app_root_path"]).split("/")
    return "/".join([f"{{{names[part]}}}" if part in names else part for part in parts])


def _plain_template(scope: Scope) -> str:
    """The template of Starlette's own routes and mounts, which do not leave themselves in the scope."""
    endpoint = scope.get("endpoint")
    for route in scope["app"].routes if endpoint is not None else ():
        if endpoint in (getattr(route, "endpoint", None), getattr(route, "app", None)):
            return str(getattr(route, "path_format", ""))
    return ""


def _complete_headers(headers: Iterable[Header], exchange: Exchange) -> list[Header]:
    """The answer's own headers and those that the layers add where it has none of that name.

    Raises ValueError for a value with a line end in it: what follows would be read as another header.
    """
    complete = list(headers)
    if _line_end(b"".join([value for _, value in complete])):
        raise ValueError("A response header has a line end in its value.")
    present = {name for name, _ in complete}
    complete.extend([header for header in exchange.extra_headers if header[0] not in present or header[0] == b"vary"])
    complete.append((b"x-request-id", exchange.request_id.encode()))
    return complete


def create_feature(config: ServiceConfig) -> Feature:
    """The layer that everything else stands in; it comes first in the list of features."""
    return Feature(name="request_log", middleware=(RequestLog,))
