"""Figures for Prometheus at `/metrics`, of every part of a service; what they mean is in docs/reference/metrics.md.

With `uvicorn --workers N` they are those of all workers, whichever of them answers. Servers that fork their workers,
such as gunicorn, need `PROMETHEUS_MULTIPROC_DIR` to name an empty directory before they start; prometheus_client reads
it itself.
"""

from app_kernel.metrics.feature import create_feature
from app_kernel.metrics.page import ServiceFigures

__all__ = ["ServiceFigures", "create_feature"]
