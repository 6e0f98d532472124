"""What flags contributes to a service."""

from app_kernel.core.config import ServiceConfig
from app_kernel.core.feature import Feature


def create_feature(config: ServiceConfig) -> Feature | None:
    """Feature flags."""
    return Feature(name="flags")
