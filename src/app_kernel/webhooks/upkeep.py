"""What is done about once an hour while there are deliveries: what is old goes, and lost ones are taken up.

It is a job that enqueues the next one, and ends when nothing is left: a service without webhooks never runs it. As a
queue that was emptied has lost that job too, the service looks now and then whether there has to be one.
"""

import logging
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from app_kernel.core import clock
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import VersionConflict
from app_kernel.core.jobs import Task
from app_kernel.core.kernel import Kernel
from app_kernel.core.periodic import periodically
from app_kernel.core.ports import EntityStore
from app_kernel.webhooks import store
from app_kernel.webhooks.sink import enqueue, enqueue_tidying

OVERDUE = timedelta(hours=1)
"""From when on a delivery that should have been tried has lost its job: one that somebody cancelled, or that died."""
LONGEST_TRIED = timedelta(days=5)
"""For how long a delivery that is sent again on its last day can be tried: all waits, as long as a receiver asks."""
KEPT_IN_ANY_CASE = timedelta(days=7)
"""For how long an event is kept at least: all attempts, and the time until its webhook is disabled."""
MOST_TAKEN_UP = 2000
"""Deliveries that one run takes up."""

LOOK_SECONDS = 600.0
"""Between two looks whether the job is needed."""

_log = logging.getLogger("app_kernel.webhooks")


def tidy_task(queue: str) -> Task:
    """What runs as `webhooks.tidy`."""
    return Task(handler=tidy, queue=queue, max_attempts=20, timeout=900, result_ttl=0)


async def tidy() -> None:
    """Removes deliveries after `webhook_log_days`, events and what is still tried some days later; and takes up what is
    overdue."""
    kernel = current_kernel()
    db = kernel.db.connection()
    ended = clock.now() - timedelta(days=kernel.config.webhook_log_days)
    all_of = min(ended - LONGEST_TRIED, clock.now() - KEPT_IN_ANY_CASE)
    while await store.remove_old(db, ended, all_of):
        pass
    await _take_up(db)
    if await store.has_rows(db):
        await enqueue_tidying()


def looking_after(kernel: Kernel) -> AbstractAsyncContextManager[None]:
    """Has the job enqueued wherever there are deliveries, while the service runs."""
    return periodically(kernel, _enqueue_if_needed, LOOK_SECONDS, "webhooks_look_failed", log=_log)


async def _enqueue_if_needed(kernel: Kernel) -> None:
    if await store.has_rows(kernel.db.connection()):
        await enqueue_tidying()


async def _take_up(db: EntityStore) -> None:
    taken_up = 0
    for row in await store.list_overdue(db, clock.now() - OVERDUE, MOST_TAKEN_UP):
        # A job of it that is still there has another `run` now, and does nothing.
        values = {"run": row["run"] + 1, "next_at": clock.now()}
        try:
            async with db.transaction():
                await enqueue([await store.change_delivery(db, row, values)])
        except VersionConflict:
            continue  # its job was there after all
        taken_up += 1
    if taken_up:
        _log.warning(
            "webhooks_taken_up",
            extra={"count": taken_up, "reason": "they were overdue, and their jobs did not come"},
        )
