"""The layer that begins a request's trace. What is noted of it at the end, `noting` does when the answer has left."""

from starlette.types import ASGIApp, Receive, Scope, Send

from app_kernel.core.context import Context, current_context
from app_kernel.core.kernel import Kernel
from app_kernel.core.tracing import enter_span, leave_span
from app_kernel.tracing.service import ServiceTracing, new_untraced, tracing_of, untraced

LONGEST_PATH = 500
"""Characters of a path in a span."""
LONGEST_STATE = 512
"""Characters of `tracestate` that are passed on, as many as W3C Trace Context asks for (3.3.1.5); of a longer one
nothing is."""


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
        attributes = {
            "http.request.method": scope["method"],
            "url.scheme": scope.get("scheme", "http"),
            "url.path": scope["path"][:LONGEST_PATH],
            "app_kernel.request.id": context.request_id or "",
        }
        state = _state_of(scope) if context.traceparent is not None else ""
        trace = self._tracing.start(context, scope["method"], "server", attributes, state)
        if trace is None:
            await self._untraced(context, scope, receive, send)
            return
        outer = trace.enter()
        try:
            await self.app(scope, receive, send)
        finally:
            leave_span(outer)

    async def _untraced(self, context: Context, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._tracing.shows_untraced or context.traceparent is None:
            await self.app(scope, receive, send)
            return
        # Or spans that the application makes itself would begin traces of their own.
        outer = enter_span(untraced(context.traceparent))
        try:
            await self.app(scope, receive, send)
        finally:
            leave_span(outer)


def _state_of(scope: Scope) -> str:
    text = b",".join([value for name, value in scope["headers"] if name == b"tracestate"]).decode("latin-1")
    return text if len(text) <= LONGEST_STATE and text.isascii() else ""


def layer(app: ASGIApp, kernel: Kernel) -> ASGIApp:
    """The layer; it leaves the stack where nothing is going to be traced."""
    tracing = tracing_of(kernel)
    return TraceRequests(app, tracing) if tracing.may_be_on else app
