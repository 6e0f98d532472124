"""The reading end of a stream: strange entries, refused ones, dead workers, several workers at once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app_kernel.core.errors import StorageFull
from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore
from app_kernel.db.outbox import inbox, stream_reader
from app_kernel.db.outbox.dead_letters import list_dead_letters, retry_dead_letter
from app_kernel.db.outbox.relay import Receivers
from app_kernel.db.outbox.streams import GROUP
from app_kernel.redis_wire import create_redis
from tests.outbox.carrying import (
    ADMIN,
    BACKENDS,
    WritingSink,
    arrived,
    numbered,
    opened,
    opened_on,
    relaying,
    send,
    until,
    until_arrived,
    until_empty,
)
from tests.outbox.test_streams import _is_empty, reading


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    """An empty Redis."""
    client = create_redis(redis_url, "test")
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_reader, "RETRY_SECONDS", (0.05, 0.05, 0.1, 0.1))


async def put(redis: Any, *numbers: int, key: str = "k") -> None:
    """Entries as the relay writes them."""
    for number in numbers:
        fields = {"id": f"m{number}", "key": key, "body": f'{{"n": {number}}}', "created_at": "2026-11-23T00:00:00Z"}
        await redis.xadd(ADMIN, fields)


@pytest.mark.acceptance("EV1")
async def test_what_a_dead_worker_had_taken_is_written_before_anything_new(redis: Any) -> None:
    async with opened() as (admin, _):
        await put(redis, 1, 2, 3)
        await redis.xgroup_create(ADMIN, GROUP, id="0")
        await redis.xreadgroup(GROUP, "dead", {ADMIN: ">"}, count=2)
        await put(redis, 4)
        async with reading(redis, admin, WritingSink()):
            assert await until_arrived(admin, 4) == [1, 2, 3, 4]
            await until("an empty stream", lambda: _is_empty(redis))
            assert (await redis.xpending(ADMIN, GROUP))["pending"] == 0


async def test_what_was_written_and_not_acknowledged_is_dropped(redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lose(self: Any, entry_ids: Sequence[str]) -> None:
        raise StorageFull

    async with opened() as (admin, _):
        await put(redis, 1, 2)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stream_reader.StreamReader, "_acknowledge", lose)
            async with reading(redis, admin, WritingSink()):
                await until_arrived(admin, 2)
        await put(redis, 3)
        async with reading(redis, admin, WritingSink(), "two"):
            assert await until_arrived(admin, 3) == [1, 2, 3]
            await until("an empty stream", lambda: _is_empty(redis))
        assert await arrived(admin) == [1, 2, 3]


@pytest.mark.parametrize("backend", BACKENDS)
async def test_several_workers_keep_the_order_of_each_key(
    backend: str, request: pytest.FixtureRequest, redis: Any
) -> None:
    at_work: list[int] = []

    async def slow(db: EntityStore, messages: Sequence[Message]) -> None:
        at_work.append(1)
        assert len(at_work) == 1, "two workers write at once"
        try:
            for message in messages:
                await db.save_entity("arrived", {"n": message.body["n"]})
                await asyncio.sleep(0.001)
        finally:
            at_work.pop()

    async with opened_on(backend, request) as (admin, _):
        workers = [reading(redis, admin, slow, f"w{number}") for number in range(4)]  # type: ignore[arg-type]
        for worker in workers:
            await worker.__aenter__()
        for start in range(0, 300, 5):
            await put(redis, *range(start, start + 5))
        assert await until_arrived(admin, 300, 30) == list(range(300))
        for worker in workers:
            await worker.__aexit__(None, None, None)
        counts = await redis.hgetall(stream_reader._attempts_key(ADMIN))
        assert counts == {}, "a sink failed"


WAITS = {
    "postgres": "SELECT [pid] FROM [pg_locks] WHERE [locktype] = 'advisory' AND NOT [granted]",
    "mysql": (
        "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        " AND info LIKE 'INSERT INTO _kernel_relay_%'"
    ),
}
"""A row when a worker waits for its turn, where workers take turns by a lock of ours."""


@pytest.mark.acceptance("EV1")
@pytest.mark.parametrize("backend", WAITS)
async def test_no_worker_takes_entries_while_another_is_between_looking_and_taking(
    backend: str, request: pytest.FixtureRequest, redis: Any
) -> None:
    """One has seen that nothing is unfinished; would the other now take an entry, the first would take the next."""
    looked, go_on, took, write = (asyncio.Event() for _ in range(4))

    async with opened_on(backend, request) as (admin, _):
        sink = WritingSink()
        first, second = (stream_reader.StreamReader(redis, admin, ADMIN, sink, consumer=name) for name in "ab")
        look, take = first._take_over, second._take

        async def look_and_wait() -> Any:
            found = await look()
            looked.set()
            await go_on.wait()
            return found

        async def take_and_wait() -> Any:
            found = await take()
            took.set()
            await write.wait()
            return found

        async def second_waits_or_took() -> bool:
            return took.is_set() or bool(await admin.connection().privileged.execute(WAITS[backend]))

        first._take_over, second._take = look_and_wait, take_and_wait  # type: ignore[method-assign]
        await redis.xgroup_create(ADMIN, GROUP, id="0", mkstream=True)
        await put(redis, 1)
        running = [asyncio.create_task(first.run())]
        await looked.wait()
        running.append(asyncio.create_task(second.run()))
        await until("the second worker's turn", second_waits_or_took, 4)
        await put(redis, 2)
        go_on.set()
        await until_arrived(admin, 1)
        write.set()
        assert await until_arrived(admin, 2) == [1, 2]
        for reader in (first, second):
            reader.end()
        await asyncio.gather(*running)


async def test_an_entry_that_is_no_message_becomes_a_dead_letter_and_never_code(redis: Any) -> None:
    strange: list[dict[Any, Any]] = [
        {"a": "b"},
        {"id": "x1", "body": "not json"},
        {"id": "x2", "body": "[1, 2]"},
        {"id": "", "body": "{}"},
        {"id": "y" * 200, "body": "{}"},
        {"id": b"\xff\x00", "body": "{}"},
        {"id": "x3", "body": b"\x80\x04cos\nsystem\n(S'true'\ntR."},
    ]
    async with opened() as (admin, _):
        async with reading(redis, admin, WritingSink()):
            for fields in strange:
                await redis.xadd(ADMIN, fields)
            await put(redis, 1)
            assert await until_arrived(admin, 1) == [1]
            await until("an empty stream", lambda: _is_empty(redis))
        dead = await list_dead_letters(admin.connection())
        assert len(dead) == len(strange)
        assert {letter.topic for letter in dead} == {ADMIN}


@pytest.mark.acceptance("EV11")
@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_refused_message_dies_after_five_tries_and_can_be_sent_again(
    backend: str, request: pytest.FixtureRequest, redis: Any, quick_retries: None
) -> None:
    async with opened_on(backend, request) as (admin, _):
        sink = WritingSink()
        sink.refused = {2}
        async with reading(redis, admin, sink):
            await put(redis, 1, 2, 3)
            await put(redis, 4, key="other")
            assert await until_arrived(admin, 2) == [1, 4]
            assert await until_arrived(admin, 3) == [1, 4, 3]
            await until("an empty stream", lambda: _is_empty(redis))
        (dead,) = await list_dead_letters(admin.connection())
        assert (dead.id, dead.attempts, dead.reason.split()[0]) == ("m2", 5, "ValueError")
        sink.refused = set()
        assert await retry_dead_letter(admin.connection(), "m2")
        async with relaying(admin, Receivers({ADMIN: sink}, admin=admin.connection)):
            assert await until_arrived(admin, 4) == [1, 4, 3, 2]


async def test_what_follows_a_refused_message_of_its_key_waits_until_that_is_written(
    redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails_twice(db: EntityStore, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.body["n"] == 3 and len(failures) < 4:
                failures.append(len(messages))
                raise ValueError
            await db.save_entity("arrived", {"n": message.body["n"]})

    failures: list[int] = []
    monkeypatch.setattr(stream_reader, "RETRY_SECONDS", (0.3, 0.3, 0.3, 0.3))
    async with opened() as (admin, _):
        async with reading(redis, admin, fails_twice), reading(redis, admin, fails_twice, "two"):  # type: ignore[arg-type]
            await put(redis, *range(6))
            assert await until_arrived(admin, 6) == list(range(6))
        assert len(failures) == 4


async def test_a_refused_message_holds_up_no_other_however_many_follow(redis: Any) -> None:
    async with opened() as (admin, _):
        sink = WritingSink()
        sink.refused = {0}
        async with reading(redis, admin, sink):
            await put(redis, 0)
            await put(redis, *range(1, 30), key="other")
            assert await until_arrived(admin, 29, 3) == list(range(1, 30))
            await put(redis, 50, key="third")
            assert (await until_arrived(admin, 30, 3))[-1] == 50


async def test_an_admin_database_that_is_away_is_no_fault_of_the_message(redis: Any) -> None:
    async with opened() as (admin, _):
        sink = WritingSink()
        sink.away = StorageFull()
        async with reading(redis, admin, sink):
            await put(redis, 1)
            await until("some tries", lambda: asyncio.sleep(0, sink.calls > 3))
            sink.away = None
            assert await until_arrived(admin, 1, 5) == [1]
        assert await list_dead_letters(admin.connection()) == []


async def test_a_message_that_takes_too_long_dies_and_the_rest_flows(
    redis: Any, quick_retries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(db: EntityStore, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.body["n"] == 2:
                await asyncio.sleep(60)
            await db.save_entity("arrived", {"n": message.body["n"]})

    monkeypatch.setattr(inbox, "TRANSACTION_SECONDS", 0.1)
    async with opened() as (admin, _):
        async with reading(redis, admin, stuck):  # type: ignore[arg-type]
            await put(redis, 1, 2, 3, key="")
            assert sorted(await until_arrived(admin, 2)) == [1, 3]
            await until("an empty stream", lambda: _is_empty(redis))
        assert [dead.id for dead in await list_dead_letters(admin.connection())] == ["m2"]


async def test_a_stream_that_vanishes_is_read_again_when_it_is_back(redis: Any) -> None:
    async with opened() as (admin, _), reading(redis, admin, WritingSink()):
        await put(redis, 1)
        await until_arrived(admin, 1)
        await redis.delete(ADMIN)
        await put(redis, 2)
        assert await until_arrived(admin, 2, 8) == [1, 2]


async def test_a_reader_with_nothing_to_do_asks_little(redis: Any) -> None:
    async with opened() as (admin, _), reading(redis, admin, WritingSink()):
        await put(redis, 1)
        await until_arrived(admin, 1)
        before = (await redis.info("stats"))["total_commands_processed"]
        await asyncio.sleep(1.5)
        assert (await redis.info("stats"))["total_commands_processed"] - before < 12


async def test_a_redis_that_is_full_is_drained_by_its_first_worker(redis: Any) -> None:
    async with opened() as (app, admin):
        async with relaying(app, Receivers({ADMIN: WritingSink()}, redis=redis)):
            await send(app, *numbered(range(50)))
            await until_empty(app)
        async with full(redis), reading(redis, admin, WritingSink()):
            assert await until_arrived(admin, 50, 5) == list(range(50))
            await until("an empty stream", lambda: _is_empty(redis))


async def test_a_refused_message_on_a_full_redis_dies_and_the_rest_flows(redis: Any, quick_retries: None) -> None:
    async with opened() as (admin, _):
        sink = WritingSink()
        sink.refused = {2}
        await redis.xgroup_create(ADMIN, GROUP, id="0", mkstream=True)
        await put(redis, *range(20), key="")
        await redis.set("other", "x" * 100_000)
        async with full(redis), reading(redis, admin, sink):
            assert await until_arrived(admin, 19, 5) == [n for n in range(20) if n != 2]
            await until("an empty stream", lambda: _is_empty(redis))
        (dead,) = await list_dead_letters(admin.connection())
        assert (dead.id, dead.attempts) == ("m2", 5)


@asynccontextmanager
async def full(redis: Any) -> AsyncIterator[None]:
    """Redis refuses whatever needs memory, also while it gets emptier."""
    await redis.config_set("maxmemory", "1")
    try:
        yield
    finally:
        await redis.config_set("maxmemory", "0")


class SlowWay:
    """A Redis whose answers take the longer the more entries were asked for."""

    def __init__(self, redis: Any, seconds: float) -> None:
        self._redis = redis
        self._seconds = seconds
        self.asked: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._redis, name)

    async def xreadgroup(self, *args: Any, count: int, **options: Any) -> Any:
        self.asked.append(count)
        found = await self._redis.xreadgroup(*args, count=count, **options)
        await asyncio.sleep(self._seconds * sum(len(entries) for _, entries in found or ()))
        return found

    async def xautoclaim(self, *args: Any, count: int, **options: Any) -> Any:
        found = await self._redis.xautoclaim(*args, count=count, **options)
        await asyncio.sleep(self._seconds * len(found[1]))
        return found


async def test_entries_that_take_too_long_to_fetch_are_asked_for_in_smaller_answers(
    redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_reader, "IN_TRANSACTION", 0.2)
    async with opened() as (admin, _):
        await put(redis, *range(40))
        async with reading(SlowWay(redis, 0.02), admin, WritingSink()):
            assert await until_arrived(admin, 40) == list(range(40))
            await until("an empty stream", lambda: _is_empty(redis))


async def test_large_entries_are_taken_a_few_at_a_time_and_then_more_again(
    redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_reader, "TAKEN_AT_ONCE", 10_000)
    batches: list[int] = []

    async def measure(db: EntityStore, messages: Sequence[Message]) -> None:
        batches.append(len(messages))

    async with opened() as (admin, _):
        await redis.xgroup_create(ADMIN, GROUP, id="0", mkstream=True)
        for number in range(60):
            await redis.xadd(ADMIN, {"id": f"m{number}", "body": f'{{"n": {number}, "text": "{"x" * 2000}"}}'})
        await redis.xreadgroup(GROUP, "dead", {ADMIN: ">"}, count=40)
        way = SlowWay(redis, 0)
        async with reading(way, admin, measure) as reader:  # type: ignore[arg-type]
            await until("an empty stream", lambda: _is_empty(redis))
            assert sum(batches) == 60
            assert max(batches[1:]) <= 10
            assert max(way.asked) <= 10
            few = reader._asked
            for number in range(100, 140):
                await put(redis, number)
                await until("an empty stream", lambda: _is_empty(redis))
            assert reader._asked > 2 * few


async def test_what_is_done_leaves_no_attempts_and_a_worker_that_ended_no_name(redis: Any, quick_retries: None) -> None:
    async with opened() as (admin, _):
        sink = WritingSink()
        sink.refused = {2}
        async with reading(redis, admin, sink):
            await put(redis, 1, 2, key="")
            await until("a failure", lambda: redis.hlen(stream_reader._attempts_key(ADMIN)))
            assert [each["name"] for each in await redis.xinfo_consumers(ADMIN, GROUP)] == [b"one"]
            sink.refused = set()
            await until_arrived(admin, 2)
            await until("an empty stream", lambda: _is_empty(redis))
            assert await redis.hgetall(stream_reader._attempts_key(ADMIN)) == {}
        assert await redis.xinfo_consumers(ADMIN, GROUP) == []
