"""What metering contributes to a service."""

from app_kernel.core.config import ServiceConfig
from app_kernel.core.feature import Feature


def create_feature(config: ServiceConfig) -> Feature | None:
    """Switched off by `metering_enabled`."""
    return Feature(name="metering") if config.metering_enabled else None
