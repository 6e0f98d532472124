"""Parts of usage that were kept long enough go: by a job, about once a day where there are any.

It has no schedule, so that a service without old usage never runs it; the service looks now and then.
"""

import logging
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from app_kernel.core import clock
from app_kernel.core.current import current_kernel
from app_kernel.core.jobs import Task
from app_kernel.core.kernel import Kernel
from app_kernel.core.periodic import periodically
from app_kernel.core.ports import JobQueue
from app_kernel.metering import store
from app_kernel.metering.periods import today

PRUNE = "metering.prune"
KEPT_RESERVED = timedelta(days=7)
"""How long what was reserved is kept after its period, although nothing can be reserved in it any more."""
LOOK_SECONDS = 600.0
"""Between two looks whether there is anything to remove."""

_log = logging.getLogger("app_kernel.metering")


async def prune() -> None:
    """Removes counters by endpoint and of users in workspaces after `metering_detail_days`, of this app alone; and what
    was reserved in past periods."""
    kernel = current_kernel()
    while await store.prune_usage(kernel.admin_store(), kernel.name, _oldest_detail(kernel)):
        pass
    while await store.prune_reserved(kernel.db.connection(), kernel.name, _day(KEPT_RESERVED)):
        pass


async def enqueue_pruning(kernel: Kernel) -> bool:
    """Enqueues the job, once a day, if there is anything to remove."""
    jobs = kernel.find_port(JobQueue)  # type: ignore[type-abstract]  # a port is asked for by its protocol
    if jobs is None or not (
        await store.has_old_usage(kernel.admin_store(), kernel.name, _oldest_detail(kernel))
        or await store.has_old_reserved(kernel.db.connection(), kernel.name, _day(KEPT_RESERVED))
    ):
        return False
    await jobs.enqueue(PRUNE, job_id=f"{PRUNE}:{today()}")
    return True


def looking_after(kernel: Kernel) -> AbstractAsyncContextManager[None]:
    """Has old usage removed while the service runs."""
    return periodically(kernel, enqueue_pruning, LOOK_SECONDS, "metering_look_failed", log=_log)


def _oldest_detail(kernel: Kernel) -> str:
    return _day(timedelta(days=kernel.config.metering_detail_days))


def _day(ago: timedelta) -> str:
    return clock.to_text(clock.now() - ago)[:10]


PRUNING = Task(handler=prune, max_attempts=5, retry_delay=600, max_retry_delay=3600, timeout=900, result_ttl=86400)
