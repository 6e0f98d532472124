"""What idempotency contributes to a service."""

from app_kernel.core.config import ServiceConfig
from app_kernel.core.feature import Feature
from app_kernel.idempotency.middleware import Idempotency
from app_kernel.idempotency.tables import TABLES


def create_feature(config: ServiceConfig) -> Feature | None:
    """The layer around the routes and its table; `idempotency_hours` says how long answers are kept."""
    return Feature(name="idempotency", tables=TABLES, around_routes=(Idempotency,))
