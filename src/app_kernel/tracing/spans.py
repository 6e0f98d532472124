"""Where spans come from and go to: a provider of this service's own for `otlp_endpoint`, else one that the application
has installed.
"""

import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakSet

from opentelemetry import trace

from app_kernel.core.config import ServiceConfig
from app_kernel.core.context import current_context
from app_kernel.tracing.application import install_for_applications, is_own

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

LAST_WORDS = 3.0
"""Seconds that a stopping service gives to the spans that have not left."""
EXPORT_SECONDS = 5.0
"""How long one batch may take to its collector, with all tries; it is lost then."""
TRACES_PATH = "/v1/traces"
"""Where a collector takes traces (OTLP 1.x, OTLP/HTTP)."""

_kept: "WeakSet[Any]" = WeakSet()
"""Providers that are asked for their ended spans already."""
_log = logging.getLogger("app_kernel.tracing")


def find_otlp_problems(config: ServiceConfig) -> list[str]:
    """What is wrong with where traces are sent; the address is not repeated, as it may hold a key."""
    endpoint, problems = config.otlp_endpoint, []
    if endpoint is not None:
        if not _is_endpoint(endpoint):
            problems.append(
                "otlp_endpoint: must be a URL such as http://localhost:4318, of http or https, without user, password, "
                "query or fragment; a key goes into otlp_headers"
            )
        elif not _can_send():
            problems.append("otlp_endpoint: needs the SDK of OpenTelemetry; install app-kernel[otel]")
    for name, value in config.otlp_headers.items():
        if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum() or not value.isprintable():
            problems.append("otlp_headers: must be names of header fields and their values, as a JSON object of texts")
            break
    return problems


def _is_endpoint(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    plain = not (parts.username or parts.password or parts.query or parts.fragment) and text.isprintable()
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and plain and " " not in text


def _can_send() -> bool:
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: PLC0415
        import opentelemetry.sdk.trace.export  # noqa: F401, PLC0415
    except ImportError:
        return False
    return True


def make_exporter(config: ServiceConfig) -> "SpanExporter":
    """What sends spans to the collector."""
    # A tenth of a second that a service without traces does not pay, and packages that it need not have.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    # It tells every try of every batch, with the address.
    logging.getLogger("opentelemetry.exporter.otlp.proto.http").setLevel(logging.CRITICAL + 1)
    base = (config.otlp_endpoint or "").rstrip("/")
    endpoint = base if base.endswith(TRACES_PATH) else base + TRACES_PATH
    return OTLPSpanExporter(endpoint=endpoint, headers=config.otlp_headers or None, timeout=EXPORT_SECONDS)


class OwnSpans:
    """The provider of one service: its spans go to its collector, whatever else runs in the process."""

    def __init__(self, config: ServiceConfig, version: str) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415

        about = {"service.name": config.name or "", "deployment.environment.name": config.environment}
        if version:
            about["service.version"] = version
        self._exporter = _quiet(make_exporter(config))
        # What is traced is decided before there is a span, so this sampler has nothing to decide.
        self.provider = TracerProvider(resource=Resource.create(about), sampler=ALWAYS_ON, shutdown_on_exit=False)
        self.provider.add_span_processor(BatchSpanProcessor(self._exporter))
        keep_ended_spans(self.provider)
        install_for_applications()

    def close(self) -> None:
        """Sends what has not left, for LAST_WORDS at most; blocks."""
        # A daemon: it must not keep the process from ending, as the SDK waits for half a minute.
        ending = threading.Thread(target=self.provider.shutdown, name="app_kernel-traces", daemon=True)
        ending.start()
        ending.join(LAST_WORDS)
        if ending.is_alive():
            self._exporter.shutdown()


def installed_provider() -> Any:
    """The provider that the application has installed with `opentelemetry.trace.set_tracer_provider`, or None."""
    provider = trace.get_tracer_provider()
    return None if isinstance(provider, trace.ProxyTracerProvider) or is_own(provider) else provider


def keep_ended_spans(provider: Any) -> None:
    """Shows the spans that end to the trace that they are a part of, where the provider can do that."""
    if not hasattr(provider, "add_span_processor") or provider in _kept:
        return
    _kept.add(provider)
    from opentelemetry.sdk.trace import SpanProcessor  # noqa: PLC0415 - it is one of the SDK's

    class Keeping(SpanProcessor):
        def on_end(self, span: Any) -> None:
            running = current_context().span
            if running is not None:
                running.keep(span)

    provider.add_span_processor(Keeping())


def _quiet(exporter: "SpanExporter") -> "SpanExporter":
    """The exporter, saying once that the collector does not take spans, and once that it does again."""
    from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult  # noqa: PLC0415

    class Quiet(SpanExporter):
        def __init__(self) -> None:
            self._failing = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            try:
                result, error = exporter.export(spans), "refused"
            except Exception as exc:  # noqa: BLE001 - whatever it is, requests and later batches go on
                result, error = SpanExportResult.FAILURE, type(exc).__name__
            failed = result is not SpanExportResult.SUCCESS
            if failed and not self._failing:
                reason = "the collector at otlp_endpoint does not take them; they are lost until it does"
                _log.warning("traces_not_sent", extra={"error": error, "reason": reason})
            elif self._failing and not failed:
                _log.info("traces_sent_again")
            self._failing = failed
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return exporter.force_flush(timeout_millis)

    return Quiet()
