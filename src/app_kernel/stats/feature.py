"""What the figures of requests contribute to a service."""

from app_kernel.core.config import ServiceConfig
from app_kernel.core.events import RequestFinished
from app_kernel.core.feature import Feature
from app_kernel.stats.recording import Recording
from app_kernel.stats.routes import router
from app_kernel.stats.sink import TOPIC, receive
from app_kernel.stats.tables import TABLES


def create_feature(config: ServiceConfig) -> Feature | None:
    """The figures, and the route /admin/stats where there are accounts; switched off by `stats_days=0`."""
    if not config.stats_days:
        return None
    recording = Recording()
    return Feature(
        name="stats",
        admin_tables=TABLES,
        router=router if config.auth_enabled else None,
        tags={"stats": "How many requests each route had and how long they took, for admins."},
        listeners={RequestFinished: recording.count},
        sinks={TOPIC: receive},
        provides={Recording: lambda _: recording},
        work=recording.written,
    )
