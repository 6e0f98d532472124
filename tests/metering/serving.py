"""What the tests of metering ask of a running service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Outbox
from app_kernel.db.database import Database
from app_kernel.db.outbox.relay import Receivers
from app_kernel.metering.counting import TOPIC
from app_kernel.metering.requests import RequestCounts
from app_kernel.metering.sink import write_usage
from tests.outbox.carrying import relaying, until, until_empty
from tests.redis_beside import is_written


@asynccontextmanager
async def carrying(app: Database, admin: Database) -> AsyncIterator[None]:
    """What leaves the app database arrives in the admin database, all of it by the end of the block."""

    async with relaying(app, Receivers({TOPIC: write_usage}, admin=admin.connection)):
        yield
        await until_empty(app)


async def settle(kernel: Kernel) -> None:
    """Requests that were answered are in the admin database when it returns."""
    await kernel.port(RequestCounts).flush()
    outbox = kernel.port(Outbox)  # type: ignore[type-abstract]  # a port is asked for by its protocol

    async def is_there() -> bool:
        return is_written(await outbox.figures())

    await until("the end of the way to the admin database", is_there)


async def rows_of(admin: Any) -> list[dict[str, Any]]:
    """Every counter."""
    found: list[dict[str, Any]] = await admin.find_entities("usage_summary", order_by="[id]")
    return found
