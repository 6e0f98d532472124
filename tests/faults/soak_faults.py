"""The faults of a soak: each is begun, lasts for a while, and is over when its function returns."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.faults.children import Child
from tests.faults.durable_redis import DurableRedis
from tests.faults.own_server import OwnServer
from tests.faults.soak_fleet import Part, SoakFleet
from tests.faults.tcp_proxy import TcpProxy

Act = Callable[[], Awaitable[None]]
DELAY_SECONDS = 0.1
PAGES_LEFT = 2


@dataclass(frozen=True)
class Fault:
    """One kind."""

    name: str
    act: Act


class Deck:
    """All faults in an order of chance, and then again in another one."""

    def __init__(self, faults: Sequence[Fault], chance: random.Random) -> None:
        self._faults = faults
        self._chance = chance
        self._left: list[Fault] = []

    def draw(self) -> Fault:
        """The next one."""
        if not self._left:
            self._left = self._chance.sample(self._faults, len(self._faults))
        return self._left.pop()


class Faults:
    """Makes them; each lasts for `seconds` where it is not over at once."""

    def __init__(self, fleet: SoakFleet, chance: random.Random, seconds: float) -> None:
        self._fleet = fleet
        self._chance = chance
        self._seconds = seconds
        self.spared: Part | None = None
        """A process that is not killed any more, so that it can be seen whether it grows."""

    def _one(self, kind: str) -> Part:
        parts = [part for part in self._fleet.parts if part.name.startswith(kind) and part is not self.spared]
        return self._chance.choice(parts)

    def kill(self, kind: str) -> Fault:
        """SIGKILL for one process of a kind, and another one in its place."""

        async def act() -> None:
            part = self._one(kind)
            await self._fleet.kill(part)
            self._fleet.start(part)
            if part.port:
                await self._fleet.answering(part)
                await self._fleet.hash_once(part)

        return Fault(f"kill {kind}", act)

    def pause(self, kind: str) -> Fault:
        """A process stands still."""

        async def act() -> None:
            part = self._one(kind)
            assert part.process is not None
            part.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(self._seconds)
            part.process.send_signal(signal.SIGCONT)

        return Fault(f"pause {kind}", act)

    def cut(self, name: str, *proxies: TcpProxy) -> Fault:
        """All connections to one place are reset, and for a moment there are no new ones."""

        async def act() -> None:
            for proxy in proxies:
                proxy.refuses = True
                proxy.cut()
            await asyncio.sleep(self._seconds / 2)
            for proxy in proxies:
                proxy.refuses = False

        return Fault(f"cut {name}", act)

    def delay(self, name: str, proxy: TcpProxy) -> Fault:
        """Everything takes its time on the way."""

        async def act() -> None:
            proxy.delay = DELAY_SECONDS
            await asyncio.sleep(self._seconds)
            proxy.delay = 0.0

        return Fault(f"delay {name}", act)

    def freeze(self, name: str, proxy: TcpProxy) -> Fault:
        """Nothing comes through, and nobody is told."""

        async def act() -> None:
            proxy.freeze()
            await asyncio.sleep(self._seconds)
            proxy.thaw()

        return Fault(f"freeze {name}", act)

    def crash_server(self, server: OwnServer) -> Fault:
        """The database server crashes, recovers, and comes back."""

        async def act() -> None:
            await asyncio.to_thread(server.end, server.as_a_crash)
            await asyncio.sleep(self._seconds / 2)
            await asyncio.to_thread(server.start_again, 60)

        return Fault("kill postgres", act)

    def kill_redis(self, redis: DurableRedis) -> Fault:
        """Redis is killed, and comes back with its disk."""

        async def act() -> None:
            redis.kill()
            await asyncio.sleep(self._seconds / 2)
            await asyncio.to_thread(redis.start)

        return Fault("kill redis", act)

    def fill_disk(self) -> Fault:
        """There is no room for SQLite files to grow."""

        async def act() -> None:
            await self._leave_room(PAGES_LEFT)
            await asyncio.sleep(self._seconds)
            await self._leave_room(None)

        return Fault("fill disk", act)

    async def _leave_room(self, pages: int | None) -> None:
        for part in self._fleet.parts:
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{part.port}", timeout=30) as client:
                (await client.post("/room", json={"pages": pages})).raise_for_status()

    def lock_file(self, path: Path, table: str) -> Fault:
        """Another program keeps the SQLite file for itself."""

        async def act() -> None:
            with Child("lock_holder", path, "BEGIN IMMEDIATE", table) as holder:
                await asyncio.to_thread(holder.expect, "held")
                await asyncio.sleep(self._seconds)
                holder.tell("release")
                await asyncio.to_thread(holder.expect, "released")

        return Fault(f"lock {path.name}", act)
