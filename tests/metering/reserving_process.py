"""A service in a process of its own that reserves as often as it can: DATABASE_URL LIMIT TRIES. Says how often."""

import asyncio
import sys

from app_kernel.metering import reserve
from app_kernel.testing import kernel_client
from tests.redis_beside import redis_beside
from tests.small_service import small_app


async def main(url: str, limit: int, tries: int) -> None:
    redis = redis_beside(url)
    async with kernel_client(small_app(log_level="ERROR", **redis), database=url, **redis) as client:
        given = {"metric": "tokens", "limit": limit, "workspace_id": "w"}
        passed = await asyncio.gather(*(reserve(client.db, **given) for _ in range(tries)))
    print(passed.count(True), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
