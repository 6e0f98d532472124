"""A service in a process of its own that does as it is told, a line of JSON at a time: DATABASE_URL.

`{"watch": name, "wanted": true}` says when the flag was first seen so, by the clock that all processes share;
`{"decide": name, "users": n}` says who is in; `{"set": [[name, {...}], ...]}` sets flags one after another.
"""

import asyncio
import hashlib
import json
import os
import sys
import time
from typing import Any

from app_kernel.core.ports import EntityStore
from app_kernel.flags import check_flags, flag_enabled, set_flag
from tests.flags.serving import serving


async def watch(db: EntityStore, said: dict[str, Any]) -> dict[str, Any]:
    while True:
        if await flag_enabled(db, said["watch"], user_id="u") is said["wanted"]:
            return {"seen": time.monotonic()}
        await asyncio.sleep(0.002)


async def decide(db: EntityStore, said: dict[str, Any]) -> dict[str, Any]:
    on = [user for user in range(said["users"]) if await flag_enabled(db, said["decide"], user_id=f"user-{user}")]
    return {"number": len(on), "digest": hashlib.sha256(json.dumps(on).encode()).hexdigest()}


async def set_all(db: EntityStore, said: dict[str, Any]) -> dict[str, Any]:
    for name, values in said["set"]:
        await set_flag(db, name, **values)
    return {"flags": await check_flags(db)}


DOES = {"watch": watch, "decide": decide, "set": set_all}


def say(value: Any) -> None:
    os.write(3, json.dumps(value).encode() + b"\n")


async def main(url: str) -> None:
    async with serving(url) as client:
        say({"ready": True})
        while line := await asyncio.to_thread(sys.stdin.readline):
            said = json.loads(line)
            say(await DOES[next(iter(said))](client.db, said))


if __name__ == "__main__":
    # Log lines go to the standard output, so the answers need another way.
    os.dup2(1, 3)
    os.dup2(2, 1)
    asyncio.run(main(sys.argv[1]))
