"""Flags in memory: no read for an evaluation, never older than a second, through outages and without signals."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app_kernel import FEATURES
from app_kernel.core.errors import FlagError, StorageReadOnly, Unavailable
from app_kernel.db import connect
from app_kernel.flags import create_feature, flag_enabled, list_flags, list_unused_flags, live, set_flag, store, uses
from app_kernel.testing import kernel_client
from tests.flags.serving import live_of, serving
from tests.redis_beside import redis_beside
from tests.small_service import small_app

AT = datetime(2026, 1, 1, tzinfo=UTC)


class Reads:
    """Counts what is read of flags, and lets it fail or hang."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tokens = self.rows = 0
        self.failure: Exception | None = None
        self.hang: asyncio.Event | None = None
        self.hang_after: asyncio.Event | None = None
        """The token is read, and the answer is slow to come."""
        read_token, all_rows = store.read_token, store.all_rows

        async def token(db: Any) -> Any:
            self.tokens += 1
            if self.hang is not None:
                await self.hang.wait()
            if self.failure is not None:
                raise self.failure
            found = await read_token(db)
            if self.hang_after is not None:
                await self.hang_after.wait()
            return found

        async def rows(db: Any) -> Any:
            self.rows += 1
            return await all_rows(db)

        monkeypatch.setattr(store, "read_token", token)
        monkeypatch.setattr(store, "all_rows", rows)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


async def settled(client: Any) -> None:
    """Waits for the look that is under way."""
    reading = live_of(client)._reading
    if reading is not None:
        await reading


def names(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "app_kernel.flags"]


async def test_evaluations_read_nothing_for_half_a_second_and_then_one_token(reads):
    async with serving("sqlite://:memory:", frozen=AT) as client:
        db = client.db
        await set_flag(db, "f", enabled=True)
        assert await flag_enabled(db, "f")
        await settled(client)
        before = (reads.tokens, reads.rows)
        for user in range(1000):
            assert await flag_enabled(db, "f", user_id=str(user))
            assert not await flag_enabled(db, "unknown", user_id=str(user))
        assert (reads.tokens, reads.rows) == before
        client.clock.advance(live.LOOK_AFTER)
        assert [await flag_enabled(db, "f") for _ in range(10)] == [True] * 10
        await settled(client)
        assert (reads.tokens, reads.rows) == (before[0] + 1, before[1])


@pytest.mark.acceptance("RL7")
async def test_without_any_signal_an_evaluation_goes_by_what_is_a_second_old_at_most(database, reads):
    async with serving(database, frozen=AT) as client, connect(database) as script:
        assert await flag_enabled(client.db, "f") is False
        await settled(client)
        await set_flag(script, "f", enabled=True)
        client.clock.advance(0.49)
        assert await flag_enabled(client.db, "f") is False
        client.clock.advance(0.02)
        assert await flag_enabled(client.db, "f") is False, "this one only has it looked"
        await settled(client)
        assert await flag_enabled(client.db, "f") is True
        await set_flag(script, "f", enabled=False)
        client.clock.advance(0.95)
        assert await flag_enabled(client.db, "f") is False, "this one waits"
        client.clock.advance(-3600)
        await set_flag(script, "f", enabled=True)
        assert await flag_enabled(client.db, "f") is True, "a clock that moved back keeps nothing"


async def test_an_evaluation_in_a_transaction_looks_outside_of_it(caplog):
    async with serving("sqlite://:memory:", frozen=AT) as client:
        db = client.db
        await set_flag(db, "f", enabled=True)
        async with db.transaction():
            await db.save_entity("notes", {"name": "n"})
            for _ in range(3):
                client.clock.advance(2)
                assert await flag_enabled(db, "f") is True
        assert live_of(client)._read_at == live.clock.monotonic()
        assert names(caplog) == []


@pytest.mark.acceptance("RL7")
async def test_a_signal_is_enough_for_another_service(database):
    # The clock stands still, so that nobody looks because of its age.
    async with serving(database, frozen=AT) as one, serving(database) as other:
        for wanted in (True, False):
            await set_flag(one.db, "f", enabled=wanted)
            async with asyncio.timeout(10):
                while await flag_enabled(other.db, "f") is not wanted:  # noqa: ASYNC110 - what is asked for again
                    await asyncio.sleep(0.005)
            assert live_of(other).until > 0


