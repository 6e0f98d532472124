"""taskiq with its Redis stream broker, which acknowledges a job when its result is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from taskiq import SimpleRetryMiddleware
from taskiq.api import run_receiver_task
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.peers.jobs import ATTEMPTS, NAME, RESULT_SECONDS, TIMEOUT, payload


class TaskiqJobs:
    """A broker, and its receiver in this process."""

    def __init__(self, place: Mapping[str, str]) -> None:
        url = place["redis"]
        results: RedisAsyncResultBackend[Any] = RedisAsyncResultBackend(url, result_ex_time=RESULT_SECONDS)
        self._broker = RedisStreamBroker(url).with_result_backend(results)
        self._broker.add_middlewares(SimpleRetryMiddleware(default_retry_count=ATTEMPTS))
        self._started: Callable[[int], None] = lambda _: None

        async def noop(given: dict[str, Any]) -> int:
            number: int = given["i"]
            self._started(number)
            return number

        self._task = self._broker.register_task(noop, NAME, timeout=TIMEOUT, retry_on_error=True)

    async def open(self, *, embedded: bool = False) -> None:
        await self._broker.startup()

    async def close(self) -> None:
        await self._broker.shutdown()

    async def enqueue(self, number: int) -> None:
        await self._task.kiq(payload(number))

    async def enqueue_many(self, numbers: Sequence[int]) -> None:
        await asyncio.gather(*map(self.enqueue, numbers))

    def prepare(self, concurrency: int, started: Callable[[int], None]) -> None:
        self._concurrency, self._started = concurrency, started
        self._broker.is_worker_process = True

    async def work(self, ending: asyncio.Event) -> None:
        running = asyncio.create_task(
            run_receiver_task(self._broker, max_async_tasks=self._concurrency, run_startup=True)
        )
        await ending.wait()
        running.cancel()
        await asyncio.wait([running])
        await self._broker.shutdown()
