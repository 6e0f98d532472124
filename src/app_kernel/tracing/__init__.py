"""Traces: OpenTelemetry through requests, store, jobs and webhooks, and a table of what was slow or failed."""

from app_kernel.tracing.feature import create_feature

__all__ = ["create_feature"]
