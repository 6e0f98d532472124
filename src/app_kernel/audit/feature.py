"""What audit contributes to a service."""

from app_kernel.audit.recorder import SecurityRecorder
from app_kernel.audit.routes import make_router
from app_kernel.audit.sink import write_events
from app_kernel.audit.tables import TABLES, TOPIC
from app_kernel.audit.tasks import PRUNE, prune_task
from app_kernel.audit.trail import AuditTrail
from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import ConfigurationError, InvalidAuditEvent
from app_kernel.core.events import SecurityEvent
from app_kernel.core.feature import Feature


def create_feature(config: ServiceConfig) -> Feature | None:
    """The recorders and their sink, and the routes where there are accounts; switched off by `audit_enabled`.

    Raises ConfigurationError.
    """
    if not config.audit_enabled:
        return None
    try:
        trail = AuditTrail(config)
    except InvalidAuditEvent as exc:
        raise ConfigurationError([f"audit_{exc.message}"]) from None
    return Feature(
        name="audit",
        admin_tables=TABLES,
        router=make_router() if config.auth_enabled else None,
        tags={"audit": "Who changed what and when, for admins of a workspace or of the service."},
        recorders=(trail.recorder,),
        event_recorders={SecurityEvent: SecurityRecorder(trail.recorder)},
        sinks={TOPIC: write_events},
        tasks={} if config.audit_retention_days is None else {PRUNE: prune_task()},
        provides={AuditTrail: lambda _: trail},
    )
