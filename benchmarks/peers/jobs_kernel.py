"""The kernel's jobs, with everything on that is on by default: a service that enqueues, its worker command's worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from app_kernel import JobRegistry, ServiceConfig, create_service
from app_kernel.jobs import get_job_client
from app_kernel.jobs.worker import JobWorker
from app_kernel.logs import configure_logging
from benchmarks.peers.jobs import ATTEMPTS, NAME, RESULT_SECONDS, TIMEOUT, payload
from benchmarks.peers.tokens import SECRET


class KernelJobs:
    """Over a database, and over Redis where the place names one."""

    def __init__(self, place: Mapping[str, str]) -> None:
        self._place = place
        self._concurrency = 10
        self._started: Callable[[int], None] = lambda _: None
        self._running = AsyncExitStack()
        self._registry = JobRegistry()
        configure_logging("WARNING")

        @self._registry.task(NAME, timeout=TIMEOUT, max_attempts=ATTEMPTS, result_ttl=RESULT_SECONDS)
        async def noop(payload: dict[str, Any]) -> int:
            number: int = payload["i"]
            self._started(number)
            return number

    def _service(self, *, embedded: bool) -> Any:
        config = ServiceConfig(
            jwt_secret=SECRET,
            database_name=self._place["database"],
            redis_url=self._place.get("redis"),
            embedded_worker=embedded,
            worker_concurrency=self._concurrency,
            log_level="WARNING",
        )
        return create_service("bench", tasks=self._registry, config=config)

    async def open(self, *, embedded: bool = False) -> None:
        app = self._service(embedded=embedded)
        await self._running.enter_async_context(app.router.lifespan_context(app))
        self._client = get_job_client()

    async def close(self) -> None:
        await self._running.aclose()

    async def enqueue(self, number: int) -> None:
        await self._client.enqueue(NAME, payload(number))

    async def enqueue_many(self, numbers: Sequence[int]) -> None:
        await self._client.enqueue_many(NAME, [payload(number) for number in numbers])

    def prepare(self, concurrency: int, started: Callable[[int], None]) -> None:
        self._concurrency, self._started = concurrency, started
        self._kernel = self._service(embedded=False).state.kernel

    async def work(self, ending: asyncio.Event) -> None:
        worker = JobWorker(self._kernel, (), self._concurrency, None)
        running = asyncio.create_task(worker.run())
        await ending.wait()
        worker.end()
        await running
