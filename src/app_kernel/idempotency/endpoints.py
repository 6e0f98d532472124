"""Finds the handler that will answer a request, and puts the gate in front of it.

FastAPI calls a handler through `dependant.call`, after all dependencies, and looks it up there at each call: the one
place where everything about the caller is decided and nothing is done yet. It is changed with the first request that
brings a key to the route; requests without a key pay one look at a ContextVar there, and routes that never get a key
pay nothing.
"""

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.routing import Match
from starlette.types import Scope

from app_kernel.idempotency.decorator import is_one_commit
from app_kernel.idempotency.gate import current_gate

_GATED = "__app_kernel_gated__"


class Endpoint:
    """The handler of one route."""

    def __init__(self, route: RouteContext) -> None:
        call = inspect.unwrap(route.dependant.call)
        self.streams = inspect.isasyncgenfunction(call) or inspect.isgeneratorfunction(call)
        """Whether it is a generator, whose answer begins before it runs."""
        self.one_commit = is_one_commit(route.dependant.call)
        """Whether it is decorated with `idempotent`."""
        self._route = route

    def gate(self) -> None:
        """Makes sure that the handler is called through the gate of the request, where it has one."""
        dependant = self._route.dependant
        if not getattr(dependant.call, _GATED, False):
            dependant.call = _gated(dependant.call)


def find_endpoint(scope: Scope) -> Endpoint | None:
    """The handler that will answer; None for paths without one, and for what is no route of FastAPI's."""
    for route in iter_route_contexts(scope["app"].routes):
        if route.matches(scope)[0] is Match.FULL:
            return Endpoint(route) if isinstance(route.original_route, APIRoute) else None
    return None


def _gated(handler: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(handler)
    def call(**values: Any) -> Any:
        gate = current_gate()
        if gate is None:
            return handler(**values)
        return gate.run_in_thread(handler, values) if _in_thread() else gate.run(handler, values)

    setattr(call, _GATED, True)
    return call


def _in_thread() -> bool:
    """Whether FastAPI took the handler for a plain function, and runs it outside of the event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False
