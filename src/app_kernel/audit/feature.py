"""What audit contributes to a service."""

from app_kernel.core.config import ServiceConfig
from app_kernel.core.feature import Feature


def create_feature(config: ServiceConfig) -> Feature | None:
    """Switched off by `audit_enabled`."""
    return Feature(name="audit") if config.audit_enabled else None
