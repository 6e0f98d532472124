"""Traces: the seam between what the kernel does and OpenTelemetry, whose interface comes with FastAPI anyway.

Whether a request or job is traced is decided once, before its first span exists (`Tracing.begin`). Where it is not, a
span costs the look at one field.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal, Protocol

from opentelemetry.context import attach, get_current
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from app_kernel.core import clock
from app_kernel.core.context import Context, current_context, find_context

Attributes = Mapping[str, Any]
Kind = Literal["internal", "server", "client", "producer", "consumer"]

KINDS: dict[str, SpanKind] = {kind.name.lower(): kind for kind in SpanKind}
TOLD_EVERY = 60.0
"""Seconds between two lines about spans that the application's provider failed to make."""

MOST_KEPT = 100
"""Ended spans of one request or job that are kept for the table of traces; all of them are exported."""

_log = logging.getLogger("app_kernel.tracing")
_told = float("-inf")
"""When a failure was last told of."""


class Trace:
    """What is traced of one request or job in this process: its outermost span, and those that have ended inside it."""

    __slots__ = ("ended", "left_out", "provider", "span", "span_id", "trace_id", "tracer")

    def __init__(self, provider: Any, tracer: Any, span: Any) -> None:
        self.provider = provider
        self.tracer = tracer
        self.span = span
        self.trace_id: int = span.get_span_context().trace_id
        self.span_id: int = span.get_span_context().span_id
        self.ended: list[Any] = []
        self.left_out = 0
        """How many more have ended than are kept."""

    def keep(self, span: Any) -> None:
        """Keeps a span of this trace that has ended, but not the outermost one, which the kept row itself tells of."""
        if span.context.trace_id != self.trace_id or span.context.span_id == self.span_id:
            return
        if len(self.ended) < MOST_KEPT:
            self.ended.append(span)
        else:
            self.left_out += 1

    def enter(self) -> Any:
        """Makes the outermost span the current one, also for OpenTelemetry; gives what `leave` wants."""
        return enter_span(self.span)

    def end(self, attributes: Attributes, error: str | None = None, name: str | None = None) -> None:
        """Ends it; `error` is the type of what went wrong, never its text, which may hold a secret."""
        try:
            if name is not None:
                self.span.update_name(name)
            self.span.set_attributes(attributes)
        except Exception as exc:  # noqa: BLE001 - as in end_span
            note_failure(exc)
        end_span(self.span, error)


class Tracing(Protocol):
    """Decides what is traced, for one service; the feature `tracing` provides it."""

    @property
    def is_on(self) -> bool:
        """Whether anything is traced: whether there is a place that spans go to."""

    @property
    def shows_untraced(self) -> bool:
        """Whether spans that the application makes itself must be told that something is not traced."""

    def begin(self, context: Context, name: str, kind: Kind, attributes: Attributes) -> Trace | None:
        """Decides for what `context` is of, and starts its span where it is to be traced.

        Afterwards `context.traceparent` is that of the span, or one that says that it is not traced.
        """


def find_tracing(kernel: Any) -> Tracing | None:
    """What decides for this service; None where nothing is traced."""
    found: Tracing | None = kernel.find_port(Tracing) if kernel is not None else None
    return found if found is not None and found.is_on else None


