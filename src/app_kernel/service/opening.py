"""Opening what the service stands on: a server that is down is tried again beside the running service."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from app_kernel.core.cancellation import cancel_tasks
from app_kernel.core.errors import Unavailable
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Database
from app_kernel.logs import get_logger

FIRST_SECONDS = 2.0
"""How long start-up waits for a server before the service begins without it."""
RETRY_SECONDS = 1.0

_log = get_logger("app_kernel.opening")


async def open_now_or_later(component: str, open_it: Callable[[], Awaitable[None]]) -> asyncio.Task[None] | None:
    """Opens it and gives None; where it is unavailable, gives the task that goes on trying and ends when it is open.

    What is wrong in another way is raised, but only by the first try: later on it may mend itself.
    """
    is_open: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    trying = asyncio.create_task(_keep_trying(component, open_it, is_open))
    try:
        await asyncio.wait({is_open}, timeout=FIRST_SECONDS)
    except asyncio.CancelledError:
        await end_task(trying)
        raise
    if is_open.done():
        if is_open.result():
            return None
    else:
        is_open.cancel()
        _log.warning(
            "component_not_opened", component=component, reason=f"not open within {FIRST_SECONDS:g} s; opening goes on"
        )
    return trying


async def end_task(task: asyncio.Task[None]) -> bool:
    """Cancels a task and waits for its end; whether it came to its own end all the same."""
    await cancel_tasks({task})
    return not task.cancelled() and task.exception() is None


async def _keep_trying(component: str, open_it: Callable[[], Awaitable[None]], is_open: asyncio.Future[bool]) -> None:
    told = ""
    while True:
        try:
            await open_it()
        except Exception as exc:  # noqa: BLE001 - whatever keeps it from opening, the service may run without it
            if not is_open.done():
                if not isinstance(exc, Unavailable):
                    is_open.set_exception(exc)
                    return
                is_open.set_result(False)
            reason = f"{type(exc).__name__}: {exc}"
            if reason != told:
                told = reason
                _log.warning("component_not_opened", component=component, reason=reason)
        else:
            if not is_open.done():
                is_open.set_result(True)
            else:
                _log.info("component_opened", component=component)
            return
        await asyncio.sleep(RETRY_SECONDS)


@asynccontextmanager
async def admin_database(kernel: Kernel) -> AsyncIterator[None]:
    """The admin database with the features' tables in it; it may be down, as nothing in a request writes to it."""
    database = kernel.admin_db
    if database is None:
        yield
        return

    async def open_it() -> None:
        await _open_with_tables(kernel, database)

    trying = await open_now_or_later("admin_database", open_it)
    try:
        yield
    finally:
        if trying is not None:
            await end_task(trying)
        if kernel.admin_is_open:
            kernel.admin_is_open = False
            await database.close()


async def _open_with_tables(kernel: Kernel, database: Database) -> None:
    await database.open()
    try:
        await database.ensure_tables([table for feature in kernel.features for table in feature.admin_tables])
    except BaseException:
        await database.close()
        raise
    kernel.admin_is_open = True


@asynccontextmanager
async def redis_connection(kernel: Kernel) -> AsyncIterator[None]:
    """The Redis client, if there is to be one. It connects when it is first used, so Redis may be down."""
    if kernel.connect_redis is None:
        yield
        return
    client = kernel.redis = kernel.connect_redis()
    try:
        yield
    finally:
        kernel.redis = None
        await client.aclose()
