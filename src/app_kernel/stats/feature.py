"""What the figures of requests contribute to a service."""

from app_kernel.core.config import ServiceConfig
from app_kernel.core.feature import Feature


def create_feature(config: ServiceConfig) -> Feature | None:
    """Switched off by `stats_days=0`."""
    return Feature(name="stats") if config.stats_days else None
