"""When events are recorded, and when listeners hear of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app_kernel import Feature
from app_kernel.core import clock, emitter
from app_kernel.core.context import current_context
from app_kernel.core.errors import TransactionInOtherTask, UnsupportedValue
from app_kernel.core.events import SecurityEvent, UserRegistered
from app_kernel.core.kernel import Kernel
from app_kernel.core.outbox import Message
from tests.security.event_world import ADDRESS, RecorderBroke, World, running

MEMORY = "sqlite://:memory:"
CHANGED = SecurityEvent("flag.changed", None, ADDRESS, {})
REFUSED = SecurityEvent("api_key.refused", None, ADDRESS, {})


class Undo(Exception):
    pass


@asynccontextmanager
async def listening(*listeners: Callable[[Kernel, Any], Any], event: type = SecurityEvent) -> AsyncIterator[World]:
    features = [Feature(name=f"listener{at}", listeners={event: each}) for at, each in enumerate(listeners)]
    async with running(MEMORY, *features, audit_enabled=False) as world:
        yield world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with listening() as running_:
        yield running_


async def test_outside_of_a_transaction_emit_returns_when_all_have_heard():
    heard: list[str] = []

    async def slow(kernel: Kernel, event: SecurityEvent) -> None:
        await asyncio.sleep(0)
        heard.append("slow")

    async with listening(slow) as world:
        await world.kernel.emit(CHANGED)
        assert heard == ["slow"]
        assert await world.names() == ["flag.changed"]


async def test_an_async_listener_hears_after_the_commit_in_no_transaction_and_as_who_made_the_change():
    heard: list[tuple[bool, Any]] = []
    done = asyncio.Event()

    async def listen(kernel: Kernel, event: SecurityEvent) -> None:
        heard.append((kernel.db.statements.in_transaction, current_context().job_id))
        done.set()

    async with listening(listen) as world:
        async with world.db.transaction():
            with world.here(job_id="j1"):
                await world.kernel.emit(CHANGED)
            await asyncio.sleep(0)
            assert heard == []
        await asyncio.wait_for(done.wait(), 5)
    assert heard == [(False, "j1")]


async def test_a_slow_listener_holds_up_no_plain_one_and_is_waited_for_at_shutdown():
    heard: list[str] = []
    go = asyncio.Event()

    async def slow(kernel: Kernel, event: SecurityEvent) -> None:
        await go.wait()
        await kernel.db.connection().count_entities("notes")
        heard.append("slow")

    async with listening(slow, lambda kernel, event: heard.append("plain")) as world:
        async with world.db.transaction():
            await world.kernel.emit(CHANGED)
        assert heard == ["plain"]
        asyncio.get_running_loop().call_later(0.02, go.set)
    assert heard == ["plain", "slow"]


async def test_what_a_listener_tells_in_its_turn_is_waited_for_at_shutdown_too():
    heard: list[str] = []

    go = asyncio.Event()

    async def listen(kernel: Kernel, event: SecurityEvent) -> None:
        if not heard:
            heard.append("first")
            async with kernel.db.connection().transaction():
                await kernel.emit(CHANGED)
            asyncio.get_running_loop().call_later(0.02, go.set)
        else:
            await go.wait()
            heard.append("second")

    async with listening(listen) as world:
        async with world.db.transaction():
            await world.kernel.emit(CHANGED)
        await world.kernel.end_telling()
        assert heard == ["first", "second"]


async def test_a_listener_that_never_ends_is_cut_off_at_shutdown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(emitter, "LAST_WORDS", 0.01)
    cut_off: list[bool] = []

    async def stuck(kernel: Kernel, event: SecurityEvent) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cut_off.append(True)
            raise

    async with listening(stuck) as world:
        async with world.db.transaction():
            await world.kernel.emit(CHANGED)
        await asyncio.sleep(0)
    assert cut_off == [True]


async def test_a_listener_that_fails_is_counted_and_harms_nobody():
    heard: list[str] = []

    def plain(kernel: Kernel, event: SecurityEvent) -> None:
        raise RuntimeError

    async def fails(kernel: Kernel, event: SecurityEvent) -> None:
        raise RuntimeError

    async def last(kernel: Kernel, event: SecurityEvent) -> None:
        heard.append("last")

    async with listening(plain, fails, last) as world:
        async with world.db.transaction():
            await world.kernel.emit(CHANGED)
        await world.kernel.end_telling()
        assert world.kernel.listener_failures == 2
        assert await world.names() == ["flag.changed"]
    assert heard == ["last"]


async def test_a_savepoint_that_is_taken_back_takes_its_events_back_alone(world: World):
    async with world.db.transaction():
        await world.kernel.emit(CHANGED)
        with pytest.raises(Undo):
            async with world.db.transaction():
                await world.kernel.emit(CHANGED)
                raise Undo
    assert await world.names() == ["flag.changed"]
    assert len(world.heard) == 1


async def test_a_message_that_cannot_be_stored_refuses_the_change_and_the_rest_of_the_transaction_stands(world: World):
    def nonsense(kernel: Kernel, event: SecurityEvent) -> list[Message]:
        return [Message("no topic", {})]

    world.kernel._emitter._recorders[SecurityEvent] = (nonsense,)
    async with world.db.transaction():
        await world.db.save_entity("notes", {"id": "kept"})
        with pytest.raises(UnsupportedValue):
            async with world.db.transaction():
                await world.db.save_entity("notes", {"id": "refused"})
                await world.kernel.emit(CHANGED)
    assert [row["id"] for row in await world.db.find_entities("notes")] == ["kept"]
    assert world.heard == []


async def test_a_task_that_inherited_a_transaction_makes_no_change_and_tells_of_none(world: World):
    async with world.db.transaction():
        with pytest.raises(TransactionInOtherTask):
            await asyncio.create_task(world.kernel.emit(CHANGED))
    assert (await world.names(), world.heard) == ([], [])


async def test_a_refusal_is_recorded_whatever_becomes_of_the_open_transaction(world: World):
    with pytest.raises(Undo):
        async with world.db.transaction():
            await world.db.save_entity("notes", {"id": "undone"})
            await world.kernel.emit(REFUSED)
            await asyncio.create_task(world.kernel.emit(REFUSED))
            assert len(world.heard) == 2
            raise Undo
    await world.kernel.end_telling()
    assert await world.names() == ["api_key.refused"] * 2


async def test_a_refusal_does_not_wait_for_a_database_that_does_not_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(emitter, "PATIENCE", 0.02)
    began, answered = asyncio.Event(), asyncio.Event()

    async def write_for_long() -> None:
        async with world.db.transaction():
            await world.db.save_entity("notes", {"id": "long"})
            began.set()
            await answered.wait()

    writing = asyncio.create_task(write_for_long())
    await began.wait()
    await world.kernel.emit(REFUSED)
    answered.set()
    await writing
    await world.kernel.end_telling()
    assert await world.names() == ["api_key.refused"]


async def test_a_refusal_that_cannot_be_recorded_is_counted_and_told(world: World):
    with world.broken_recorder():
        await world.kernel.emit(REFUSED)
    assert (await world.names(), len(world.heard), world.kernel.listener_failures) == ([], 1, 1)


async def test_each_address_has_a_share_of_the_refusals_and_a_new_one_every_minute(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(emitter, "MOST_ALIKE", 2)
    monkeypatch.setattr(emitter, "MOST_REFUSALS", 5)
    shares = emitter._Shares()

    def take(address: str, name: str = "api_key.refused") -> bool:
        return shares.take(SecurityEvent(name, None, address, {}))

    with clock.frozen() as time:
        assert [take("2001:db8::1"), take("2001:db8::2"), take("2001:db8::3")] == [True, True, False]
        assert [take("192.0.2.1"), take("192.0.2.1", "auth.login_failed"), take("192.0.2.2")] == [True, True, True]
        assert not take("192.0.2.3")
        time.advance(61)
        assert take("192.0.2.3")
        assert take("2001:db8::1")


async def test_a_listener_that_is_a_part_of_the_commit_still_refuses_it():
    def refuse(kernel: Kernel, event: UserRegistered) -> None:
        raise RecorderBroke

    async with listening(refuse, event=UserRegistered) as world:
        with pytest.raises(RecorderBroke), world.here():
            await world.person()
        assert await world.db.privileged.count_entities("kernel_users") == 0
        assert (await world.names(), world.heard) == ([], [])
