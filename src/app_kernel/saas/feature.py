"""What saas contributes to a service."""

from app_kernel.core.config import ServiceConfig
from app_kernel.core.feature import Feature


def create_feature(config: ServiceConfig) -> Feature | None:
    """Workspaces with members, roles and invites."""
    return Feature(name="saas") if config.saas_enabled else None
