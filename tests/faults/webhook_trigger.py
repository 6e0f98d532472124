"""Triggers an event in a transaction and kills itself: URL, and `inside` it or right `after` its commit."""

import asyncio
import os
import signal
import sys

from app_kernel.db import create_database
from app_kernel.webhooks import trigger_webhook_event


async def main(url: str, when: str) -> None:
    """Never returns."""
    database = create_database(url)
    await database.open()
    db = database.connection()
    async with db.transaction():
        await db.save_entity("orders", {"id": when})
        await trigger_webhook_event(db, "w1", event=f"killed.{when}")
        if when == "inside":
            os.kill(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
