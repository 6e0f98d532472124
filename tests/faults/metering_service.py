"""A whole service that counts usage: APP ADMIN REDIS OWNER CALLS PACE.

It tells what each acknowledged call counted, or all calls of one transaction; after its calls it waits for a line,
delivers what is there and ends.
"""

import asyncio
import itertools
import random
import sys
import time
from datetime import UTC, datetime
from typing import Any

from app_kernel import ServiceConfig, create_service
from app_kernel.core.errors import DatabaseBusy, TransactionTimeout
from app_kernel.db import get_db_connection
from app_kernel.metering import track_usage
from tests.faults.children import emit

NAME = "metered"
TASKS = 8
USERS = (None, "u0", "u1", "u2")
WORKSPACES = (None, "w0", "w1")
DAYS = ("2025-12-30", "2025-12-31", "2026-01-01", "2026-02-28")
IN_TRANSACTION = 8


class RolledBack(Exception):
    """A transaction that is not to be."""


def make_call(chance: random.Random) -> dict[str, Any]:
    """Who used how much of two metrics, and when."""
    return {
        "user": chance.choice(USERS),
        "workspace": chance.choice(WORKSPACES),
        "day": chance.choice(DAYS),
        "metrics": {"tokens": chance.randrange(1, 5000), "calls": 1},
    }


async def track(call: dict[str, Any]) -> None:
    """Counts it."""
    at = datetime.fromisoformat(f"{call['day']}T23:59:59").replace(tzinfo=UTC)
    await track_usage(None, app=NAME, user_id=call["user"], workspace_id=call["workspace"], at=at, **call["metrics"])


async def lane(owner: str, number: int, turns: "itertools.count[int]", turns_wanted: int, pace: float) -> None:
    """One call after the other; some of them together in a transaction, of which some are rolled back."""
    chance = random.Random(f"{owner}-{number}")
    while next(turns) <= turns_wanted:
        calls, began = [make_call(chance)], time.perf_counter()
        try:
            if chance.random() < 0.9:
                await track(calls[0])
            else:
                calls = [make_call(chance) for _ in range(IN_TRANSACTION)]
                async with get_db_connection() as db, db.transaction():
                    for call in calls:
                        await track(call)
                    if chance.random() < 0.2:
                        raise RolledBack
        except (RolledBack, DatabaseBusy, TransactionTimeout):
            # Nothing of it was kept.
            continue
        emit(ack=calls, seconds=time.perf_counter() - began)
        await asyncio.sleep(chance.uniform(0, 2 * pace))


async def main(app_url: str, admin: str, redis: str, owner: str, count: int, pace: float) -> None:
    """Starts the service, counts, waits for the word."""
    config = ServiceConfig(
        auth_enabled=False,
        database_name=app_url,
        admin_db_url=admin,
        redis_url=None if redis == "-" else redis,
        embedded_worker=False,
        log_level="ERROR",
    )
    app = create_service(NAME, config=config)
    async with app.router.lifespan_context(app):
        emit(ready=True)
        turns = itertools.count(1)
        await asyncio.gather(*(lane(owner, number, turns, count, pace) for number in range(TASKS)))
        emit(finished=True)
        await asyncio.to_thread(sys.stdin.readline)
    emit(stopped=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5], int(sys.argv[5]), float(sys.argv[6])))