class _Nothing:
    """Stands for a span where nothing is traced."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    # By name, as to gather them would double what it costs.
    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        return None


_nothing = _Nothing()


class ActiveSpan:
    """One span, from the beginning of its block to its end."""

    __slots__ = ("_attributes", "_kind", "_name", "_outer", "_span", "_trace")

    def __init__(self, trace: Trace, name: str, kind: Kind, attributes: Attributes | None) -> None:
        self._trace = trace
        self._name = name
        self._kind = KINDS[kind]
        self._attributes = attributes

    def __enter__(self) -> Any:
        try:
            span = self._trace.tracer.start_span(self._name, kind=self._kind, attributes=self._attributes)
        except Exception as exc:  # noqa: BLE001 - a provider that fails harms no request
            note_failure(exc)
            span = None
        self._span = span
        if span is not None:
            self._outer = enter_span(span)
        return span

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._span is None:
            return
        leave_span(self._outer)
        failed = kind is not None and not issubclass(kind, asyncio.CancelledError | GeneratorExit)
        end_span(self._span, kind.__name__ if kind is not None and failed else None)


def span(name: str, kind: Kind = "internal", attributes: Attributes | None = None) -> ActiveSpan | _Nothing:
    """A span around a block: `with span("price the order", attributes={"order.items": 3}) as made:`.

    `made` is an OpenTelemetry span, or None where the running request or job is not traced; then nothing is done.
    What the block raises marks it as failed, with the type of the exception and not with its text. Raises ValueError
    for a kind that there is none of, whether or not anything is traced.
    """
    if kind not in KINDS:
        raise ValueError(f"A span is of one of the kinds {', '.join(KINDS)}.")
    context = find_context()
    if context is None or context.span is None:
        return _nothing
    return ActiveSpan(context.span, name, kind, attributes)


def current_traceparent() -> str | None:
    """What to send along as `traceparent` (W3C Trace Context), so that the receiver's part joins the running trace.

    That of the innermost span; None outside of any trace.
    """
    context = current_context()
    trace = context.span
    if trace is None:
        return context.traceparent
    innermost = get_current_span().get_span_context()
    # A span of a provider that goes its own way is none that the receiver's part could be found by.
    return traceparent_of(innermost) if innermost.trace_id == trace.trace_id else context.traceparent


@contextmanager
def traced_run(
    kernel: Any, context: Context, name: str, attributes: Attributes, raised: Callable[[BaseException], BaseException]
) -> Iterator[Trace | None]:
    """Begins the trace of a job, or goes on with that of its enqueuer; ends its span with what the block raises.

    `raised` gives the exception that the block's own stands for.
    """
    tracing = find_tracing(kernel)
    trace = tracing.begin(context, name, "consumer", attributes) if tracing is not None else None
    if trace is None:
        with untraced_run(tracing, context):
            yield None
        return
    outer, error = trace.enter(), None
    try:
        yield trace
    except asyncio.CancelledError:
        raise
    except BaseException as exc:
        error = type(raised(exc)).__name__
        raise
    finally:
        leave_span(outer)
        # What was started inside and goes on is no part of it any more.
        context.span = None
        trace.end({}, error)


@contextmanager
def untraced_run(tracing: Tracing | None, context: Context) -> Iterator[None]:
    """Tells spans that the application makes itself that nothing is recorded of this request or job.

    Or they would begin traces of their own.
    """
    if tracing is None or not tracing.shows_untraced or context.traceparent is None:
        yield
        return
    outer = enter_span(remote_span(context.traceparent))
    try:
        yield
    finally:
        leave_span(outer)


def remote_span(traceparent: str, tracestate: str = "") -> NonRecordingSpan:
    """Stands for a span that is made elsewhere, or of which nothing is recorded."""
    flags = TraceFlags(int(traceparent[53:55], 16))
    state = TraceState.from_header([tracestate]) if tracestate else TraceState()
    return NonRecordingSpan(SpanContext(int(traceparent[3:35], 16), int(traceparent[36:52], 16), True, flags, state))


def enter_span(span: Any) -> Any:
    """Makes it OpenTelemetry's current span; gives what `leave_span` wants."""
    outer = get_current()
    attach(set_span_in_context(span, outer))
    return outer


def leave_span(outer: Any) -> None:
    """Makes current again what was so before `enter_span`."""
    # Not detach(): where the end of a block is in another contextvars.Context than its beginning, as with generators,
    # that logs a traceback.
    attach(outer)


def traceparent_of(span_context: Any) -> str:
    """A span as W3C Trace Context spells it."""
    return f"00-{span_context.trace_id:032x}-{span_context.span_id:016x}-{span_context.trace_flags & 1:02x}"


def mark_failed(span: Any, error: str) -> None:
    """Says of a span that what it stands for failed; `error` is the type of what went wrong."""
    span.set_attribute("error.type", error)
    span.set_status(Status(StatusCode.ERROR))


def end_span(span: Any, error: str | None = None) -> None:
    """Ends a span, whatever the provider's own code raises over it."""
    try:
        if error is not None:
            mark_failed(span, error)
        span.end()
    except Exception as exc:  # noqa: BLE001 - what the span stands for has happened
        note_failure(exc)


def note_failure(exc: Exception) -> None:
    """Logs that a provider failed, once in TOLD_EVERY, as it may do so with every span."""
    global _told  # noqa: PLW0603 - the provider is the process's too
    now = clock.monotonic()
    if not 0 <= now - _told < TOLD_EVERY:
        _told = now
        _log.warning("span_failed", extra={"error": type(exc).__name__, "reason": "the provider of spans raised it"})
