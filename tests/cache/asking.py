"""A process of its own that asks a cache: `python -m tests.cache.asking` with the URL of Redis and a service's name.

It reads one step a line: `burst <key>` asks for a value 200 times at once, `begin <key>` once and waits with the
computation, `end` lets it end. It prints what came of each as JSON.
"""

import asyncio
import json
import sys
from typing import Any

from app_kernel.cache import cached
from app_kernel.cache import shared as shared_module
from tests.cache.serving import internals, serving

PARALLEL = 200


async def run(redis_url: str, name: str) -> None:
    shared_module.OPERATION_SECONDS = 30.0
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    gate = asyncio.Event()
    begun = asyncio.Event()

    async with serving(redis_url, name=name) as client:
        redis = client.kernel.redis

        @cached(ttl=60, key="burst:{key}")
        async def burst(key: str) -> int:
            number = await redis.incr(f"{name}:computations:{key}")
            await redis.expire(f"{name}:computations:{key}", 600)
            await asyncio.sleep(0.1)
            return int(number)

        @cached(ttl=60, key="held:{key}")
        async def held(key: str) -> int:
            seen = int(await redis.get(f"{name}:row") or 0)
            begun.set()
            await gate.wait()
            return seen

        def tell(answer: Any) -> None:
            sys.stderr.write(json.dumps(answer) + "\n")
            sys.stderr.flush()

        tell("ready")
        holding: asyncio.Task[int] | None = None
        while line := (await lines.readline()).decode().split():
            if line[0] == "burst":
                tell(await asyncio.gather(*(burst(line[1]) for _ in range(PARALLEL))))
            elif line[0] == "begin":
                holding = asyncio.create_task(held(line[1]))
                await begun.wait()
                tell("begun")
            elif holding is not None:
                gate.set()
                answer = await holding
                assert not internals(client)._shared.is_away  # type: ignore[union-attr]
                tell(answer)


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
