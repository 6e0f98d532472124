"""What a message may be, what a receiver knows it by, and how long."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app_kernel.core import clock
from app_kernel.core.errors import UnsupportedValue
from app_kernel.core.events import EntityChanged
from app_kernel.core.outbox import Message
from app_kernel.db.database import Database
from app_kernel.db.outbox import channel
from app_kernel.db.outbox.dead_letters import count_dead, list_dead_letters, retry_dead_letter
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
    until_empty,
)

SOUND = Message(LOCAL, {"n": 1}, "k")
WRONG: list[dict[str, Any]] = [
    {"id": ""},
    {"id": "x" * 192},
    {"id": 7},
    {"id": "a\0b"},
    {"id": "a\ud800b"},
    {"topic": ""},
    {"topic": "x" * 192},
    {"topic": "two words"},
    {"topic": None},
    {"key": "x" * 501},
    {"key": 7},
    {"key": "a\0b"},
    {"created_at": "yesterday"},
    {"created_at": None},
    {"created_at": "2026-11-22T21:10:04Z"},
    {"created_at": "2026-11-22T21:10:04.123456"},
    {"created_at": "2026-13-22T21:10:04.123456Z"},
    {"created_at": "2026-02-30T21:10:04.123456Z"},
    {"created_at": "2026-11-22T24:00:00.000000Z"},
    {"created_at": "2026-11-22T21:10:04.123456Z\n"},
    {"body": [1]},
    {"body": {"n": {1}}},
]


@pytest.mark.parametrize("change", WRONG, ids=lambda change: f"{change}"[:40])
async def test_a_message_that_could_not_be_carried_is_refused_where_it_is_written(change: dict[str, Any]) -> None:
    async with opened() as (app, _):
        with pytest.raises(UnsupportedValue):
            await send(app, SOUND, replace(SOUND, **change))
        assert (await OutboxRows(app.driver).lag()).unsent == 0


@pytest.mark.parametrize("backend", BACKENDS)
async def test_the_longest_texts_of_a_message_arrive(backend: str, request: pytest.FixtureRequest) -> None:
    topic = "test:" + "x" * 186
    async with opened_on(backend, request) as (app, _):
        async with relaying(app, Receivers({topic: WritingSink()})):
            await send(app, Message(topic, {"n": 1}, "ü" * 500, "ß" * 191, "1999-01-01T00:00:00.000000Z"))
            await until_empty(app)
        assert await arrived(app) == [1]


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_recorder_that_makes_such_a_message_refuses_the_change(
    backend: str, request: pytest.FixtureRequest
) -> None:
    def record(change: EntityChanged) -> Iterable[Message]:
        yield Message(LOCAL, {}, id="")

    async with opened_on(backend, request) as (app, _):
        recorded = Database(app.driver, recorders=(record,)).connection()
        with pytest.raises(UnsupportedValue, match="id of a message"):
            await recorded.save_entity("things", {"id": "a"})
        with pytest.raises(UnsupportedValue, match="id of a message"):
            await recorded.save_entity("things", {"n": 1})
        assert await app.connection().find_entities("things") == []


@pytest.mark.parametrize("backend", BACKENDS)
async def test_two_topics_may_use_one_id(backend: str, request: pytest.FixtureRequest) -> None:
    both = Message(ADMIN, {"n": 1}, id="orders/1/v1"), Message("admin:b", {"n": 2}, id="orders/1/v1")
    async with opened_on(backend, request) as (app, admin):
        sink = WritingSink()
        async with relaying(app, Receivers({ADMIN: sink, "admin:b": sink}, admin=admin.connection)):
            await send(app, *both)
            await until_empty(app)
            await send(app, *both)
            await until_empty(app)
        assert sorted(await arrived(admin)) == [1, 2]


async def test_a_topic_and_an_id_are_not_taken_for_others_that_read_the_same_together() -> None:
    one, other = Message("test:a", {"n": 1}, id="b c"), Message("test:a:b", {"n": 2}, id="c")
    third = Message("test:a", {"n": 3}, id="b:c")
    async with opened() as (app, _):
        sink = WritingSink()
        async with relaying(app, Receivers({"test:a": sink, "test:a:b": sink})):
            await send(app, one, other, third)
            await until_empty(app)
        assert sorted(await arrived(app)) == [1, 2, 3]


@pytest.mark.parametrize("backend", BACKENDS)
async def test_two_dead_letters_of_one_id_are_both_kept_and_sent_again(
    backend: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "RETRY_SECONDS", (0.02,) * 4)
    async with opened_on(backend, request) as (app, _):
        sink = WritingSink()
        sink.refused = {1, 2}
        async with relaying(app, Receivers({"test:a": sink, "test:b": sink})):
            await send(app, Message("test:a", {"n": 1}, id="x"), Message("test:b", {"n": 2}, id="x"))
            await until_empty(app)
            dead = await list_dead_letters(app.connection())
            assert sorted((each.id, each.topic) for each in dead) == [("x", "test:a"), ("x", "test:b")]
            sink.refused = set()
            assert await retry_dead_letter(app.connection(), "x")
            await until_empty(app)
        assert sorted(await arrived(app)) == [1, 2]
        assert await count_dead(app.connection()) == 0


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_receiver_without_a_relay_of_its_own_forgets_what_is_past_its_time(
    backend: str, request: pytest.FixtureRequest
) -> None:
    async with opened_on(backend, request) as (app, admin):
        db = admin.connection().privileged
        days = {"month": 30, "eight": 8, "six": 6}
        for name, age in days.items():
            at = clock.to_text(clock.now() - timedelta(days=age))
            await db.execute("INSERT INTO [kernel_inbox] ([id], [received_at]) VALUES (?, ?)", (name, at))
        async with relaying(app, Receivers({ADMIN: WritingSink()}, admin=admin.connection)):
            await send(app, *numbered([1]))
            await until_empty(app)
        kept = [row[0] for row in await db.execute("SELECT [id] FROM [kernel_inbox] ORDER BY [received_at]")]
        assert kept[0] == "six"
        assert len(kept) == 2


async def test_a_receiver_that_cannot_forget_is_written_to_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(db: object) -> bool:
        raise ValueError("hunter2")

    monkeypatch.setattr(channel, "prune_inbox", broken)
    async with opened() as (app, admin):
        async with relaying(app, Receivers({ADMIN: WritingSink()}, admin=admin.connection)):
            for number in range(3):
                await send(app, *numbered([number]))
                await until_empty(app)
        assert await arrived(admin) == [0, 1, 2]
    assert [record.getMessage() for record in caplog.records].count("inbox_prune_failed") == 1
