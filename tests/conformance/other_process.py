"""As a program: calls on one database, each a line of standard input, and what each gave a line of standard output."""

import asyncio
import json
import sys

from app_kernel.db import connect


async def main(url: str) -> None:
    """Until the input ends."""
    async with connect(url) as db:
        for line in sys.stdin:
            verb, args = json.loads(line)
            print(json.dumps(await getattr(db, verb)(*args)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
