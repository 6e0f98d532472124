"""Redis as a transport: it may lose what it was given, run ahead, refuse or vanish, and everything still arrives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from app_kernel.core.errors import Unavailable
from app_kernel.core.outbox import Message
from app_kernel.db.database import Database
from app_kernel.db.outbox import channel
from app_kernel.db.outbox.channel import Channel
from app_kernel.db.outbox.relay import Receivers
from app_kernel.db.outbox.rows import Mark, OutboxRows, OutOfStep, parse_mark
from app_kernel.db.outbox.stream_reader import StreamReader
from app_kernel.db.outbox.streams import StreamCarrier, Streams, epoch_key
from app_kernel.redis_wire import create_redis
from tests.faults.durable_redis import DurableRedis, durable_redis
from tests.outbox.carrying import (
    ADMIN,
    WritingSink,
    arrived,
    numbered,
    opened,
    relaying,
    send,
    until,
    until_arrived,
    until_empty,
)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    """An empty Redis."""
    client = create_redis(redis_url, "test")
    await client.flushall()
    yield client
    await client.config_set("maxmemory", "0")
    await client.aclose()


@asynccontextmanager
async def reading(redis: Any, admin: Database, sink: WritingSink, consumer: str = "one") -> AsyncIterator[StreamReader]:
    """A running reader of the stream."""
    reader = StreamReader(redis, admin, ADMIN, sink, consumer=consumer)
    task = asyncio.create_task(reader.run())
    try:
        yield reader
    finally:
        reader.end()
        await task


async def batches_sent(app: Database, redis: Any, count: int) -> StreamCarrier:
    """Sends so many batches of one message."""
    carrier = StreamCarrier(Streams(redis, OutboxRows(app.driver)), ADMIN)
    for number in range(count):
        await send(app, *numbered([number]))
        await carrier.carry(await OutboxRows(app.driver).unsent(ADMIN, 0, 9))
    return carrier


async def test_what_a_service_sends_arrives_through_redis_once_and_in_order(redis: Any) -> None:
    async with (
        opened() as (app, admin),
        reading(redis, admin, WritingSink()),
        reading(redis, admin, WritingSink(), "two"),
        relaying(app, Receivers({ADMIN: WritingSink()}, redis=redis)),
    ):
        for start in range(0, 1500, 100):
            await send(app, *numbered(range(start, start + 100)))
        assert await until_arrived(admin, 1500) == list(range(1500))
        await until("an empty stream", lambda: _is_empty(redis))


async def _is_empty(redis: Any) -> bool:
    return bool(await redis.xlen(ADMIN) == 0)


async def test_a_batch_that_redis_has_and_the_database_does_not_know_of_goes_out_again(redis: Any) -> None:
    async with opened() as (app, _):
        carrier = await batches_sent(app, redis, 3)
        epoch = await OutboxRows(app.driver).epoch()
        assert epoch.mark.number == 3
        await redis.set(epoch_key(epoch.database_id), str(epoch.mark.next()))
        await send(app, *numbered([9]))
        waiting = await OutboxRows(app.driver).unsent(ADMIN, 0, 9)
        with pytest.raises(OutOfStep):
            await carrier.carry(waiting)
        assert await redis.xlen(ADMIN) == 3
        await carrier.carry(waiting)
        assert (await OutboxRows(app.driver).epoch()).mark == epoch.mark.next().next()
        assert await redis.xlen(ADMIN) == 4


@pytest.mark.parametrize(("left", "again"), [("2", [2, 3, 4]), ("0", [0, 1, 2, 3, 4]), (None, [0, 1, 2, 3, 4])])
async def test_what_redis_lost_is_sent_again_before_anything_new(
    redis: Any, left: str | None, again: list[int]
) -> None:
    async with opened() as (app, _):
        carrier = await batches_sent(app, redis, 5)
        rows = OutboxRows(app.driver)
        epoch = await rows.epoch()
        key = epoch_key(epoch.database_id)
        await (redis.delete(key) if left is None else redis.set(key, f"{epoch.mark.nonce}:{left}"))
        await send(app, *numbered([5]))
        with pytest.raises(OutOfStep):
            await carrier.carry(await rows.unsent(ADMIN, 0, 9))
        waiting = await rows.unsent(ADMIN, 0, 9)
        assert [row.message.body["n"] for row in waiting] == [*again, 5]
        await carrier.carry(waiting)
        now = (await rows.epoch()).mark
        assert await redis.get(key) == str(now).encode()
        assert now.nonce != epoch.mark.nonce
        assert await rows.unsent(ADMIN, 0, 9) == []


async def test_junk_in_the_place_of_the_number_counts_as_nothing(redis: Any) -> None:
    async with opened() as (app, _):
        carrier = await batches_sent(app, redis, 2)
        rows = OutboxRows(app.driver)
        await redis.set(epoch_key((await rows.epoch()).database_id), "-1 or so")
        await send(app, *numbered([2]))
        with pytest.raises(OutOfStep):
            await carrier.carry(await rows.unsent(ADMIN, 0, 9))
        assert len(await rows.unsent(ADMIN, 0, 9)) == 3
        await carrier.carry(await rows.unsent(ADMIN, 0, 9))
        assert await rows.unsent(ADMIN, 0, 9) == []


async def test_a_relay_that_was_replaced_meanwhile_adds_nothing(redis: Any) -> None:
    async with opened() as (app, _):
        rows = OutboxRows(app.driver)
        await batches_sent(app, redis, 1)
        await send(app, *numbered([5]))
        stale = await rows.unsent(ADMIN, 0, 9)
        old_epoch = await rows.epoch()
        await StreamCarrier(Streams(redis, rows), ADMIN).carry(stale)
        paused = Streams(redis, rows)
        paused._outbox = _Remembering(rows, old_epoch)  # type: ignore[assignment]
        with pytest.raises(OutOfStep):
            await paused.send(ADMIN, stale, paused.settled)
        assert await redis.xlen(ADMIN) == 2


class _Remembering:
    """An outbox whose batch number is what it was."""

    def __init__(self, rows: OutboxRows, epoch: Any) -> None:
        self._rows = rows
        self._epoch = epoch

    async def epoch(self) -> Any:
        return self._epoch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)


@pytest.mark.acceptance("EV1")
async def test_a_copy_from_before_redis_was_emptied_is_not_taken_for_one_that_has_everything(redis: Any) -> None:
    async with opened() as (app, admin):
        carrier = await batches_sent(app, redis, 5)
        key = epoch_key((await OutboxRows(app.driver).epoch()).database_id)
        stream, mark = await redis.dump(ADMIN), await redis.dump(key)
        await redis.flushall()
        assert not await carrier._streams.check()
        await send(app, *numbered([5]))
        await carry_all(app, carrier)
        await redis.flushall()
        await redis.restore(ADMIN, 0, stream)
        await redis.restore(key, 0, mark)
        assert not await carrier._streams.check()
        await carry_all(app, carrier)
        assert await carrier._streams.check()
        async with reading(redis, admin, WritingSink()):
            assert await until_arrived(admin, 6) == list(range(6))


@pytest.mark.parametrize("ahead", ["{}:5", "other:4", "other:3"])
async def test_a_redis_ahead_without_proof_is_sent_everything_again(redis: Any, ahead: str) -> None:
    async with opened() as (app, _):
        carrier = await batches_sent(app, redis, 3)
        epoch = await OutboxRows(app.driver).epoch()
        await redis.set(epoch_key(epoch.database_id), ahead.format(epoch.mark.nonce))
        assert not await carrier._streams.check()
        assert len(await OutboxRows(app.driver).unsent(ADMIN, 0, 9)) == 3


async def test_a_database_and_a_redis_of_the_earlier_layout_are_in_step(redis: Any) -> None:
    async with opened() as (app, _):
        carrier = await batches_sent(app, redis, 2)
        rows = OutboxRows(app.driver)
        key = epoch_key((await rows.epoch()).database_id)
        await app.connection().privileged.execute("UPDATE [kernel_relay] SET [value] = '2' WHERE [name] = 'batch'")
        await redis.set(key, "2")
        assert await carrier._streams.check()
        await send(app, *numbered([2]))
        await carry_all(app, carrier)
        assert (await rows.epoch()).mark.number == 3
        await redis.flushall()
        assert not await carrier._streams.check()
        assert (await rows.epoch()).mark.nonce
        assert len(await rows.unsent(ADMIN, 0, 9)) == 3


@pytest.mark.parametrize("text", ["", ":3", "a:", "a:-1", "x", "a:²", "3 "])
def test_a_text_that_is_no_mark_is_told_from_one(text: str) -> None:
    assert parse_mark(text) is None


async def carry_all(app: Database, carrier: StreamCarrier) -> None:
    """Sends what waits, beginning anew as often as the carrier asks for it."""
    while rows := await OutboxRows(app.driver).unsent(ADMIN, 0, 500):
        with suppress(OutOfStep):
            await carrier.carry(rows)


@pytest.mark.acceptance("EV1")
async def test_a_relay_that_wakes_up_late_marks_nothing_as_sent_that_redis_has_lost(redis: Any) -> None:
    async with opened() as (app, admin):
        sleeping = OutboxRows(app.driver)
        carrier = await batches_sent(app, redis, 2)
        await send(app, *numbered([2]))
        wakes, asleep = asyncio.Event(), asyncio.Event()
        mark_sent = sleeping.mark_sent

        async def mark_late(seqs: Any, mark: Any) -> None:
            asleep.set()
            await wakes.wait()
            await mark_sent(seqs, mark)

        sleeping.mark_sent = mark_late  # type: ignore[method-assign]
        streams = Streams(redis, sleeping)
        late = asyncio.create_task(streams.send(ADMIN, await sleeping.unsent(ADMIN, 0, 9), streams.settled))
        await asleep.wait()
        await redis.flushall()
        assert not await carrier._streams.check()
        wakes.set()
        with pytest.raises(OutOfStep):
            await late
        await carry_all(app, carrier)
        async with reading(redis, admin, WritingSink()):
            assert await until_arrived(admin, 3) == [0, 1, 2]


async def test_nothing_changes_at_a_mark_that_is_not_the_stored_one(redis: Any) -> None:
    async with opened() as (app, _):
        await batches_sent(app, redis, 2)
        rows = OutboxRows(app.driver)
        mark = (await rows.epoch()).mark
        await send(app, *numbered([2]))
        for stale in (Mark(mark.nonce, 1), Mark("other", 2)):
            with pytest.raises(OutOfStep):
                await rows.mark_sent([row.seq for row in await rows.unsent(ADMIN, 0, 9)], stale)
            with pytest.raises(OutOfStep):
                await rows.set_mark(stale, Mark("mine", 9))
            with pytest.raises(OutOfStep):
                await rows.send_again(stale, 0)
        assert (await rows.epoch()).mark == mark
        assert len(await rows.unsent(ADMIN, 0, 9)) == 1


@pytest.mark.acceptance("EV1")
async def test_a_loss_that_somebody_else_sees_between_two_pages_breaks_no_order(
    redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "PAGE", 50)
    async with opened() as (app, admin):
        streams = Streams(redis, OutboxRows(app.driver))
        carrier, pages = StreamCarrier(streams, ADMIN), 0
        carry = carrier.carry

        async def carry_after_a_check(rows: Any) -> Any:
            nonlocal pages
            pages += 1
            if pages == 2:
                await redis.flushall()
                assert not await streams.check()
            return await carry(rows)

        async def report(carried: Any) -> None:
            return None

        carrier.carry = carry_after_a_check  # type: ignore[method-assign]
        await send(app, *numbered(range(100)))
        carrying = Channel(ADMIN, OutboxRows(app.driver), carrier, report)
        task = asyncio.create_task(carrying.run())
        await until_empty(app)
        carrying.end()
        await task
        async with reading(redis, admin, WritingSink()):
            assert await until_arrived(admin, 100) == list(range(100))


@pytest.mark.acceptance("EV1")
async def test_redis_emptied_in_the_middle_loses_nothing(redis: Any) -> None:
    async with opened() as (app, admin), reading(redis, admin, WritingSink()):
        async with relaying(app, Receivers({ADMIN: WritingSink()}, redis=redis)):
            for start in range(0, 500, 10):
                await send(app, *numbered(range(start, start + 10)))
                if start % 100 == 50:
                    await redis.flushall()
                await asyncio.sleep(0.005)
            assert await until_arrived(admin, 500) == list(range(500))
            await redis.flushall()

            async def is_sent_again() -> bool:
                return (await redis.get(epoch_key((await OutboxRows(app.driver).epoch()).database_id))) is not None

            await until("the resend after an idle flush", is_sent_again, 5)
            await until_empty(app)
            await until("an empty stream", lambda: _is_empty(redis))
        assert await arrived(admin) == list(range(500))


async def test_a_redis_that_is_full_is_waited_for_and_adds_no_half_batch(redis: Any) -> None:
    async with opened() as (app, admin):
        await redis.config_set("maxmemory", "1")
        async with relaying(app, Receivers({ADMIN: WritingSink()}, redis=redis)):
            await send(app, *numbered(range(20)))
            await asyncio.sleep(0.5)
            assert await redis.xlen(ADMIN) == 0
            assert (await OutboxRows(app.driver).lag()).unsent == 20
            await redis.config_set("maxmemory", "0")
            await until_empty(app)
        async with reading(redis, admin, WritingSink()):
            assert await until_arrived(admin, 20) == list(range(20))


async def test_a_redis_that_may_drop_streams_is_warned_of(redis: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with opened() as (app, _):
        streams = Streams(redis, OutboxRows(app.driver))
        await streams.warn_of_eviction()
        assert caplog.messages == []
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            await streams.warn_of_eviction()
        finally:
            await redis.config_set("maxmemory-policy", "noeviction")
        assert caplog.messages == ["redis_may_evict_messages"]


async def test_large_messages_go_in_smaller_batches(redis: Any) -> None:
    async with opened() as (app, _):
        rows = OutboxRows(app.driver)
        await send(app, *(Message(ADMIN, {"text": "x" * 400_000}) for _ in range(5)))
        await StreamCarrier(Streams(redis, rows), ADMIN).carry(await rows.unsent(ADMIN, 0, 9))
        assert (await rows.epoch()).mark.number == 3
        assert await redis.xlen(ADMIN) == 5


@pytest.mark.acceptance("EV1")
async def test_an_older_copy_of_redis_loses_nothing(tmp_path: Path) -> None:
    def restore(server: DurableRedis) -> None:
        server.restore(tmp_path / "copy")

    with durable_redis(tmp_path / "redis") as server:
        redis = create_redis(server.url, "test")
        async with opened() as (app, admin), reading(redis, admin, WritingSink()):
            async with relaying(app, Receivers({ADMIN: WritingSink()}, redis=redis)):
                await send(app, *numbered(range(50)))
                await until_arrived(admin, 50)
                server.copy(tmp_path / "copy")
                await send(app, *numbered(range(50, 100)))
                await until_arrived(admin, 100)
                await send(app, *numbered(range(100, 150)))
                await asyncio.to_thread(restore, server)
                await send(app, *numbered(range(150, 200)))
                assert await until_arrived(admin, 200) == list(range(200))
                await until_empty(app)
                await until("an empty stream", lambda: _is_empty(redis))
            assert await arrived(admin) == list(range(200))
        await redis.aclose()


@pytest.mark.acceptance("OP5")
async def test_a_redis_that_was_never_there_is_waited_for(tmp_path: Path) -> None:
    with durable_redis(tmp_path / "redis") as server:
        server.kill()
        redis = create_redis(server.url, "test")
        async with opened() as (app, admin), reading(redis, admin, WritingSink()):
            with pytest.raises(Unavailable, match="Redis"):
                await Streams(redis, OutboxRows(app.driver)).check()
            async with relaying(app, Receivers({ADMIN: WritingSink()}, redis=redis)):
                await send(app, *numbered(range(10)))
                await asyncio.sleep(0.5)
                await asyncio.to_thread(server.start)
                assert await until_arrived(admin, 10, 8) == list(range(10))
        await redis.aclose()
