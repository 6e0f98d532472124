"""As a program: waits for a line, then upserts and counts among others that do the same."""

import asyncio
import sys

from app_kernel.db import connect


async def main(url: str) -> None:
    """25 of each."""
    async with connect(url) as db:
        print("ready", flush=True)
        sys.stdin.readline()
        for number in range(25):
            await db.save_entity("people", {"email": f"{number}@x", "n": 1}, match_by=["email"])
            await db.increment("counters", "a", "n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
