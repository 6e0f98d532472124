"""A program that saves, sends every change out, and carries or stands by: APP ADMIN REDIS OWNER SAVES PACE.

REDIS or ADMIN is "-" where there is none. It tells every acknowledged save, and when its relay becomes active. After
its saves it waits for a line, delivers what is there and ends.
"""

import asyncio
import itertools
import random
import sys
import time

from app_kernel.core.errors import Unavailable
from app_kernel.db.database import create_database
from app_kernel.db.outbox.relay import Receivers, Relay
from app_kernel.redis_wire import create_redis
from tests.faults.children import emit
from tests.faults.outbox_feature import FEATURE, every_change

TASKS = 4
OWN, HOT = 10, 4


async def save(db: object, owner: str, saves: int, pace: float) -> list[float]:
    """Shares the saves among the tasks; the seconds that each took."""
    numbers, taken, chance = itertools.count(1), list[float](), random.Random(owner)

    async def work() -> None:
        while next(numbers) <= saves:
            hot = chance.random() < 0.3
            id = f"hot-{chance.randrange(HOT)}" if hot else f"{owner.partition('.')[0]}-{chance.randrange(OWN)}"
            began = time.perf_counter()
            try:
                row = await db.save_entity("items", {"id": id, "value": chance.random()})  # type: ignore[attr-defined]
            except Unavailable:
                # Done or not, nobody was told of it; another save follows as a client's next one would.
                await asyncio.sleep(0.05)
                continue
            taken.append(time.perf_counter() - began)
            emit(ack=id, version=row["_version"], seconds=taken[-1])
            await asyncio.sleep(chance.uniform(0, 2 * pace))

    async with asyncio.TaskGroup() as group:
        for _ in range(TASKS):
            group.create_task(work())
    return taken


async def main(app: str, admin: str, redis_url: str, owner: str, saves: int, pace: float) -> None:
    """Opens everything, saves, waits for the word, stops."""
    database = create_database(app, recorders=[every_change])
    receiver = None if admin == "-" else create_database(admin)
    redis = None if redis_url == "-" else create_redis(redis_url, owner)
    await database.open()
    if receiver is not None:
        await receiver.open()
    receivers = Receivers(FEATURE.sinks, admin=receiver and receiver.connection, redis=redis)
    relay = Relay(database, receivers)
    relay.start()
    watching = asyncio.create_task(watch(relay))
    emit(ready=True)
    taken = sorted(await save(database.connection(), owner, saves, pace))
    emit(finished=True, p95=taken[int(len(taken) * 0.95)] if taken else 0.0, most=taken[-1] if taken else 0.0)
    await asyncio.to_thread(sys.stdin.readline)
    watching.cancel()
    await relay.stop()
    await database.close()
    if receiver is not None:
        await receiver.close()
    if redis is not None:
        await redis.aclose()
    emit(stopped=True)


async def watch(relay: Relay) -> None:
    """Tells when the relay becomes active."""
    while not relay.active:  # noqa: ASYNC110 - nobody but these tests asks when
        await asyncio.sleep(0.01)
    emit(active=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5], int(sys.argv[5]), float(sys.argv[6])))
