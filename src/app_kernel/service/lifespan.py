"""Start-up and shutdown: the steps in order, the failing one named, and what was opened closed again in reverse."""

import asyncio
import inspect
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from app_kernel.core.context import Context, in_context
from app_kernel.core.current import enter_kernel, leave_kernel
from app_kernel.core.database_urls import backend_of
from app_kernel.core.errors import ConfigurationError
from app_kernel.core.kernel import Kernel
from app_kernel.logs import get_logger
from app_kernel.service.dependency_check import find_dependency_problems
from app_kernel.service.naming import keep_name
from app_kernel.service.opening import admin_database, end_task, open_now_or_later, redis_connection
from app_kernel.service.route_check import find_misplaced_routers, find_shadowed_routes

Hook = Callable[..., Any]

_log = get_logger("app_kernel.lifespan")


@dataclass(frozen=True, slots=True)
class Hooks:
    """The application's own parts of start-up and shutdown, plain or async."""

    schema_init: Hook | None = None
    db_seed: Hook | None = None
    on_startup: Sequence[Hook] = ()
    on_shutdown: Sequence[Hook] = ()


class Lifespan:
    """For `FastAPI(lifespan=)`: opens everything in order, and closes it in reverse."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def __call__(self, app: FastAPI) -> AbstractAsyncContextManager[None]:
        """The context in which the application serves."""
        return self._serve(app)

    @asynccontextmanager
    async def _serve(self, app: FastAPI) -> AsyncIterator[None]:
        kernel: Kernel = app.state.kernel
        with _step("routes"):
            _refuse_wrong_routes(app, kernel)
        with _step("database"), in_context(Context(kernel=kernel)):
            waiting = await self._open_database(kernel)
        serving = self._opened(app, kernel) if waiting is None else self._once_opened(app, kernel, waiting)
        async with serving:
            yield

    async def _open_database(self, kernel: Kernel) -> asyncio.Task[None] | None:
        """Opens the app database; the task that does so later if its server does not answer."""
        if backend_of(kernel.config.database_url) == "sqlite":
            await kernel.db.open()
            return None
        return await open_now_or_later("database", kernel.db.open)

    @asynccontextmanager
    async def _once_opened(self, app: FastAPI, kernel: Kernel, opening: asyncio.Task[None]) -> AsyncIterator[None]:
        """Answers probes until the database is open; then comes the rest of the start, in a task of its own."""
        stopping = asyncio.Event()

        async def serve() -> None:
            try:
                await opening
                kernel.waiting_for = "service"
                async with self._opened(app, kernel):
                    kernel.waiting_for = ""
                    await stopping.wait()
            except Exception:
                # The server believes that the start is over, so only the way that every server knows is left.
                if not stopping.is_set() and callable(signal.getsignal(signal.SIGTERM)):
                    signal.raise_signal(signal.SIGTERM)
                raise

        kernel.waiting_for = "database"
        started = asyncio.create_task(serve())
        try:
            yield
        finally:
            stopping.set()
            if opening.done():
                await started
            else:
                opened_meanwhile = await end_task(opening)
                await end_task(started)
                if opened_meanwhile:
                    await kernel.db.close()
            kernel.waiting_for = ""

    @asynccontextmanager
    async def _opened(self, app: FastAPI, kernel: Kernel) -> AsyncIterator[None]:
        """Everything after the app database is open, and its closing."""
        failures: list[Exception] = []
        async with AsyncExitStack() as opened:
            opened.push_async_callback(kernel.db.close)
            opened.push_async_callback(kernel.end_telling)
            with in_context(Context(kernel=kernel)):
                await self._start(app, kernel, opened)
            opened.push_async_callback(self._run_shutdown_hooks, app, kernel, failures)
            # While all that a listener may use is still open; above for what hooks and features say as they end.
            opened.push_async_callback(kernel.end_telling)
            with in_context(Context(kernel=kernel)):
                for feature in kernel.features:
                    if feature.work is not None:
                        with _step(f"feature {feature.name}"):
                            await opened.enter_async_context(feature.work(kernel))
            kernel.ready = True
            _log.info("service_started", service=kernel.name, version=app.version)
            try:
                yield
            finally:
                kernel.ready = False
                _log.info("service_stopping", service=kernel.name)
        if failures:
            raise failures[0]

    async def _start(self, app: FastAPI, kernel: Kernel, opened: AsyncExitStack) -> None:
        hooks, features = self._hooks, kernel.features
        opened.enter_context(_running(kernel))
        with _step("redis"):
            await opened.enter_async_context(redis_connection(kernel))
        with _step("tables"):
            await kernel.db.ensure_tables([table for feature in features for table in feature.tables])
            await keep_name(kernel)
        with _step("admin_database"):
            await opened.enter_async_context(admin_database(kernel))
        for name, hook in (("schema_init", hooks.schema_init), ("db_seed", hooks.db_seed)):
            if hook is not None:
                with _step(name):
                    await _finished(hook(kernel.db.connection()))
        for feature in features:
            if feature.lifespan is not None:
                with _step(f"feature {feature.name}"):
                    await opened.enter_async_context(feature.lifespan(kernel))
        with _step("on_startup"):
            for hook in hooks.on_startup:
                await _call(hook, app)

    async def _run_shutdown_hooks(self, app: FastAPI, kernel: Kernel, failures: list[Exception]) -> None:
        with in_context(Context(kernel=kernel)):
            for hook in self._hooks.on_shutdown:
                try:
                    await _call(hook, app)
                except Exception as exc:  # noqa: BLE001 - raised when everything else has been closed
                    _log.error("shutdown_failed", step="on_shutdown", error=type(exc).__name__, exc_info=exc)
                    failures.append(exc)


@contextmanager
def _step(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as exc:
        # The traceback of an error of the kernel's own would only show the kernel.
        shown = None if isinstance(exc, ConfigurationError) else exc
        _log.error("startup_failed", step=name, error=type(exc).__name__, reason=str(exc), exc_info=shown)
        raise


@contextmanager
def _running(kernel: Kernel) -> Iterator[None]:
    enter_kernel(kernel)
    kernel.running = True
    try:
        yield
    finally:
        kernel.running = False
        leave_kernel(kernel)


def _refuse_wrong_routes(app: FastAPI, kernel: Kernel) -> None:
    problems = [
        *find_misplaced_routers(app.routes),
        *find_shadowed_routes(app, kernel.features),
        *find_dependency_problems(app.routes, kernel),
    ]
    if problems:
        raise ConfigurationError(problems)


async def _call(hook: Hook, app: FastAPI) -> None:
    """Calls a hook without arguments, or with the application where it takes one."""
    parameters = inspect.signature(hook).parameters.values()
    takes_one = any(
        each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) and each.default is each.empty
        for each in parameters
    )
    await _finished(hook(app) if takes_one else hook())


async def _finished(result: Any) -> None:
    if inspect.isawaitable(result):
        await result
