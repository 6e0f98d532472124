"""The relay without Redis: it calls the sinks itself, once for each message in effect, and outlives whoever is away."""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta

import pytest

from app_kernel.core import cancellation, clock
from app_kernel.core.errors import StorageFull
from app_kernel.core.events import MessagesCarried
from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore
from app_kernel.db.database import Database
from app_kernel.db.outbox import channel, relay
from app_kernel.db.outbox.dead_letters import list_dead_letters, retry_dead_letter
from app_kernel.db.outbox.relay import Receivers
from app_kernel.db.outbox.rows import OutboxRows
from tests.outbox.carrying import (
    ADMIN,
    BACKENDS,
    LOCAL,
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


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "RETRY_SECONDS", (0.05, 0.05, 0.1, 0.1))


async def test_an_admin_message_without_its_app_is_of_the_service_that_carries_it_and_others_stay() -> None:
    heard: dict[str, object] = {}

    async def hear(db: EntityStore, messages: Sequence[Message]) -> None:
        heard.update({message.topic: message.body["app"] for message in messages})

    async with opened() as (app, admin):
        await send(app, Message(ADMIN, {"app": ""}), Message(LOCAL, {"app": ""}))
        async with relaying(app, Receivers({ADMIN: hear, LOCAL: hear}, admin=admin.connection, app="carrier")):
            await until_empty(app)
    assert heard == {ADMIN: "carrier", LOCAL: ""}


@pytest.mark.parametrize("backend", BACKENDS)
async def test_each_topic_arrives_in_the_database_that_it_names_once_and_in_order(
    backend: str, request: pytest.FixtureRequest
) -> None:
    async with opened_on(backend, request) as (app, admin):
        sink, count = WritingSink(), 1500 if backend == "sqlite" else 300
        async with relaying(app, Receivers({ADMIN: sink, LOCAL: sink}, admin=admin.connection)):
            for start in range(0, count, 100):
                await send(app, *numbered(range(start, start + 100)), *numbered(range(start, start + 100), topic=LOCAL))
            await until_empty(app, 60)
        assert await arrived(admin) == await arrived(app) == list(range(count))
        assert sink.calls < 200


async def test_a_commit_wakes_the_relay_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "POLL_SECONDS", 60.0)
    async with (
        opened() as (app, admin),
        relaying(app, Receivers({ADMIN: WritingSink()}, admin=admin.connection)) as running,
    ):
        await until("an active relay", lambda: asyncio.sleep(0, running.active))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await send(app, *numbered([1]))
        assert await until_arrived(admin, 1) == [1]
        assert time.monotonic() - began < 1


async def test_what_a_lost_signal_leaves_behind_is_found_by_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as (app, admin):
        monkeypatch.setattr(app.driver, "signal", lambda channel: None)
        async with relaying(app, Receivers({ADMIN: WritingSink()}, admin=admin.connection)):
            await asyncio.sleep(0.2)
            await send(app, *numbered([1]))
            assert await until_arrived(admin, 1, 5) == [1]


async def test_a_message_that_comes_again_is_dropped() -> None:
    async with opened() as (app, admin):
        messages = numbered(range(10))
        async with relaying(app, Receivers({ADMIN: WritingSink()}, admin=admin.connection)):
            await send(app, *messages)
            await until_empty(app)
            await send(app, *messages[:5], *messages, *numbered([10]))
            await until_empty(app)
        assert await arrived(admin) == list(range(11))


async def test_nothing_is_lost_or_counted_while_the_receiver_is_away() -> None:
    async with opened() as (app, admin):
        sink, heard = WritingSink(), list[MessagesCarried]()

        async def hear(carried: MessagesCarried) -> None:
            heard.append(carried)

        sink.away = StorageFull()
        async with relaying(app, Receivers({ADMIN: sink}, admin=admin.connection), report=hear):
            await send(app, *numbered(range(5)))
            await until("some tries", lambda: asyncio.sleep(0, sink.calls > 3))
            assert (await OutboxRows(app.driver).unsent(ADMIN, 0, 9))[0].attempts == 0
            sink.away = None
            began = time.monotonic()
            await until_empty(app, 8)
            assert time.monotonic() - began < 4
        assert await arrived(admin) == list(range(5))
        assert await list_dead_letters(app.connection()) == []
        assert sum(each.sent for each in heard) == 5
        assert sum(each.interrupted for each in heard) > 3


async def test_a_topic_whose_receiver_is_away_holds_up_no_other() -> None:
    async with opened() as (app, admin):
        away, well = WritingSink(), WritingSink()
        away.away = StorageFull()
        async with relaying(app, Receivers({ADMIN: away, LOCAL: well}, admin=admin.connection)):
            await send(app, *numbered(range(600)), *numbered(range(3), topic=LOCAL))
            assert await until_arrived(app, 3, 3) == [0, 1, 2]


