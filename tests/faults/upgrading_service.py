"""The service that opens an old database: in a test, and as a program that is killed meanwhile: URL."""

import asyncio
import sys

from fastapi import FastAPI

from tests.faults.children import emit
from tests.small_service import small_app

ran: list[object] = []
"""What the jobs were called with that were enqueued before."""


async def waits(n: int) -> None:
    """The task of the job that an older version enqueued."""
    ran.append(n)


def upgraded(url: str) -> FastAPI:
    """A service with every feature on a database."""
    return small_app(
        database_name=url, admin_db_url="sqlite://:memory:", saas_enabled=True, tasks={"upgrade.waits": waits}
    )


async def main(url: str) -> None:
    """Starts, which makes what is missing, and ends."""
    app = upgraded(url)
    emit(ready=True)
    await asyncio.to_thread(sys.stdin.readline)
    async with app.router.lifespan_context(app):
        emit(served=True)
    emit(finished=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
