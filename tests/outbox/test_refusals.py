"""What a sink may do wrong: its message dies all the same, the reason tells nothing of it, and the topic goes on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from app_kernel.core.errors import ConstraintViolation, InvalidQuery, MissingValue, UnsupportedModel
from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore
from app_kernel.db.outbox import channel, inbox, stream_reader
from app_kernel.db.outbox.dead_letters import list_dead_letters
from app_kernel.db.outbox.inbox import reason_of
from app_kernel.db.outbox.relay import Receivers
from app_kernel.db.outbox.stream_reader import StreamReader
from app_kernel.redis_wire import create_redis
from tests.outbox.carrying import (
    ADMIN,
    BACKENDS,
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


class Wordless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class OfTheApplication(MissingValue):
    """An error of the application's own that only looks like one of the kernel's."""


UNSPEAKABLE = {
    "a zero character": ValueError("bad \0 x"),
    "half a character": ValueError("bad \ud800 x"),
    "no text at all": Wordless(),
    "a zero character in an error of the kernel": MissingValue("[a\0b] \ud800 is required."),
}


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (channel, stream_reader):
        monkeypatch.setattr(module, "RETRY_SECONDS", (0.02,) * 4)


def refusing(exc: BaseException) -> Callable[[EntityStore, Sequence[Message]], Awaitable[None]]:
    async def sink(db: EntityStore, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.body["n"] == 0:
                raise exc
            await db.save_entity("arrived", {"n": message.body["n"]})

    return sink


@pytest.mark.parametrize("what", UNSPEAKABLE)
@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_refusal_that_no_database_can_store_is_a_death_like_any_other(
    backend: str, what: str, request: pytest.FixtureRequest
) -> None:
    async with opened_on(backend, request) as (app, admin):
        async with relaying(app, Receivers({ADMIN: refusing(UNSPEAKABLE[what])}, admin=admin.connection)):
            await send(app, *numbered(range(3)))
            await until_empty(app)
        assert await arrived(admin) == [1, 2]
        (dead,) = await list_dead_letters(app.connection())
        assert dead.reason.startswith(type(UNSPEAKABLE[what]).__name__)
        assert dead.reason.isascii()


@pytest.mark.parametrize("backend", BACKENDS)
async def test_such_a_refusal_does_not_stop_a_stream(
    backend: str, request: pytest.FixtureRequest, redis_url: str
) -> None:
    redis = create_redis(redis_url, "test")
    await redis.flushall()
    sink = refusing(ValueError("bad \0 \ud800"))
    async with opened_on(backend, request) as (app, admin), relaying(app, Receivers({ADMIN: sink}, redis=redis)):
        reader = StreamReader(redis, admin, ADMIN, sink, consumer="one")
        running = asyncio.create_task(reader.run())
        await send(app, *numbered(range(3), key=""))
        await until_arrived(admin, 2)
        await send(app, *numbered(range(3, 5), key=""))
        assert await until_arrived(admin, 4) == [1, 2, 3, 4]
        await until("the death", lambda: list_dead_letters(admin.connection()))
        reader.end()
        await running
        assert [dead.body for dead in await list_dead_letters(admin.connection())] == [{"n": 0}]
    await redis.aclose()


async def test_a_sink_that_lets_a_cancellation_out_has_failed_and_its_topic_goes_on() -> None:
    async with opened() as (app, admin):
        async with relaying(app, Receivers({ADMIN: refusing(asyncio.CancelledError())}, admin=admin.connection)):
            await send(app, *numbered(range(3)))
            assert await until_arrived(admin, 2) == [1, 2]
            await until_empty(app)
        (dead,) = await list_dead_letters(app.connection())
        assert dead.reason.startswith("SinkCancelled")


async def test_a_cancelled_delivery_is_no_failure_of_the_sink() -> None:
    async def slow(db: EntityStore, messages: Sequence[Message]) -> None:
        started.set()
        await asyncio.sleep(60)

    started = asyncio.Event()
    async with opened() as (_, admin):
        writing = asyncio.create_task(inbox.write_batch(admin.connection(), slow, numbered([1])))
        await started.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing


def raised(exc: Exception) -> Exception:
    try:
        raise exc
    except Exception as caught:  # noqa: BLE001 - any error at all is what it is for
        return caught


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("cannot write hunter2"),
        OfTheApplication("hunter2"),
        InvalidQuery("PostgreSQL refused the statement: hunter2"),
        UnsupportedModel("holds str, not 'hunter2'"),
        ConstraintViolation("A constraint of the table refuses this: hunter2."),
    ],
)
def test_a_text_that_may_repeat_the_message_is_replaced_by_the_place(exc: Exception) -> None:
    reason = reason_of(raised(exc))
    assert reason.startswith(f"{type(exc).__name__} at {__name__}:")
    assert reason.rpartition(":")[2].isdigit()
    assert "hunter2" not in reason


def test_the_text_of_an_error_of_the_kernel_is_told() -> None:
    assert reason_of(MissingValue("[name] is required.")) == "MissingValue: [name] is required."
    assert len(reason_of(MissingValue("x" * 100_000))) == inbox.LONGEST_REASON


async def test_an_error_raised_inside_the_kernel_names_the_line_that_called_it() -> None:
    async with opened() as (app, _):
        with pytest.raises(InvalidQuery) as info:
            await app.connection().privileged.execute("SELECT hunter2('x')")
    assert reason_of(info.value).startswith(f"InvalidQuery at {__name__}:")


async def test_neither_the_dead_letter_nor_the_log_says_what_the_sink_said(caplog: pytest.LogCaptureFixture) -> None:
    secret = "-----BEGIN\nMIIEsecret\n-----END"
    sink = refusing(ValueError(f"cannot write {secret!r} {secret}"))
    async with opened() as (app, admin):
        async with relaying(app, Receivers({ADMIN: sink}, admin=admin.connection)):
            await send(app, Message(ADMIN, {"n": 0, "pem": secret}))
            await until_empty(app)
        (dead,) = await list_dead_letters(app.connection())
    assert dead.reason.startswith(f"ValueError at {__name__}:")
    told = [record.__dict__ for record in caplog.records if record.getMessage() in ("message_failed", "message_died")]
    assert len(told) == 5
    assert "MIIE" not in str(told) + dead.reason


def test_the_reason_takes_no_time_whatever_was_in_the_message() -> None:
    exc = raised(ValueError(str([f"value-{number:08d}" for number in range(20_000)])))
    began = time.thread_time()
    assert reason_of(exc).startswith("ValueError at ")
    assert time.thread_time() - began < 0.05