@pytest.mark.acceptance("EV11")
@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_message_that_cannot_be_written_dies_with_its_reason_and_the_rest_flows(
    backend: str, request: pytest.FixtureRequest, quick_retries: None
) -> None:
    async with opened_on(backend, request) as (app, admin):
        sink, heard = WritingSink(), list[MessagesCarried]()

        async def hear(carried: MessagesCarried) -> None:
            heard.append(carried)

        sink.refused = {3}
        other = numbered(range(100, 103), key="other")
        async with relaying(app, Receivers({ADMIN: sink}, admin=admin.connection), report=hear):
            await send(app, *numbered(range(6)), *other)
            await until_arrived(admin, 6)
            assert await arrived(admin) == [0, 1, 2, 100, 101, 102], (
                "those behind it keep their order, others do not wait"
            )
            await until_empty(app)
            assert await arrived(admin) == [0, 1, 2, 100, 101, 102, 4, 5]
            (dead,) = await list_dead_letters(app.connection())
            assert (dead.topic, dead.key, dead.body, dead.attempts) == (ADMIN, "k", {"n": 3}, 5)
            assert dead.reason.startswith("ValueError at tests.outbox.carrying:")
            assert (sum(each.failed for each in heard), sum(each.dead for each in heard)) == (5, 1)
            sink.refused = set()
            assert await retry_dead_letter(app.connection(), dead.id)
            assert not await retry_dead_letter(app.connection(), dead.id)
            await until_arrived(admin, 9)
        assert await list_dead_letters(app.connection()) == []