async def test_plain_sql_is_seen_within_a_minute(reads):
    async with serving("sqlite://:memory:", frozen=AT) as client:
        await set_flag(client.db, "f", enabled=True)
        assert await flag_enabled(client.db, "f")
        await settled(client)
        await client.db.execute("UPDATE [kernel_flags] SET [enabled] = ?", (False,))
        for _ in range(59):
            client.clock.advance(1)
            last = await flag_enabled(client.db, "f")
        client.clock.advance(1)
        assert (last, await flag_enabled(client.db, "f")) == (True, False)


async def test_while_the_database_is_away_the_last_flags_count_and_one_line_says_so(reads, caplog):
    async with serving("sqlite://:memory:", frozen=AT) as client:
        db = client.db
        await set_flag(db, "f", enabled=True)
        assert await flag_enabled(db, "f")
        await settled(client)
        reads.failure = Unavailable("away")
        for _ in range(20):
            client.clock.advance(1)
            assert await flag_enabled(db, "f") is True
            await settled(client)
        assert names(caplog) == ["flags_are_stale"]
        before = reads.tokens
        assert [await flag_enabled(db, "f") for _ in range(100)] == [True] * 100
        assert reads.tokens == before, "an outage is not asked about at each evaluation"
        reads.failure = None
        await store.save_row(db, "f", {"enabled": False})
        await store.hold_flags(db)
        with caplog.at_level(logging.INFO, "app_kernel.flags"):
            client.clock.advance(1)
            await flag_enabled(db, "f")
            await settled(client)
        assert await flag_enabled(db, "f") is False
        assert names(caplog)[1:] == ["flags_read_again"]


async def test_a_database_that_does_not_answer_is_waited_for_once(reads, caplog, monkeypatch):
    monkeypatch.setattr(live, "PATIENCE", 0.3)
    async with serving("sqlite://:memory:", frozen=AT) as client:
        db = client.db
        await set_flag(db, "f", enabled=True)
        assert await flag_enabled(db, "f")
        await settled(client)
        reads.hang = asyncio.Event()
        client.clock.advance(2)
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await asyncio.gather(*(flag_enabled(db, "f") for _ in range(50))) == [True] * 50
        assert 0.29 < loop.time() - began < 3
        tokens = reads.tokens
        client.clock.advance(2)
        began = loop.time()
        assert await asyncio.gather(*(flag_enabled(db, "f") for _ in range(50))) == [True] * 50
        assert loop.time() - began < 0.29
        assert reads.tokens == tokens
        assert names(caplog) == ["flags_are_stale"]
        reads.hang.set()
        await settled(client)
        assert not live_of(client)._failing


async def test_before_the_flags_were_ever_read_nobody_guesses(reads, caplog):
    reads.failure = Unavailable("away")
    async with serving("sqlite://:memory:") as client:
        for _ in range(3):
            with pytest.raises(Unavailable, match="feature flags"):
                await flag_enabled(client.db, "f", user_id="u")
        assert (await client.get("/flags/check?names=f")).status_code == 503
        assert names(caplog) == ["flags_not_read"]
        reads.failure = None
        assert await flag_enabled(client.db, "f", user_id="u") is False


@pytest.mark.acceptance("RL7")
async def test_a_read_that_began_before_a_change_does_not_hide_it(reads):
    async with serving("sqlite://:memory:") as client:
        db = client.db
        await settled(client)
        answered = reads.hang_after = asyncio.Event()
        look = live_of(client)._look()
        while reads.tokens < 2:  # noqa: ASYNC110 - its answer is held back from here on
            await asyncio.sleep(0.001)
        await set_flag(db, "f", enabled=True)
        asked = asyncio.create_task(flag_enabled(db, "f"))
        await asyncio.sleep(0)
        reads.hang_after = None
        answered.set()
        await look
        assert await asked is True


