"""Liveness and readiness: `/healthz` answers while the event loop lives, `/readyz` while the service can do its work.

Both are plain Starlette routes: a probe that comes every second needs none of FastAPI's dependency machinery.
"""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app_kernel.core.config import ServiceConfig
from app_kernel.core.context import current_context
from app_kernel.core.feature import Feature, HealthCheck, NothingToSay
from app_kernel.core.kernel import Kernel
from app_kernel.core.policies import public
from app_kernel.logs import get_logger

CHECK_SECONDS = 2.0
"""How long one component may take to answer."""

_ALIVE = orjson.dumps({"status": "ok"})

_log = get_logger("app_kernel.health")


@public
async def healthz(request: Request) -> Response:
    """200 while the event loop lives, whatever else is wrong."""
    return Response(_ALIVE, media_type="application/json")


@public
async def readyz(request: Request) -> Response:
    """200 when every component answers, else 503 with the names of those that do not; the reasons are in the log."""
    kernel: Kernel = current_context().kernel
    if not kernel.ready:
        return _answer({kernel.waiting_for or "service": False})
    return _answer(await check_components(kernel))


async def check_components(kernel: Kernel) -> dict[str, bool]:
    """Asks the databases, Redis and every feature's health checks, all at once, each for at most CHECK_SECONDS.

    A check that has nothing to say is left out.
    """
    checks: dict[str, HealthCheck] = {"database": _ping_database}
    if kernel.admin_db is not None:
        checks["admin_database"] = _ping_admin_database
    if kernel.redis is not None:
        checks["redis"] = _ping_redis
    for feature in kernel.features:
        checks.update(feature.health)
    answers = await asyncio.gather(*(_ask(name, check, kernel) for name, check in checks.items()))
    return {name: well for name, well in zip(checks, answers, strict=True) if well is not None}


async def _ping_database(kernel: Kernel) -> bool:
    await kernel.db.ping()
    return True


async def _ping_admin_database(kernel: Kernel) -> tuple[bool, str]:
    if kernel.admin_db is None or not kernel.admin_is_open:
        return False, "it is not open yet"
    await kernel.admin_db.ping()
    return True, ""


async def _ping_redis(kernel: Kernel) -> bool:
    await kernel.redis.ping()
    return True


async def _ask(name: str, check: HealthCheck, kernel: Kernel) -> bool | None:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            answer = await check(kernel)
    except NothingToSay:
        return None
    except Exception as exc:  # noqa: BLE001 - a check that fails in any way is a component that is not ready
        _log.warning("component_not_ready", component=name, reason=f"{type(exc).__name__}: {exc}")
        return False
    well, reason = answer if isinstance(answer, tuple) else (answer is not False, "")
    if not well:
        _log.warning("component_not_ready", component=name, reason=reason)
    return bool(well)


def _answer(components: dict[str, bool]) -> Response:
    well = all(components.values())
    body = {
        "status": "ready" if well else "unavailable",
        "components": {name: "ok" if ok else "unavailable" for name, ok in components.items()},
    }
    return Response(orjson.dumps(body), 200 if well else 503, {"Cache-Control": "no-store"}, "application/json")


@asynccontextmanager
async def unready_at_shutdown(kernel: Kernel) -> AsyncIterator[None]:
    """Turns readiness off at the signal that begins a graceful shutdown, before the server has finished its requests.

    The server tells the lifespan only after its last request. So the handler that it installed is called by ours: at
    once, or after a SIGTERM when `drain_seconds` are over, in which a load balancer learns that it is to send no more.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    chained = [
        _Signal(kernel, number, handler)
        for number in (signal.SIGTERM, signal.SIGINT)
        if callable(handler := signal.getsignal(number))
    ]
    try:
        yield
    finally:
        for each in chained:
            each.restore()
        kernel.draining = False


class _Signal:
    """A signal's handler before that of the server."""

    def __init__(self, kernel: Kernel, number: signal.Signals, server_handler: Callable[..., Any]) -> None:
        self._kernel = kernel
        self._number = number
        self._server_handler = server_handler
        # Only a supervisor sends SIGTERM; who presses Ctrl-C does not want to wait. What a loop hears by itself, as in
        # a worker, it has heard before this handler is called.
        drains = number is signal.SIGTERM and not _is_of_a_loop(server_handler)
        self._drains = kernel.config.drain_seconds if drains else 0.0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        signal.signal(number, self._handle)

    def _handle(self, received: int, frame: FrameType | None) -> None:
        kernel = self._kernel
        was_ready, kernel.ready = kernel.ready, False
        if not self._drains or not (was_ready or kernel.draining):
            self._server_handler(received, frame)
        elif not kernel.draining:
            kernel.draining = True
            self._loop.call_soon_threadsafe(self._drain)
        # Else it has been told already: supervisors of process groups send a signal twice.

    def _drain(self) -> None:
        _log.info("service_draining", seconds=self._drains)
        self._timer = self._loop.call_later(self._drains, self._server_handler, self._number, None)

    def restore(self) -> None:
        """Puts the server's handler back, unless somebody has taken this one's place."""
        if self._timer is not None:
            self._timer.cancel()
        # Equal, not the same: a bound method is made anew each time.
        if signal.getsignal(self._number) == self._handle:
            signal.signal(self._number, self._server_handler)


def _is_of_a_loop(handler: Callable[..., Any]) -> bool:
    """Whether it stands for what `loop.add_signal_handler` was given."""
    return str(getattr(handler, "__module__", "")).partition(".")[0] in ("asyncio", "uvloop")


def app_checks(checks: Iterable[Any]) -> dict[str, HealthCheck]:
    """The checks of `create_service(health_checks=)`: async callables, or (name, callable) pairs, without arguments."""
    named: dict[str, HealthCheck] = {}
    for entry in checks:
        name, check = entry if isinstance(entry, tuple) else (getattr(entry, "__name__", "check"), entry)
        named[name] = _without_kernel(check)
    return named


def _without_kernel(check: Callable[[], Awaitable[Any]]) -> HealthCheck:
    async def ask(kernel: Kernel) -> Any:
        return await check()

    return ask


def create_feature(config: ServiceConfig) -> Feature:
    """`/healthz` and `/readyz`, at the root whatever the api_prefix."""
    router = APIRouter()
    router.add_route("/healthz", healthz, include_in_schema=False)
    router.add_route("/readyz", readyz, include_in_schema=False)
    return Feature(name="health", router=router, unprefixed=True, lifespan=unready_at_shutdown)
