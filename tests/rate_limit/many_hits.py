"""A process of its own that hits one bucket in bursts: `python -m tests.rate_limit.many_hits` with a plan as JSON.

It prints one line for each burst: when each hit was sent and answered, by the clock of the machine, and the answer.
"""

import asyncio
import json
import sys
import time
from typing import Any

from app_kernel.core.ports import Allowance
from app_kernel.rate_limit import shared as shared_module
from app_kernel.rate_limit.shared import SharedLimiter
from app_kernel.redis_wire import create_redis

BUCKET = "user:ada"


async def run(plan: dict[str, Any]) -> None:
    """Bursts of `parallel` hits, each at the instant that the plan says."""
    # What is looked at is what is counted. On a busy machine an answer may take longer than a service would wait.
    shared_module.HIT_SECONDS = 60.0
    redis = create_redis(plan["redis_url"], "many hits")
    limiter = SharedLimiter(redis, plan["prefix"], lambda error: None)
    await limiter.connect()

    async def hit() -> tuple[float, float, bool, int, float]:
        sent = time.time()
        told: Allowance | None = await limiter.hit(BUCKET, plan["limit"], plan["window"])
        assert told is not None, "Redis is away"
        return sent, time.time(), told.allowed, told.remaining, told.reset_after

    print("ready", flush=True)
    begin = float(sys.stdin.readline())
    for at in plan["bursts"]:
        await asyncio.sleep(begin + at - time.time())
        hits = await asyncio.gather(*(hit() for _ in range(plan["parallel"])))
        print(json.dumps(hits), flush=True)
    await limiter.close()
    await redis.aclose()


if __name__ == "__main__":
    asyncio.run(run(json.loads(sys.argv[1])))
