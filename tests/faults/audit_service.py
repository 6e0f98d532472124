"""A whole service whose entities change in every way: APP ADMIN REDIS OWNER CHANGES PACE.

REDIS is "-" where there is none. It tells every acknowledged change, and when its relay becomes active. It answers the
line "metrics" with the figures of its outbox as `/metrics` shows them, changes no more after "enough", and after "stop"
delivers what is there and ends.
"""

import asyncio
import itertools
import random
import sys
import time
from typing import Any

import httpx2
from fastapi import FastAPI

from app_kernel import ServiceConfig, acting_as, create_service
from app_kernel.core.errors import Unavailable
from app_kernel.core.ports import EntityStore, Outbox
from app_kernel.db import get_db_connection
from tests.faults.children import emit

NAME = "audited"
TASKS = 4
OWN, HOT = 10, 4
BULK = 20


class Changes:
    """What one process does, and says of it."""

    def __init__(self, db: EntityStore, owner: str, pace: float) -> None:
        self._db = db
        self._owner = owner.partition(".")[0]
        self._chance = random.Random(owner)
        self._pace = pace
        self.is_enough = False

    def _id(self) -> str:
        if self._chance.random() < 0.3:
            return f"hot-{self._chance.randrange(HOT)}"
        return f"{self._owner}-{self._chance.randrange(OWN)}"

    async def one(self) -> None:
        """A change of some kind, told once it is acknowledged."""
        began, kind = time.perf_counter(), self._chance.random()
        if kind < 0.9:
            rows = [await self._db.save_entity("items", {"id": self._id(), "value": self._chance.random()})]
        elif kind < 0.96:
            ids = [f"{self._owner}-bulk-{number}" for number in range(BULK)]
            rows = await self._db.save_entities("items", [{"id": id, "value": self._chance.random()} for id in ids])
        else:
            rows = await self._delete_and_restore()
        emit(ack=[[row["id"], row["_version"]] for row in rows], seconds=time.perf_counter() - began)

    async def _delete_and_restore(self) -> list[dict[str, Any]]:
        """Of an entity that nobody else touches, in one commit."""
        id = f"{self._owner}-gone"
        async with self._db.transaction():
            await self._db.save_entity("items", {"id": id, "value": self._chance.random()})
            await self._db.delete_entity("items", id)
            await self._db.restore_entity("items", id)
            return [await self._db.get_entity("items", id)]  # type: ignore[list-item]  # it is there

    async def pause(self) -> None:
        """Until the next change."""
        await asyncio.sleep(self._chance.uniform(0, 2 * self._pace))

    async def lane(self, numbers: "itertools.count[int]", count: int) -> None:
        """One change after the other."""
        while next(numbers) <= count and not self.is_enough:
            try:
                with acting_as(f"user-{self._owner}"):
                    await self.one()
            except Unavailable as exc:
                # Done or not, nobody was told of it; another change follows as a client's next one would.
                emit(refused=type(exc).__name__)
                await asyncio.sleep(0.05)
                continue
            await self.pause()


async def figures(app: FastAPI) -> dict[str, float]:
    """The lines about the outbox in `/metrics`."""
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
        text = (await client.get("/metrics")).text
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("app_kernel_outbox_")]
    return {name: float(value) for name, _, value in lines}


async def listen(app: FastAPI, changes: Changes) -> None:
    """Answers until it is told to stop."""
    while (line := (await asyncio.to_thread(sys.stdin.readline)).strip()) not in ("", "stop"):
        changes.is_enough = changes.is_enough or line == "enough"
        if line == "metrics":
            emit(answer=await figures(app))


async def watch(app: FastAPI) -> None:
    """Tells when the relay becomes active."""
    outbox = app.state.kernel.port(Outbox)
    while not (await outbox.figures()).is_active:  # noqa: ASYNC110 - nobody but these tests asks when
        await asyncio.sleep(0.05)
    emit(active=True)


async def main(app_url: str, admin: str, redis: str, owner: str, count: int, pace: float) -> None:
    """Starts the service, changes entities, waits for the word."""
    config = ServiceConfig(
        auth_enabled=False,
        database_name=app_url,
        admin_db_url=admin,
        redis_url=None if redis == "-" else redis,
        embedded_worker=False,
        log_level="ERROR",
    )
    app = create_service(NAME, config=config)
    async with app.router.lifespan_context(app), get_db_connection() as db:
        emit(ready=True)
        changes, numbers = Changes(db, owner, pace), itertools.count(1)
        listening, watching = asyncio.create_task(listen(app, changes)), asyncio.create_task(watch(app))
        await asyncio.gather(*(changes.lane(numbers, count) for _ in range(TASKS)))
        emit(finished=True)
        await listening
        watching.cancel()
    emit(stopped=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5], int(sys.argv[5]), float(sys.argv[6])))
