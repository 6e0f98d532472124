"""An application's own spans, made with `opentelemetry.trace.get_tracer`, go where those of the running service go.

OpenTelemetry has one provider for a process, in which several services may run. Where the application installs none,
this one stands there: it makes spans with the provider of the service whose request or job is running and traced, and
nothing elsewhere.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from types import TracebackType
from typing import Any

from opentelemetry import trace

from app_kernel.core.context import current_context


class ServiceTracerProvider(trace.TracerProvider):
    """Makes spans with the provider of the running service."""

    def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
        """A tracer that looks for the running service with every span."""
        return _Tracer(args, kwargs)


class _Tracer(trace.Tracer):
    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._args, self._kwargs = args, kwargs
        self._latest: tuple[Any, trace.Tracer] | None = None

    def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:
        running = current_context().span
        if running is None:
            return trace.INVALID_SPAN
        latest = self._latest
        if latest is None or latest[0] is not running.provider:
            latest = self._latest = (running.provider, running.provider.get_tracer(*self._args, **self._kwargs))
        return latest[1].start_span(*args, **kwargs)

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        return _Current(self, args, kwargs)


class _Current(AbstractContextManager[trace.Span]):
    """For `with`, and as a decorator of plain and of async functions, as OpenTelemetry's own is."""

    def __init__(self, tracer: _Tracer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._tracer, self._args, self._kwargs = tracer, args, kwargs
        self._running: AbstractContextManager[trace.Span] | None = None

    def __enter__(self) -> trace.Span:
        self._running = _started(self._tracer, *self._args, **self._kwargs)
        return self._running.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return None if self._running is None else self._running.__exit__(kind, value, traceback)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def again() -> _Current:
            return _Current(self._tracer, self._args, self._kwargs)

        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def traced_async(*args: Any, **kwargs: Any) -> Any:
                with again():
                    return await function(*args, **kwargs)

            return traced_async

        @wraps(function)
        def traced(*args: Any, **kwargs: Any) -> Any:
            with again():
                return function(*args, **kwargs)

        return traced


@contextmanager
def _started(
    tracer: _Tracer,
    *args: Any,
    record_exception: bool = True,
    set_status_on_exception: bool = True,
    end_on_exit: bool = True,
    **kwargs: Any,
) -> Iterator[trace.Span]:
    span = tracer.start_span(*args, **kwargs)
    if span is trace.INVALID_SPAN:
        yield span
        return
    with trace.use_span(
        span,
        end_on_exit=end_on_exit,
        record_exception=record_exception,
        set_status_on_exception=set_status_on_exception,
    ):
        yield span


def install_for_applications() -> None:
    """Puts it in its place, unless the application has a provider of its own there."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(ServiceTracerProvider())


def is_own(provider: Any) -> bool:
    """Whether it is the one that is put there here."""
    return isinstance(provider, ServiceTracerProvider)
