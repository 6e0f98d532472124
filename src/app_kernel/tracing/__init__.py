"""Traces: OpenTelemetry through requests, store, jobs and webhooks, and a table of what was slow or failed.

from app_kernel.tracing import span

with span("price the order", attributes={"order.items": 3}):
    ...
"""

from app_kernel.core.tracing import current_traceparent, span
from app_kernel.tracing.feature import create_feature

__all__ = ["create_feature", "current_traceparent", "span"]