async def test_what_follows_a_refused_message_of_its_key_waits_until_that_is_written(
    quick_retries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails_twice(db: EntityStore, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.body["n"] == 3 and len(failures) < 4:
                failures.append(len(messages))
                raise ValueError
            await db.save_entity("arrived", {"n": message.body["n"]})

    failures: list[int] = []
    monkeypatch.setattr(channel, "RETRY_SECONDS", (0.3, 0.3, 0.3, 0.3))
    async with opened() as (app, admin):
        async with relaying(app, Receivers({ADMIN: fails_twice}, admin=admin.connection)):
            await send(app, *numbered(range(6)))
            assert await until_arrived(admin, 6) == list(range(6))
        assert len(failures) == 4


async def test_a_sink_that_is_too_slow_for_a_batch_gets_smaller_ones() -> None:
    async def slow(db: EntityStore, messages: Sequence[Message]) -> None:
        sizes.append(len(messages))
        await asyncio.sleep(0.01 * len(messages))
        for message in messages:
            await db.save_entity("arrived", {"n": message.body["n"]})

    sizes: list[int] = []
    async with opened() as (app, admin):
        store = admin.connection()
        original = type(store).transaction
        type(store).transaction = lambda self, *, seconds=0.3: original(self, seconds=seconds)  # type: ignore[method-assign]
        try:
            async with relaying(app, Receivers({ADMIN: slow}, admin=admin.connection)):
                await send(app, *numbered(range(100)))
                await until_empty(app)
        finally:
            type(store).transaction = original  # type: ignore[method-assign]
        assert await arrived(admin) == list(range(100))
        assert max(sizes) == 100
        assert await list_dead_letters(app.connection()) == []


async def test_one_message_that_takes_too_long_by_itself_dies_and_the_rest_flows(quick_retries: None) -> None:
    async def stuck(db: EntityStore, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.body["n"] == 1:
                await asyncio.sleep(60)
            await db.save_entity("arrived", {"n": message.body["n"]})

    async with opened() as (app, admin):
        from app_kernel.db.outbox import inbox

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(inbox, "TRANSACTION_SECONDS", 0.1)
            async with relaying(app, Receivers({ADMIN: stuck}, admin=admin.connection)):
                await send(app, *numbered(range(2), key=""), *numbered(range(2, 4), key=""))
                await until_empty(app)
        assert sorted(await arrived(admin)) == [0, 2, 3]
        assert [dead.body for dead in await list_dead_letters(app.connection())] == [{"n": 1}]


async def has_left(app: Database) -> bool:
    """Whether the rows of the known topic are gone; they are so a moment after they arrived."""
    return not await OutboxRows(app.driver).unsent(ADMIN, 0, 1)


async def test_a_topic_that_nobody_here_knows_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    async with opened() as (app, admin):
        await send(app, *numbered([1], topic="admin:newer"))
        async with relaying(app, Receivers({ADMIN: WritingSink()}, admin=admin.connection)) as running:
            await send(app, *numbered([2]))
            assert await until_arrived(admin, 1) == [2]
            await until("the end of its row", lambda: has_left(app))
            assert (await running.lag()).unsent == 1


async def test_rows_with_lower_numbers_that_commit_later_are_carried_too() -> None:
    async def insert(seq: int, number: int) -> None:
        await app.connection().privileged.execute(
            "INSERT INTO [kernel_outbox] ([seq], [id], [topic], [key], [body], [created_at])"
            " VALUES (?, ?, ?, '', ?, ?)",
            (seq, f"m{number}", ADMIN, f'{{"n": {number}}}', clock.timestamp()),
        )

    async with opened() as (app, admin), relaying(app, Receivers({ADMIN: WritingSink()}, admin=admin.connection)):
        await insert(1000, 1)
        await until_arrived(admin, 1)
        await insert(500, 2)
        assert await until_arrived(admin, 2) == [1, 2]


async def test_a_row_that_is_no_message_dies(quick_retries: None) -> None:
    async with opened() as (app, admin):
        await app.connection().privileged.execute(
            "INSERT INTO [kernel_outbox] ([id], [topic], [key], [body], [created_at]) VALUES ('x', ?, '', '[1', ?)",
            (ADMIN, clock.timestamp()),
        )
        async with relaying(app, Receivers({ADMIN: WritingSink()}, admin=admin.connection)):
            await send(app, *numbered([1]))
            await until_empty(app)
            assert await arrived(admin) == [1]
        assert [(dead.id, dead.body) for dead in await list_dead_letters(app.connection())] == [("x", None)]


@pytest.mark.parametrize("backend", BACKENDS)
async def test_one_relay_is_active_and_another_takes_over_when_it_stops(
    backend: str, request: pytest.FixtureRequest
) -> None:
    async with opened_on(backend, request) as (app, admin):
        sink = WritingSink()
        receivers = Receivers({ADMIN: sink}, admin=admin.connection)
        async with relaying(app, receivers) as standby_later:
            await until("an active relay", lambda: asyncio.sleep(0, standby_later.active))
            async with relaying(app, receivers) as other:
                await asyncio.sleep(1.2)
                assert not other.active
                await standby_later.stop()
                await until("the other relay", lambda: asyncio.sleep(0, other.active), 3)
                await send(app, *numbered([1]))
                assert await until_arrived(admin, 1) == [1]


async def test_stopping_delivers_what_is_there_and_does_not_wait_for_one_that_is_away() -> None:
    async with opened() as (app, admin):
        sink = WritingSink()
        async with relaying(app, Receivers({ADMIN: sink}, admin=admin.connection)) as running:
            await until("an active relay", lambda: asyncio.sleep(0, running.active))
            await send(app, *numbered(range(50)))
        assert await arrived(admin) == list(range(50))
        sink.away = StorageFull()
        async with relaying(app, Receivers({ADMIN: sink}, admin=admin.connection)) as running:
            await until("an active relay", lambda: asyncio.sleep(0, running.active))
            await send(app, *numbered(range(50, 60)))
            began = time.monotonic()
        assert time.monotonic() - began < relay.GRACE_SECONDS + 1


@pytest.mark.parametrize("backend", BACKENDS)
async def test_what_is_past_its_time_is_forgotten(backend: str, request: pytest.FixtureRequest) -> None:
    async with opened_on(backend, request) as (app, _):
        rows = OutboxRows(app.driver)
        await send(app, *numbered(range(2500), topic="admin:a"))
        sent = [row.seq for row in await rows.unsent("admin:a", 0, 2500)]
        first = (await rows.epoch()).mark
        with clock.frozen() as frozen:
            await rows.mark_sent(sent[:2400], first)
            frozen.advance(timedelta(hours=23).total_seconds())
            await rows.mark_sent(sent[2400:2450], first.next())
            await rows.prune()
            frozen.advance(timedelta(hours=2).total_seconds())
            await rows.prune()
            kept = await app.connection().privileged.execute("SELECT COUNT(*) FROM [kernel_outbox]")
            assert kept[0][0] == 100
            assert await rows.send_again(first.next().next(), 0) == 50


async def test_the_relay_outlives_an_outbox_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as (app, admin):
        original, failures = app.driver.fetch, [0]

        async def broken(sql: str, params: Sequence[object], **options: bool) -> list[tuple[object, ...]]:
            failures[0] += 1
            raise StorageFull

        async with relaying(app, Receivers({ADMIN: WritingSink()}, admin=admin.connection)) as running:
            await until("an active relay", lambda: asyncio.sleep(0, running.active))
            monkeypatch.setattr(app.driver, "fetch", broken)
            await asyncio.sleep(2)
            assert 0 < failures[0] < 20, "a loop that does not wait"
            monkeypatch.setattr(app.driver, "fetch", original)
            await send(app, *numbered([1]))
            assert await until_arrived(admin, 1) == [1]


async def test_a_relay_that_loses_its_lease_begins_anew_also_where_a_sink_overhears_its_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cancellation, "ASK_AGAIN_SECONDS", 0.05)
    async with opened() as (app, admin):
        sink, reached, overheard = WritingSink(), asyncio.Event(), 0

        async def stubborn(db: EntityStore, messages: Sequence[Message]) -> None:
            nonlocal overheard
            while overheard < 3:
                reached.set()
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    overheard += 1
            await sink(db, messages)

        async with relaying(app, Receivers({ADMIN: stubborn}, admin=admin.connection)):
            await send(app, *numbered([1]))
            await reached.wait()
            with monkeypatch.context() as patched:
                patched.setattr(relay, "_renewed", lambda lease: asyncio.sleep(0, False))
                await until("a sink that was cancelled", lambda: asyncio.sleep(0, overheard))
            assert await until_arrived(admin, 1) == [1]
