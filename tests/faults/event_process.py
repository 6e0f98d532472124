"""A service that makes changes with security events until it kills itself: URL, where, and at which event."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterable
from typing import Any

from app_kernel import Feature
from app_kernel.api_keys import create_api_key
from app_kernel.auth.sign_in import start_session
from app_kernel.core.events import SecurityEvent
from app_kernel.core.outbox import Message
from app_kernel.db.transactions import StoreTransaction
from app_kernel.flags import set_flag
from app_kernel.saas import create_workspace
from tests.security.event_world import World, running

POINTS = ("recording", "before_commit", "after_commit")
MORE_THAN_ASKED = 40


class Countdown:
    """Kills the process when it is called for the last time."""

    def __init__(self, left: int) -> None:
        self._left = left

    def __call__(self, *_: Any) -> Iterable[Message]:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
        return ()


class CountdownToCommit(Countdown):
    """Is called before each commit of a transaction that has messages."""

    def install(self) -> None:
        end = StoreTransaction.end

        async def count_and_end(transaction: StoreTransaction) -> None:
            if transaction._has_messages:
                self()
            await end(transaction)

        StoreTransaction.end = count_and_end  # type: ignore[method-assign]


def deadly_feature(point: str, at: int) -> Feature:
    if point == "recording":
        return Feature(name="deadly", event_recorders={SecurityEvent: Countdown(at)})
    if point == "after_commit":
        deadly = Countdown(at)
        return Feature(name="deadly", listeners={SecurityEvent: lambda kernel, event: deadly() and None})
    CountdownToCommit(at).install()
    return Feature(name="deadly")


async def change(world: World) -> None:
    """One change of each kind."""
    ada = await world.person()
    await start_session(world.db, world.issuer, await world.row(ada), None, method="test", cookie=False)
    await set_flag(world.db, f"flag_{ada.id}", enabled=True)
    await create_api_key(world.db, ada.id, name="ci")
    await create_workspace(world.db, "Engines", ada.id)


async def work(url: str, point: str, at: int) -> None:
    async with running(url, deadly_feature(point, at), audit_enabled=False) as world:
        with world.here():
            for _ in range(MORE_THAN_ASKED):
                await change(world)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], int(sys.argv[3])))
