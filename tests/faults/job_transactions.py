"""A service whose transactions save a row and enqueue a job of the same id: RUN. It goes on until it is killed.

It tells every commit that was acknowledged and every transaction that it rolled back. RUN is "-" for one that only
delivers what is there.
"""

import asyncio
import itertools
import os
import random
import sys

from app_kernel import ServiceConfig, create_service, get_job_client
from app_kernel.db import get_db_connection
from tests.faults.children import emit

LANES = 4
NO_SECRET = "of-a-service-that-nobody-can-reach-0123456789"


class RolledBack(Exception):
    """A transaction that is not to be."""


async def lane(run: str, number: int) -> None:
    """One transaction after another."""
    chance, jobs = random.Random(f"{run}-{number}"), get_job_client()
    for count in itertools.count():
        id, first = f"{run}-{number}-{count}", chance.random() < 0.5
        try:
            async with get_db_connection() as db, db.transaction():
                if first:
                    await jobs.enqueue("work", {}, job_id=id)
                await db.save_entity("orders", {"id": id})
                if not first:
                    await jobs.enqueue("work", {}, job_id=id)
                if chance.random() < 0.2:
                    raise RolledBack
        except RolledBack:
            emit(undone=id)
        else:
            emit(ack=id)


async def main(run: str) -> None:
    """Starts the service and lets it be killed."""
    config = ServiceConfig(
        jwt_secret=NO_SECRET,
        database_name=os.environ["DATABASE_URL"],
        redis_url=os.environ.get("REDIS_URL"),
        embedded_worker=False,
        log_level="ERROR",
    )
    app = create_service("jobs_killed", config=config)
    async with app.router.lifespan_context(app):
        emit(ready=True)
        if run == "-":
            await asyncio.Event().wait()
        await asyncio.gather(*(lane(run, number) for number in range(LANES)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
