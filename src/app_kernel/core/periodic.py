"""What a service does now and then while it runs, where nothing tells it that there is something to do."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from app_kernel.core.cancellation import cancel_task
from app_kernel.core.context import Context, in_context
from app_kernel.core.errors import KernelError
from app_kernel.core.kernel import Kernel

_log = logging.getLogger("app_kernel")


@asynccontextmanager
async def periodically(
    kernel: Kernel,
    look: Callable[[Kernel], Awaitable[object]],
    seconds: float,
    event: str,
    *,
    log: logging.Logger = _log,
) -> AsyncIterator[None]:
    """Calls `look` with so many seconds before each call, while the block runs.

    What fails, as while the database is away, is logged as `event`, and the next call comes all the same.
    """
    looking = asyncio.create_task(_look(kernel, look, seconds, event, log))
    try:
        yield
    finally:
        await cancel_task(looking)


async def _look(
    kernel: Kernel, look: Callable[[Kernel], Awaitable[object]], seconds: float, event: str, log: logging.Logger
) -> None:
    with in_context(Context(kernel=kernel)):
        while True:
            await asyncio.sleep(seconds)
            try:
                await look(kernel)
            except KernelError as exc:
                log.warning(event, extra={"reason": type(exc).__name__})
            except Exception:
                log.exception(event)
