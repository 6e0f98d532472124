"""What metering contributes to a service."""

from app_kernel.core.config import ServiceConfig
from app_kernel.core.events import RequestFinished
from app_kernel.core.feature import Feature
from app_kernel.core.ports import JobQueue
from app_kernel.metering.counting import TOPIC
from app_kernel.metering.events import FEATURE
from app_kernel.metering.quotas import OtherUsage
from app_kernel.metering.requests import RequestCounts
from app_kernel.metering.routes import make_router
from app_kernel.metering.sink import write_usage
from app_kernel.metering.tables import ADMIN_TABLES, TABLES
from app_kernel.metering.tasks import PRUNE, PRUNING, looking_after


def create_feature(config: ServiceConfig) -> Feature | None:
    """Switched off by `metering_enabled`; the routes stand where there are accounts."""
    if not config.metering_enabled:
        return None
    requests = RequestCounts()
    return Feature(
        name=FEATURE,
        tables=TABLES,
        admin_tables=ADMIN_TABLES,
        router=make_router() if config.auth_enabled else None,
        tags={"usage": "What was used, by metric and period."},
        listeners={RequestFinished: requests.count},
        sinks={TOPIC: write_usage},
        tasks={PRUNE: PRUNING},
        provides={RequestCounts: lambda kernel: requests, OtherUsage: OtherUsage},
        uses=(JobQueue,),
        lifespan=requests.written,
        work=looking_after,
    )
