"""A service without its HTTP side: what a worker process stands on, which waits for what is away instead of failing,
and what a command of a terminal does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from app_kernel.core.context import Context, enter_context, in_context
from app_kernel.core.current import enter_kernel, leave_kernel
from app_kernel.core.errors import Unavailable
from app_kernel.core.kernel import Kernel
from app_kernel.logs import get_logger
from app_kernel.problems import HANDLERS
from app_kernel.service.opening import admin_database, redis_connection

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 3.0

_log = get_logger("app_kernel.worker")


@asynccontextmanager
async def opened_kernel(kernel: Kernel, ending: asyncio.Event) -> AsyncIterator[bool]:
    """Everything of a service but its routes and its own hooks; False when the end came before all was open."""
    enter_context(Context(kernel=kernel))
    async with AsyncExitStack() as opened:
        if not await done_or_ended(ending, "database", kernel.db.open):
            yield False
            return
        opened.push_async_callback(kernel.db.close)
        opened.push_async_callback(kernel.end_telling)
        enter_kernel(kernel)
        kernel.running = True
        opened.callback(_leave, kernel)
        await opened.enter_async_context(redis_connection(kernel))
        tables = [table for feature in kernel.features for table in feature.tables]
        if not await done_or_ended(ending, "tables", lambda: kernel.db.ensure_tables(tables)):
            yield False
            return
        await opened.enter_async_context(admin_database(kernel))
        for feature in kernel.features:
            if feature.lifespan is not None:
                await opened.enter_async_context(feature.lifespan(kernel))
        opened.push_async_callback(kernel.end_telling)
        kernel.ready = True
        try:
            yield True
        finally:
            kernel.ready = False


@asynccontextmanager
async def opened_for_command(kernel: Kernel, command: str) -> AsyncIterator[None]:
    """The app database with the features' tables, where changes and security events are recorded as in the service.

    Neither Redis nor the admin database is asked for anything, and nothing works beside the command: the relay of the
    service carries what it recorded. Raises Unavailable.
    """
    await kernel.db.open()
    async with AsyncExitStack() as opened:
        opened.push_async_callback(kernel.db.close)
        opened.push_async_callback(kernel.end_telling)
        enter_kernel(kernel)
        kernel.running = True
        opened.callback(_leave, kernel)
        await kernel.db.ensure_tables([table for feature in kernel.features for table in feature.tables])
        with in_context(Context(kernel=kernel, command=command)):
            yield


def probes_of(kernel: Kernel) -> ASGIApp:
    """/healthz, /readyz and /metrics of a process that serves nothing else."""
    routes = [
        route
        for feature in kernel.features
        if feature.unprefixed and feature.router is not None
        for route in feature.router.routes
    ]
    app = Starlette(routes=routes, exception_handlers=HANDLERS)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        enter_context(Context(kernel=kernel))
        await app(scope, receive, send)

    return answer


def _leave(kernel: Kernel) -> None:
    kernel.running = False
    leave_kernel(kernel)


async def done_or_ended(ending: asyncio.Event, component: str, open_it: Callable[[], Awaitable[None]]) -> bool:
    """Whether it opened, after as many tries as that takes; it did not when the end came first."""
    pause, told = FIRST_PAUSE, ""
    while not ending.is_set():
        try:
            await open_it()
        except Unavailable as exc:
            reason = f"{type(exc).__name__}: {exc}"
            if reason != told:
                _log.warning("component_not_opened", component=component, reason=reason)
            told = reason
            try:
                async with asyncio.timeout(pause):
                    await ending.wait()
            except TimeoutError:
                pause = min(pause * 2, LONGEST_PAUSE)
        else:
            if told:
                _log.info("component_opened", component=component)
            return True
    return False
