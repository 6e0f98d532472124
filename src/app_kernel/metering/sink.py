"""The writer of counters in the admin database."""

import asyncio
from collections.abc import Sequence

from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore
from app_kernel.metering import store
from app_kernel.metering.counters import Sums, add_message

BREATHE = 10
"""Messages, of up to 200 requests each, after which the event loop of the service may do something else."""


async def write_usage(admin_db: EntityStore, messages: Sequence[Message]) -> None:
    """Adds a batch to the counters; raises ValueError for a message that is none of metering's."""
    sums: Sums = {}
    for number, message in enumerate(messages, 1):
        add_message(sums, message)
        if not number % BREATHE:
            await asyncio.sleep(0)
    await store.add_sums(admin_db, sums)
