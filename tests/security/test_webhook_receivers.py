"""Receivers that send too much, too slowly or nonsense: little of it is read, in bounded time, and little is kept."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from app_kernel.webhooks import network, sending
from app_kernel.webhooks.attempts import Answer
from app_kernel.webhooks.network import LARGEST_ANSWER
from app_kernel.webhooks.sending import EXCERPT, Order
from app_kernel.webhooks.urls import check_url

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]
SLACK = 512 * 1024
"""What the buffers of two sockets on one machine may take beyond what is read."""


class Receiver:
    """What came in, and how much could be sent until the other side closed."""

    def __init__(self) -> None:
        self.request = b""
        self.sent = 0
        self.closed = asyncio.Event()

    async def pour(self, writer: asyncio.StreamWriter, block: bytes, most: int = 1 << 30) -> None:
        with suppress(ConnectionError):
            while self.sent < most:
                writer.write(block)
                await writer.drain()
                self.sent += len(block)


@asynccontextmanager
async def receiving(
    behave: Callable[[Receiver, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[tuple[str, Receiver]]:
    receiver = Receiver()
    hearing: set[asyncio.Task[None]] = set()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        hearing.add(task)
        try:
            receiver.request = await reader.readuntil(b"\r\n\r\n")
            await behave(receiver, writer)
            await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            receiver.closed.set()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/in", receiver
    finally:
        server.close()
        for task in hearing:
            task.cancel()
        await asyncio.gather(*hearing, return_exceptions=True)
        await asyncio.sleep(0)


async def send(url: str, seconds: float = 3.0) -> tuple[Answer, float]:
    began = time.monotonic()
    target = check_url(url, https_only=False, allow_private=True)
    answer = await sending.send(Order(target, b'{"a": 1}', {"webhook-id": "evt_1"}, seconds, allow_private=True))
    return answer, time.monotonic() - began


@pytest.mark.acceptance("WH6")
async def test_of_a_body_of_a_gigabyte_64_kilobytes_are_read_and_one_is_kept():
    async def behave(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        await receiver.pour(writer, b"x" * 65536)

    async with receiving(behave) as (url, receiver):
        answer, took = await send(url)
        async with asyncio.timeout(5):
            await receiver.closed.wait()
    assert answer.delivered
    assert answer.excerpt == "x" * EXCERPT
    assert receiver.sent <= LARGEST_ANSWER + 8 * SLACK
    assert took < 2.5
    assert b"accept-encoding: identity" in receiver.request.lower()


@pytest.mark.acceptance("WH6")
async def test_a_gzip_bomb_is_not_unpacked():
    bomb = gzip.compress(b"\0" * 10_000_000)

    async def behave(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)

    async with receiving(behave) as (url, _):
        answer, _ = await send(url)
    assert answer.delivered
    assert len(answer.excerpt) <= EXCERPT
    assert "\0" not in answer.excerpt


@pytest.mark.acceptance("WH6")
@pytest.mark.parametrize("field", [b"X-A: y\r\n", b"X-Long: " + b"y" * 4096])
async def test_endless_headers_are_cut_off(field: bytes):
    async def behave(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        await receiver.pour(writer, field * 100)

    async with receiving(behave) as (url, receiver):
        answer, took = await send(url)
        async with asyncio.timeout(5):
            await receiver.closed.wait()
    assert answer.outcome == "protocol"
    assert receiver.sent <= LARGEST_ANSWER + 8 * SLACK
    assert took < 2.5


@pytest.mark.acceptance("WH6")
async def test_whatever_is_sent_no_more_than_the_limit_is_read(monkeypatch: pytest.MonkeyPatch):
    taken = 0
    read = network._Bounded.read

    async def counted(self: network._Bounded, max_bytes: int, timeout: float | None = None) -> bytes:
        nonlocal taken
        data = await read(self, max_bytes, timeout)
        taken += len(data)
        return data

    monkeypatch.setattr(network._Bounded, "read", counted)
    for head in (
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 C\r\n\r\n",
    ):

        async def behave(receiver: Receiver, writer: asyncio.StreamWriter, head: bytes = head) -> None:
            block = b"10000\r\n" + b"x" * 65536 + b"\r\n" if b"chunked" in head else head * 1000
            writer.write(head)
            await receiver.pour(writer, block, 4_000_000)

        taken = 0
        async with receiving(behave) as (url, _):
            await send(url)
        assert 0 < taken <= LARGEST_ANSWER


@pytest.mark.acceptance("WH6")
async def test_slow_drips_and_silence_end_in_time():
    async def silence(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async def dripping_head(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        await drip(writer, b"X-A: b\r\n")

    async def dripping_body(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        await drip(writer, b"x")

    async def drip(writer: asyncio.StreamWriter, what: bytes) -> None:
        for _ in range(300):
            writer.write(what)
            await writer.drain()
            await asyncio.sleep(0.02)

    async def measured(
        behave: Callable[[Receiver, asyncio.StreamWriter], Awaitable[None]], seconds: float
    ) -> tuple[str, float]:
        async with receiving(behave) as (url, _):
            answer, took = await send(url, seconds)
        return answer.outcome, took

    ended = await asyncio.gather(measured(silence, 0.5), measured(dripping_head, 0.5), measured(dripping_body, 30.0))
    assert [outcome for outcome, _ in ended] == ["timeout", "timeout", "delivered"]
    assert all(took < limit for (_, took), limit in zip(ended, (1.5, 1.5, 3.5), strict=True))


async def test_a_status_that_came_in_time_is_not_lost_to_a_body_that_comes_slowly():
    async def behave(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthanks")
        await asyncio.sleep(0.5)

    async with receiving(behave) as (url, _):
        answer, _ = await send(url, 0.4)
    assert (answer.outcome, answer.excerpt) == ("delivered", "thanks")


async def test_what_is_no_http_is_a_failed_attempt():
    for said, outcome in (
        (b"", "protocol"),
        (b"220 smtp.example.com ESMTP\r\n", "protocol"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "protocol"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "protocol"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nab\x00\xffc", "status"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", "delivered"),
        (b"HTTP/1.0 204 None\r\n\r\n", "delivered"),
    ):

        async def behave(receiver: Receiver, writer: asyncio.StreamWriter, said: bytes = said) -> None:
            writer.write(said)

        async with receiving(behave) as (url, _):
            answer, _ = await send(url)
        assert answer.outcome == outcome, (said, answer)
        assert "\0" not in answer.excerpt
    async with receiving(behave) as (url, _):
        pass
    assert (await send(url))[0].outcome == "connection"


async def test_retry_after_is_seconds_or_a_date_and_anything_else_is_nothing():
    for field, expected in (
        (b"120", 120.0),
        (b" 7 ", 7.0),
        (b"Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
        (b"-5", None),
        (b"1e9", None),
        (b"\xd9\xa3", None),
        (b"9" * 65, None),
        (b"soon", None),
        (b"", None),
    ):
        assert sending._seconds_of(field) == expected, field
    later = sending._seconds_of(b"Fri, 31 Dec 2199 23:59:59 GMT")
    assert later is not None
    assert later > 1e9
    assert Answer("status", 500, retry_after=9.0).wait is None
    assert Answer("status", 429, retry_after=9.0).wait == 9.0
