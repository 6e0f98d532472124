"""A service whose transactions do all at once: APP ADMIN REDIS RUN WHEN. It goes on until it is killed.

Each saves a row, enqueues a job, triggers a webhook event and counts usage, all under one id. It tells every commit
that was acknowledged and every transaction that it rolled back. WHEN is `inside`, for a kill by itself in the middle of
the last transaction, `after`, for one right after its commit, before anything can have left, or `never`. RUN is "-" for
one that only delivers what is there; it makes the webhook that hears of the events if there is none.
"""

import asyncio
import itertools
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable

from app_kernel import ServiceConfig, acting_as, create_service, get_job_client
from app_kernel.core.ports import EntityStore
from app_kernel.db import get_db_connection
from app_kernel.metering import track_usage
from app_kernel.webhooks import create_webhook, list_webhooks, trigger_webhook_event
from tests.faults.children import emit

NAME = "audited"
NO_SECRET = "of-a-service-that-nobody-can-reach-0123456789"
LANES = 4
WORKSPACE = "w1"
BEFORE_DEATH = 6
"""The most transactions of one that kills itself."""


class RolledBack(Exception):
    """A transaction that is not to be."""


def steps(db: EntityStore, id: str) -> list[Callable[[], Awaitable[object]]]:
    """What a transaction does, in no order."""
    return [
        lambda: db.save_entity("orders", {"id": id}),
        lambda: get_job_client().enqueue("work", {}, job_id=id),
        lambda: trigger_webhook_event(db, WORKSPACE, event="order.made", data={"order": id}),
        lambda: track_usage(None, app=NAME, user_id=id, workspace_id=WORKSPACE, orders=1, cents=7),
    ]


async def lane(run: str, number: int, when: str) -> None:
    """One transaction after another."""
    chance = random.Random(f"{run}-{number}")
    last = chance.randrange(BEFORE_DEATH) if when != "never" and number == 0 else -1
    for count in itertools.count():
        id = f"{run}-{number}-{count}"
        try:
            async with get_db_connection() as db, db.transaction():
                todo = steps(db, id)
                chance.shuffle(todo)
                with acting_as("user-1", WORKSPACE):
                    for step in todo:
                        await step()
                if count == last and when == "inside":
                    os.kill(os.getpid(), signal.SIGKILL)
                if chance.random() < 0.2 and count != last:
                    raise RolledBack
        except RolledBack:
            emit(undone=id)
        else:
            if count == last:
                emit(ack=id)
                os.kill(os.getpid(), signal.SIGKILL)
            emit(ack=id)


async def main(app_url: str, admin: str, redis: str, run: str, when: str) -> None:
    """Starts the service and lets it be killed."""
    config = ServiceConfig(
        jwt_secret=NO_SECRET,
        auth_enabled=False,
        database_name=app_url,
        admin_db_url=admin,
        redis_url=None if redis == "-" else redis,
        webhook_allow_private=True,
        embedded_worker=False,
        log_level="ERROR",
    )
    app = create_service(NAME, config=config)
    async with app.router.lifespan_context(app):
        if run == "-":
            async with get_db_connection() as db:
                if not await list_webhooks(db, WORKSPACE):
                    await create_webhook(db, WORKSPACE, url="https://hooks.example.com/orders", events=["order.made"])
            emit(ready=True)
            await asyncio.Event().wait()
        emit(ready=True)
        await asyncio.gather(*(lane(run, number, when) for number in range(LANES)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:6]))
