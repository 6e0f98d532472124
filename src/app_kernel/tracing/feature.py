"""What tracing contributes to a service."""

from app_kernel.core.config import ServiceConfig
from app_kernel.core.feature import Feature


def create_feature(config: ServiceConfig) -> Feature:
    """Spans and the table of what was slow or failed."""
    return Feature(name="tracing")
