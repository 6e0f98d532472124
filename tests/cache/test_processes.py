"""Two processes and one Redis: one computation for both, and no change of one is undone by what the other had read."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app_kernel.cache import cache
from app_kernel.core.clock import new_id
from tests.cache.asking import PARALLEL
from tests.cache.serving import forget, serving

ROOT = Path(__file__).parent.parent.parent


class Child:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def do(self, step: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{step}\n".encode())

    async def told(self) -> Any:
        assert self.process.stderr is not None
        async with asyncio.timeout(60):
            line = await self.process.stderr.readline()
        return json.loads(line)


@asynccontextmanager
async def child_of(redis_url: str, name: str) -> AsyncIterator[Child]:
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "tests.cache.asking", redis_url, name]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdin=pipe, stdout=asyncio.subprocess.DEVNULL, stderr=pipe, limit=1 << 20
    )
    child = Child(process)
    try:
        yield child
        process.stdin.close()  # type: ignore[union-attr]
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.acceptance("RL6")
async def test_two_processes_compute_once_and_neither_undoes_what_the_other_took_away(redis_url: str) -> None:
    name = f"cache-{new_id()}"
    async with (
        child_of(redis_url, name) as one,
        child_of(redis_url, name) as other,
        serving(redis_url, name=name) as me,
    ):
        assert (await one.told(), await other.told()) == ("ready", "ready")
        for round_ in range(3):
            for child in (one, other):
                child.do(f"burst {round_}")
            assert await one.told() + await other.told() == [1] * 2 * PARALLEL, "it was computed more than once"

        redis = me.kernel.redis
        await redis.set(f"{name}:row", 1, ex=600)
        for child in (one, other):
            child.do(f"begin {'one' if child is one else 'other'}")
            assert await child.told() == "begun"
        await redis.set(f"{name}:row", 2, ex=600)
        await cache.delete("held:one")
        one.do("end")
        other.do("end")
        assert (await one.told(), await other.told()) == (1, 1)
        # What was read before the change is not kept; what nobody has changed is.
        assert await cache.get_many(["held:one", "held:other"]) == {"held:other": 1}
        await forget(me)