async def test_a_caller_who_leaves_does_not_end_the_read_of_the_others(reads):
    async with serving("sqlite://:memory:") as client:
        await settled(client)
        await set_flag(client.db, "f", enabled=True)
        reads.hang = asyncio.Event()
        live_of(client)._note_change()
        leaving, staying = (asyncio.create_task(flag_enabled(client.db, "f")) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.sleep(0)
        reads.hang.set()
        assert await staying is True
        assert leaving.cancelled()


async def test_uses_are_written_at_most_once_a_minute_and_at_the_end(monkeypatch, tmp_path):
    monkeypatch.setattr(uses, "COLLECT", 0.0)
    written: list[list[str]] = []
    write_uses, wrote = store.write_uses, asyncio.Event()

    async def write(db: Any, given: Any) -> None:
        await write_uses(db, given)
        written.append(sorted(given))
        wrote.set()

    monkeypatch.setattr(store, "write_uses", write)
    url = f"sqlite:///{tmp_path / 'app.db'}"
    async with serving(url) as client:
        for name in ("a", "b", "c"):
            await set_flag(client.db, name, enabled=True)
        await flag_enabled(client.db, "a")
        async with asyncio.timeout(10):
            await wrote.wait()
        assert written == [["a"]]
        for _ in range(50):
            await flag_enabled(client.db, "a")
            await flag_enabled(client.db, "b")
            await asyncio.sleep(0)
        assert written == [["a"]]
    assert written == [["a"], ["a", "b"]]
    async with connect(url) as db:
        assert [flag["name"] for flag in await list_flags(db) if flag["last_evaluated_at"] is None] == ["c"]


async def test_what_another_process_wrote_in_the_last_minute_stays(database):
    async with serving(database, frozen=AT) as client:
        db = client.db
        await set_flag(db, "f")
        for seconds, expected in ((0, 0), (59, 0), (1, 60)):
            client.clock.advance(seconds)
            await store.write_uses(db, ["f", "gone"])
            assert await store.last_uses(db, ["f", "gone"]) == {"f": AT + timedelta(seconds=expected)}


async def test_uses_that_cannot_be_written_harm_nobody(monkeypatch, caplog):
    async def refuse(db: Any, given: Any) -> None:
        raise StorageReadOnly

    async with serving("sqlite://:memory:") as client:
        await set_flag(client.db, "f", enabled=True)
        monkeypatch.setattr(store, "write_uses", refuse)
        for _ in range(3):
            assert await flag_enabled(client.db, "f")
            await live_of(client).uses.flush()
        assert names(caplog) == ["flag_uses_not_written"]


async def test_long_lists_of_many_flags_are_taken_in_without_holding_others_up(small_client, monkeypatch):
    db, pages = small_client.db, 4
    monkeypatch.setattr(store, "PAGE", 5)
    for number in range(pages * 5):
        await set_flag(db, f"f{number:02}", enabled=number % 2 == 0)
    turns = 0

    async def others():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    beside = asyncio.create_task(others())
    rules = await live._rules_of(await store.all_rows(db))
    beside.cancel()
    assert {name: rule.enabled for name, rule in rules.items()} == {
        f"f{number:02}": number % 2 == 0 for number in range(pages * 5)
    }
    assert turns >= 2 * pages - 1, "all of them were taken in at once"


async def test_a_service_that_was_made_without_flags_says_so_and_a_script_in_it_has_those_of_its_own(database):
    features = [each for each in FEATURES if each is not create_feature]
    async with kernel_client(small_app(features=features)) as client:
        for call in (
            set_flag(client.db, "f", enabled=True),
            flag_enabled(client.db, "f"),
            list_unused_flags(client.db),
        ):
            with pytest.raises(FlagError, match=r"no feature flags: .* FEATURES has it"):
                await call
        async with connect(database) as other:
            await set_flag(other, "f", enabled=True)
            assert await flag_enabled(other, "f") is True


async def test_the_first_rows_of_a_service_may_be_flags(database):
    async def seed(db: Any) -> None:
        await set_flag(db, "seeded", enabled=True)

    redis = redis_beside(database)
    async with kernel_client(small_app(db_seed=seed, **redis), database=database, **redis) as client:
        assert await flag_enabled(client.db, "seeded") is True
