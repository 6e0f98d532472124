"""The layer that begins a request's trace. What is noted of it at the end, `noting` does when the answer has left."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from app_kernel.core.context import Context, current_context
from app_kernel.core.kernel import Kernel
from app_kernel.core.methods import METHODS
from app_kernel.core.tracing import leave_span, untraced_run
from app_kernel.tracing.noting import OTHER_METHOD
from app_kernel.tracing.service import ServiceTracing, new_untraced, tracing_of

LONGEST_PATH = 500
"""Characters of a path in a span."""
LONGEST_STATE = 512
"""Characters of `tracestate` that are passed on, as many as W3C Trace Context asks for (3.3.1.5); of a longer one
nothing is."""
_member = re.compile(r"[a-z0-9][a-z0-9_*/@-]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
"""One of `tracestate` (W3C Trace Context, 3.3.1.3). OpenTelemetry logs what is none, which anybody may send."""


class TraceRequests:
    """Pure ASGI."""

    def __init__(self, app: ASGIApp, tracing: ServiceTracing) -> None:
        self.app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan" or not self._tracing.is_on:
            await self.app(scope, receive, send)
            return
        context = current_context()
        if self._tracing.wants_request(context):
            if kind == "http":
                await self._traced(context, scope, receive, send)
                return
            # A conversation may last for hours: its parts have a trace id, and no span that encloses them all.
            if context.traceparent is None:
                context.traceparent = new_untraced()
        await self._untraced(context, scope, receive, send)

    async def _traced(self, context: Context, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"] if scope["method"] in METHODS else OTHER_METHOD
        attributes = {
            "http.request.method": method,
            "url.scheme": scope.get("scheme", "http"),
            "url.path": scope["path"][:LONGEST_PATH],
            "app_kernel.request.id": context.request_id or "",
        }
        state = _state_of(scope) if context.traceparent is not None else ""
        trace = self._tracing.start(context, method, "server", attributes, state)
        if trace is None:
            await self._untraced(context, scope, receive, send)
            return
        outer = trace.enter()
        try:
            await self.app(scope, receive, send)
        finally:
            leave_span(outer)

    async def _untraced(self, context: Context, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._tracing.shows_untraced:
            await self.app(scope, receive, send)
            return
        with untraced_run(self._tracing, context):
            await self.app(scope, receive, send)


def _state_of(scope: Scope) -> str:
    text = b",".join([value for name, value in scope["headers"] if name == b"tracestate"]).decode("latin-1")
    if len(text) > LONGEST_STATE or not text.isascii():
        return ""
    members = [member.strip(" \t") for member in text.split(",")]
    return text if all(not member or _member.fullmatch(member) for member in members) else ""


def layer(app: ASGIApp, kernel: Kernel) -> ASGIApp:
    """The layer; it leaves the stack where nothing is going to be traced."""
    tracing = tracing_of(kernel)
    return TraceRequests(app, tracing) if tracing.may_be_on else app
