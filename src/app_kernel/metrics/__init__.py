"""Figures for Prometheus at `/metrics`: of requests, of the outbox and of background jobs.

With several worker processes the figures are those of all of them if `PROMETHEUS_MULTIPROC_DIR` names an empty
directory before the first one starts; prometheus_client reads it itself. Without it each process shows its own.
"""

from app_kernel.metrics.feature import create_feature
from app_kernel.metrics.requests import RequestFigures

__all__ = ["RequestFigures", "create_feature"]
