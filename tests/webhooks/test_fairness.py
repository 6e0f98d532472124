"""One receiver that hangs holds up neither the others nor whoever triggers events."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median, quantiles

import pytest

from app_kernel.testing import kernel_client
from app_kernel.webhooks import create_webhook, trigger_webhook_event
from tests.faults.figures import SOAK
from tests.redis_beside import redis_beside
from tests.webhooks.serving import make_app

RECEIVERS = 100
EVENTS = 4
HANGS = 30.0


class Receiver:
    """All receivers on one port, by path: /dead takes requests and says nothing."""

    def __init__(self) -> None:
        self.arrived: dict[str, dict[int, float]] = defaultdict(dict)
        self.all_arrived = asyncio.Event()
        self.hanging = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._hear, "127.0.0.1", 0)
        tasks: set[asyncio.Task[None]] = set()
        self._tasks = tasks
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
            body = json.loads(await reader.readexactly(length))
            path = head.split(" ")[1]
            if path == "/dead":
                self.hanging += 1
                await asyncio.sleep(HANGS)
            self.arrived[path].setdefault(body["data"]["n"], time.monotonic())
            if sum(map(len, self.arrived.values())) == (RECEIVERS - 1) * (EVENTS + 1):
                self.all_arrived.set()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("WH5")
async def test_one_dead_receiver_among_a_hundred_delays_neither_the_others_nor_the_caller(database: str):
    receiver = Receiver()
    settings = {"webhook_allow_private": True, "webhook_timeout_seconds": HANGS, "worker_grace_seconds": 0.1}
    redis = redis_beside(database)
    app = make_app(None, [], log_level="ERROR", **redis, **settings)
    options = {"database": database, "jobs": "worker", "webhooks": "send", **redis}
    async with receiver.listening() as url, kernel_client(app, **options) as client:
        for number in range(RECEIVERS - 1):
            await create_webhook(client.db, "w1", url=f"{url}/{number}", events=["*"])
        await create_webhook(client.db, "w1", url=f"{url}/dead", events=["*"])
        await trigger_webhook_event(client.db, "w1", event="first.one", data={"n": -1})
        triggered, took = {}, []
        for number in range(EVENTS):
            await asyncio.sleep(1.0)
            triggered[number] = began = time.monotonic()
            await trigger_webhook_event(client.db, "w1", event="deployment.done", data={"n": number})
            took.append(time.monotonic() - began)
        async with asyncio.timeout(30):
            await receiver.all_arrived.wait()
        assert receiver.hanging == 1
    delays = [at - triggered[n] for seen in receiver.arrived.values() for n, at in seen.items() if n >= 0]
    assert len(delays) == (RECEIVERS - 1) * EVENTS
    p95 = quantiles(delays, n=20)[-1]
    print(f"others: median {median(delays):.3f} s, p95 {p95:.3f} s; trigger: {median(took) * 1000:.2f} ms")
    # Nobody waited for the one that hangs; the figures of WH5 are judged where nothing else uses the machine.
    assert p95 < (2.0 if SOAK else HANGS / 3)
    assert median(took) < (0.01 if SOAK else 0.5)
