"""What flags contributes to a service."""

from app_kernel.core.config import ServiceConfig
from app_kernel.core.feature import Feature
from app_kernel.flags.live import LiveFlags
from app_kernel.flags.routes import router
from app_kernel.flags.tables import TABLES


def create_feature(config: ServiceConfig) -> Feature | None:
    """Feature flags and the routes under /flags."""
    # Its lifespan, not its work: a worker process evaluates flags too.
    return Feature(name="flags", tables=TABLES, router=router, lifespan=lambda kernel: LiveFlags(kernel).evaluated())
