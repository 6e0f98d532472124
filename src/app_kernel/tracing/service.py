"""What of a service is traced, decided once for each request and job before its first span exists.

The first that applies: nothing where spans have no place to go to; what the caller's `traceparent` says, for so many
requests a second as callers may force; else a share of `trace_sample_ratio`.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from opentelemetry.context import Context as OtelContext
from opentelemetry.trace import set_span_in_context

from app_kernel.core.context import Context
from app_kernel.core.kernel import Kernel
from app_kernel.core.tracing import KINDS, Attributes, Kind, Trace, Tracing, note_failure, remote_span, traceparent_of
from app_kernel.tracing.allowance import Allowance
from app_kernel.tracing.spans import OwnSpans, installed_provider, keep_ended_spans

SCOPE = "app_kernel"
"""What spans of the kernel say that they were made by."""


class ServiceTracing(Tracing):
    """The port Tracing, for one service."""

    def __init__(self, kernel: Kernel) -> None:
        config = kernel.config
        self._kernel = kernel
        self._ratio = config.trace_sample_ratio
        self._forced = Allowance(config.trace_forced_per_second)
        self._provider: Any = None
        self._tracer: Any = None
        self._shows_untraced = False

    @property
    def is_on(self) -> bool:
        return self._tracer is not None

    @property
    def shows_untraced(self) -> bool:
        return self._shows_untraced

    @property
    def may_be_on(self) -> bool:
        """Whether it is going to be, as far as that is known before the service runs."""
        return self._kernel.config.otlp_endpoint is not None or installed_provider() is not None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Traces while the block runs; at its end, spans that have not left are sent."""
        own = None
        if self._kernel.config.otlp_endpoint is not None:
            own = OwnSpans(self._kernel.config, self._kernel.version)
            self._provider = own.provider
        else:
            self._provider = installed_provider()
            self._shows_untraced = self._provider is not None
            if self._provider is not None:
                keep_ended_spans(self._provider)
        if self._provider is not None:
            self._tracer = self._provider.get_tracer(SCOPE)
        try:
            yield
        finally:
            self._tracer = self._provider = None
            if own is not None:
                await asyncio.to_thread(own.close)

    def wants_request(self, context: Context) -> bool:
        """Decides for a request, which anybody may have sent; one that is not traced has a trace id all the same."""
        given = context.traceparent
        if given is None:
            if random.random() < self._ratio:  # noqa: S311 - a share, no secret
                return True
            context.traceparent = new_untraced()
            return False
        if not is_sampled(given):
            return False
        if self._forced.take() or random.random() < self._ratio:  # noqa: S311 - a share, no secret
            return True
        # Another parent, as W3C Trace Context asks for where the flag is changed (3.3, mutating the traceparent field).
        context.traceparent = f"{given[:36]}{random.getrandbits(64):016x}-00"
        return False

    def begin(self, context: Context, name: str, kind: Kind, attributes: Attributes) -> Trace | None:
        """As the port says, for a job: what its enqueuer carries has been decided by this service already."""
        given = context.traceparent
        if given is None and random.random() >= self._ratio:  # noqa: S311 - a share, no secret
            context.traceparent = new_untraced()
            return None
        if given is not None and not is_sampled(given):
            return None
        return self.start(context, name, kind, attributes)

    def start(
        self, context: Context, name: str, kind: Kind, attributes: Attributes, tracestate: str = ""
    ) -> Trace | None:
        """Starts the outermost span of what is traced; None where the provider does not want it after all, or fails."""
        parent = OtelContext()
        if context.traceparent is not None:
            parent = set_span_in_context(remote_span(context.traceparent, tracestate), parent)
        try:
            span = self._tracer.start_span(name, context=parent, kind=KINDS[kind], attributes=attributes)
        except Exception as exc:  # noqa: BLE001 - a provider of the application's that fails harms no request
            note_failure(exc)
            context.traceparent = context.traceparent or new_untraced()
            return None
        if not span.is_recording():
            span_context = span.get_span_context()
            if span_context.is_valid:
                context.traceparent = traceparent_of(span_context)[:-2] + "00"
            return None
        trace = context.span = Trace(self._provider, self._tracer, span)
        context.traceparent = traceparent_of(span.get_span_context())
        return trace


def new_untraced() -> str:
    """The traceparent of a new trace that nothing is recorded of."""
    digits = f"{random.getrandbits(192):048x}"
    return f"00-{digits[:32]}-{digits[32:]}-00"


def is_sampled(traceparent: str) -> bool:
    """Whether the flag of who sent it says that it is traced there."""
    return int(traceparent[53:55], 16) & 1 == 1


def tracing_of(kernel: Kernel) -> ServiceTracing:
    """What decides for this service."""
    tracing = kernel.port(Tracing)  # type: ignore[type-abstract]  # a port is asked for by its protocol
    if not isinstance(tracing, ServiceTracing):
        raise TypeError("Another feature has taken the place of tracing.")
    return tracing
