"""The job that forgets what is older than `audit_retention_days`, of this app alone; once a day."""

from datetime import timedelta

from app_kernel.audit import store
from app_kernel.audit.trail import AuditTrail
from app_kernel.core import clock
from app_kernel.core.current import current_kernel
from app_kernel.core.jobs import Task
from app_kernel.logs import get_logger

PRUNE = "audit.prune"
DAILY = "17 3 * * *"

_log = get_logger("app_kernel.audit")


async def prune() -> dict[str, int]:
    """Removes old entries in parts, so that nothing waits long for them; how many."""
    kernel = current_kernel()
    days, app = kernel.config.audit_retention_days, kernel.port(AuditTrail).app
    if days is None:
        return {"removed": 0}
    before = clock.to_text(clock.now() - timedelta(days=days))
    removed = 0
    while part := await store.remove_before(kernel.admin_store(), app, before):
        removed += part
    _log.info("audit_pruned", removed=removed, before=before)
    return {"removed": removed}


def prune_task() -> Task:
    """What runs as `audit.prune`."""
    return Task(handler=prune, cron=DAILY, max_attempts=10, timeout=3600)
