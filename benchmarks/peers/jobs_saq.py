"""SAQ on Redis, as its documentation shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from saq import Job, Queue, Worker
from saq.types import Context

from benchmarks.peers.jobs import ATTEMPTS, NAME, RESULT_SECONDS, TIMEOUT, payload


class SaqJobs:
    """A queue, and a worker with SAQ's own defaults."""

    def __init__(self, place: Mapping[str, str]) -> None:
        self._queue = Queue.from_url(place["redis"])

    async def open(self, *, embedded: bool = False) -> None:
        await self._queue.connect()

    async def close(self) -> None:
        await self._queue.disconnect()

    async def enqueue(self, number: int) -> None:
        job = Job(
            NAME, kwargs={"payload": payload(number)}, timeout=TIMEOUT, retries=ATTEMPTS, ttl=RESULT_SECONDS
        )  # fmt: skip
        await self._queue.enqueue(job)

    async def enqueue_many(self, numbers: Sequence[int]) -> None:
        await asyncio.gather(*map(self.enqueue, numbers))

    def prepare(self, concurrency: int, started: Callable[[int], None]) -> None:
        async def noop(_: Context, *, payload: dict[str, Any]) -> int:
            number: int = payload["i"]
            started(number)
            return number

        self._worker = Worker(self._queue, functions=[(NAME, noop)], concurrency=concurrency)
        self._worker.SIGNALS = []

    async def work(self, ending: asyncio.Event) -> None:
        await self._queue.connect()
        running = asyncio.create_task(self._worker.start())
        await ending.wait()
        self._worker.event.set()
        await running
        await self._queue.disconnect()
