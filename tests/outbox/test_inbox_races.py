"""Two receivers of the same messages at the same moment: each message is new to one of them alone."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from app_kernel.core.errors import DatabaseBusy
from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore
from app_kernel.db.outbox.inbox import write_batch
from tests.outbox.carrying import ALL_BACKENDS, WritingSink, arrived, numbered, opened_on

COUNT = 12
RECEIVERS = 4
ROUNDS = 6


class Broken(Exception):
    """What a receiver dies of after it has written, before its commit."""


class Holding(WritingSink):
    """Stays in its transaction until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.let_go = asyncio.Event(), asyncio.Event()

    async def __call__(self, db: EntityStore, messages: Sequence[Message]) -> None:
        await super().__call__(db, messages)
        self.reached.set()
        await self.let_go.wait()


async def receive(db: EntityStore, sink: WritingSink, messages: Sequence[Message], *, breaks: bool = False) -> None:
    """Receives as a relay does: a batch that was lost to another one comes again, whole."""
    while True:
        try:
            async with db.transaction():
                outcome = await write_batch(db, sink, messages)
                if breaks:
                    raise Broken
        except DatabaseBusy:
            continue
        assert not outcome.failed
        assert len(outcome.written) == len(messages)
        return


@pytest.mark.parametrize("breaks", [False, True], ids=["commits", "breaks off"])
@pytest.mark.parametrize("backend", ALL_BACKENDS)
async def test_who_comes_second_waits_for_the_first_and_has_what_that_one_left(
    backend: str, breaks: bool, request: pytest.FixtureRequest
) -> None:
    messages = numbered(range(COUNT))
    async with opened_on(backend, request) as (_, admin):
        db, first, second = admin.connection(), Holding(), WritingSink()
        await db.ensure_fields("arrived", {"n": int, "message": str})
        one = asyncio.create_task(receive(db, first, messages[: COUNT // 2], breaks=breaks))
        await first.reached.wait()
        # In the other order, and with some that nobody has.
        other = asyncio.create_task(receive(db, second, messages[::-1]))
        done, _ = await asyncio.wait({one, other}, timeout=0.1)
        assert not done
        assert second.calls == 0
        first.let_go.set()
        ended = await asyncio.gather(one, other, return_exceptions=True)
        assert [type(each) for each in ended] == [Broken if breaks else type(None), type(None)]
        assert sorted(await arrived(admin)) == list(range(COUNT))


@pytest.mark.parametrize("backend", ALL_BACKENDS)
async def test_of_many_receivers_in_any_order_each_message_is_new_to_one(
    backend: str, request: pytest.FixtureRequest
) -> None:
    """Some of them die after they have written, and what they wrote is new to another one then."""
    chance = random.Random(20_261_201)
    messages = numbered(range(ROUNDS * COUNT))
    async with opened_on(backend, request) as (_, admin):
        db, sink = admin.connection(), WritingSink()
        await db.ensure_fields("arrived", {"n": int, "message": str})
        for start in range(0, len(messages), COUNT):
            batch = messages[start : start + COUNT]
            parts = [chance.sample(batch, chance.randint(COUNT // 2, COUNT)) for _ in range(RECEIVERS - 1)]
            parts.append(batch[::-1])
            tasks = [receive(db, sink, part, breaks=number == 0) for number, part in enumerate(parts)]
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(each) for each in ended] == [Broken] + [type(None)] * (RECEIVERS - 1)
        assert sorted(await arrived(admin)) == list(range(ROUNDS * COUNT))
