"""arq. It looks for jobs each half a second and takes few at a time, unless it is told to look more often: it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from arq import create_pool, func
from arq.connections import RedisSettings
from arq.worker import Worker

from benchmarks.peers.jobs import ATTEMPTS, NAME, RESULT_SECONDS, TIMEOUT, payload

POLL_SECONDS = 0.01


class ArqJobs:
    """A pool, and a worker that polls fifty times as often as by default."""

    def __init__(self, place: Mapping[str, str]) -> None:
        self._settings = RedisSettings.from_dsn(place["redis"])

    async def open(self, *, embedded: bool = False) -> None:
        self._pool = await create_pool(self._settings)

    async def close(self) -> None:
        await self._pool.aclose()

    async def enqueue(self, number: int) -> None:
        await self._pool.enqueue_job(NAME, payload(number))

    async def enqueue_many(self, numbers: Sequence[int]) -> None:
        await asyncio.gather(*map(self.enqueue, numbers))

    def prepare(self, concurrency: int, started: Callable[[int], None]) -> None:
        async def noop(_: dict[Any, Any], given: dict[str, Any]) -> int:
            number: int = given["i"]
            started(number)
            return number

        self._worker = Worker(
            functions=[func(noop, name=NAME, timeout=TIMEOUT, max_tries=ATTEMPTS, keep_result=RESULT_SECONDS)],
            redis_settings=self._settings,
            max_jobs=concurrency,
            poll_delay=POLL_SECONDS,
            handle_signals=False,
        )

    async def work(self, ending: asyncio.Event) -> None:
        running = asyncio.create_task(self._worker.async_run())
        await ending.wait()
        await self._worker.close()
        await asyncio.wait([running])
