"""The statements over the outbox, the same on every database: who sends what, what is sent again, what goes."""

import asyncio
from datetime import timedelta

import pytest

from app_kernel.core import clock
from app_kernel.core.outbox import Message
from app_kernel.db.outbox import rows as rows_module
from app_kernel.db.outbox.dead_letters import list_dead_letters, list_waiting, retry_dead_letter
from app_kernel.db.outbox.inbox import write_batch
from app_kernel.db.outbox.rows import Lag, OutboxRows, OutOfStep
from tests.outbox.carrying import ALL_BACKENDS, LOCAL, WritingSink, arrived, numbered, opened_on, send

pytestmark = pytest.mark.parametrize("backend", ALL_BACKENDS)


async def test_of_two_who_send_after_one_mark_one_is_out_of_step(backend: str, request: pytest.FixtureRequest) -> None:
    async with opened_on(backend, request) as (app, _):
        await send(app, *numbered(range(20), topic=LOCAL))
        rows = OutboxRows(app.driver)
        seqs = [row.seq for row in await rows.unsent(LOCAL, 0, 100)]
        for pair in zip(seqs[::2], seqs[1::2], strict=True):
            mark = (await rows.epoch()).mark
            ended = await asyncio.gather(*(rows.mark_sent([seq], mark) for seq in pair), return_exceptions=True)
            assert sorted(type(each).__name__ for each in ended) == ["NoneType", "OutOfStep"]
            assert (await rows.epoch()).mark == mark.next()
        assert len(await rows.unsent(LOCAL, 0, 100)) == 10


async def test_what_was_sent_after_a_batch_is_sent_again_in_steps(
    backend: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "RESENT_AT_ONCE", 2)
    async with opened_on(backend, request) as (app, _):
        await send(app, *numbered(range(7), topic=LOCAL))
        rows = OutboxRows(app.driver)
        first, *later = [row.seq for row in await rows.unsent(LOCAL, 0, 100)]
        mark = (await rows.epoch()).mark
        for number, seq in enumerate([first, *later]):
            await rows.mark_sent([seq], (await rows.epoch()).mark)
            assert (await rows.epoch()).mark.number == mark.number + number + 1
        with pytest.raises(OutOfStep):
            await rows.send_again(mark, 1)
        assert await rows.unsent(LOCAL, 0, 100) == []
        assert await rows.send_again((await rows.epoch()).mark, 1) == len(later)
        assert [row.seq for row in await rows.unsent(LOCAL, 0, 100)] == later
        assert await rows.send_again((await rows.epoch()).mark, 1) == 0


async def test_what_is_past_its_time_goes_some_at_a_time_and_nothing_else(
    backend: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "PRUNED_AT_ONCE", 2)
    async with opened_on(backend, request) as (app, _):
        db = app.connection().privileged
        await send(app, *numbered(range(8), topic=LOCAL))
        rows = OutboxRows(app.driver)
        *old, fresh, waits = [row.seq for row in await rows.unsent(LOCAL, 0, 100)]
        await rows.mark_sent([*old, fresh], (await rows.epoch()).mark)
        async with db.transaction():
            await write_batch(db, WritingSink(), numbered(range(6)))
        long_ago = clock.to_text(clock.now() - timedelta(days=30))
        for seq in old:
            await db.execute("UPDATE [kernel_outbox] SET [sent_at] = ? WHERE [seq] = ?", (long_ago, seq))
        known = [row[0] for row in await db.execute("SELECT [id] FROM [kernel_inbox] ORDER BY [id]")]
        for id in known[:5]:
            await db.execute("UPDATE [kernel_inbox] SET [received_at] = ? WHERE [id] = ?", (long_ago, id))
        await rows.prune()
        left = await db.execute("SELECT [seq] FROM [kernel_outbox] ORDER BY [seq]")
        assert [row[0] for row in left] == [fresh, waits]
        assert [row[0] for row in await db.execute("SELECT [id] FROM [kernel_inbox]")] == known[5:]


async def test_a_buried_message_is_one_dead_letter_whole_and_waits_again_under_its_id(
    backend: str, request: pytest.FixtureRequest
) -> None:
    body = {"text": "it's \\ 100 % [sure]? ü 𝄞 \n", "none": None, "deep": [1.5, {"a": True}]}
    async with opened_on(backend, request) as (app, _):
        db = app.connection()
        await send(app, Message(LOCAL, body, "key", id="x" * 191), *numbered([1], topic=LOCAL))
        rows = OutboxRows(app.driver)
        row, other = await rows.unsent(LOCAL, 0, 100)
        await rows.count_attempt(row.seq)
        await rows.bury(row.seq, "why")
        await rows.bury(row.seq, "another time")
        (letter,) = await list_dead_letters(db, topic=LOCAL)
        assert (letter.id, letter.key, letter.body, letter.reason) == ("x" * 191, "key", body, "why")
        assert (letter.attempts, letter.created_at) == (2, row.message.created_at)
        assert await list_dead_letters(db) == [letter]
        assert await list_dead_letters(db, topic="another") == []
        assert (await rows.lag()).dead == 1
        assert await retry_dead_letter(db, letter.id)
        assert not await retry_dead_letter(db, letter.id)
        again = (await rows.unsent(LOCAL, other.seq, 100))[0]
        assert (again.message, again.attempts) == (row.message, 0)
        assert [(each.topic, each.unsent) for each in await list_waiting(db)] == [(LOCAL, 2)]
        lag = await rows.lag()
        assert (lag.unsent, lag.dead) == (2, 0)
        assert 0 < lag.oldest_seconds < 60
        assert isinstance(lag, Lag)


async def test_the_longest_ids_and_topics_are_known_apart_in_the_inbox(
    backend: str, request: pytest.FixtureRequest
) -> None:
    topics = ["t" * 191, "t" * 190 + "T"]
    ids = ["x" * 190 + "y", "x" * 190 + "Y", "x" * 190 + " "]
    messages = [Message(topic, {"n": n}, id=id) for n, (topic, id) in enumerate((t, i) for t in topics for i in ids)]
    async with opened_on(backend, request) as (_, admin):
        db, sink = admin.connection(), WritingSink()
        for _ in range(2):
            async with db.transaction():
                outcome = await write_batch(db, sink, messages)
            assert len(outcome.written) == 6
        assert sink.calls == 1
        assert await arrived(admin) == list(range(6))
