"""All routes of an application as they are reached, without making FastAPI build them.

FastAPI makes the routes of an included router anew when they are first looked at, 1 to 2 ms each. A look at paths and
functions needs none of that: the start of a service would take twice as long for it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from re import Pattern
from typing import Any, TypeAlias

from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.convertors import Convertor
from starlette.routing import BaseRoute, Match, compile_path


class IncludedRoute:
    """A route of an included router, under the path at which it is reached; reads like FastAPI's RouteContext."""

    __slots__ = ("original_route", "path")

    def __init__(self, original_route: APIRoute, prefix: str) -> None:
        self.original_route = original_route
        self.path = prefix + original_route.path

    @property
    def methods(self) -> set[str]:
        """The methods that it answers."""
        return self.original_route.methods or set()

    @property
    def endpoint(self) -> Callable[..., Any]:
        """Its function."""
        return self.original_route.endpoint

    @property
    def path_format(self) -> str:
        """Its template, without the names of convertors."""
        return _compiled(self.path)[1]

    @property
    def path_regex(self) -> Pattern[str]:
        """What its paths match."""
        return _compiled(self.path)[0]

    @property
    def param_convertors(self) -> Mapping[str, Convertor[Any]]:
        """How the parameters in its path are read."""
        return _compiled(self.path)[2]

    def matches(self, scope: Mapping[str, Any]) -> tuple[Match, dict[str, Any]]:
        """Whether it answers a request, as Starlette's routes say it; of a path without a root_path."""
        if scope["type"] != "http" or not self.path_regex.match(scope["path"]):
            return Match.NONE, {}
        return (Match.FULL if scope["method"] in self.methods else Match.PARTIAL), {}


SeenRoute: TypeAlias = IncludedRoute | RouteContext


def walk_routes(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[SeenRoute]:
    """The routes in the order in which they are matched; those of mounted applications stay inside their mount."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield IncludedRoute(route, prefix) if prefix else RouteContext(route)
            continue
        router, included = getattr(route, "original_router", None), getattr(route, "include_context", None)
        if router is None or included is None:
            yield from iter_route_contexts([route])
        elif all(_is_plain(each) for each in router.routes):
            yield from walk_routes(router.routes, prefix + included.prefix)
        else:
            # A mount or a WebSocket in it: FastAPI knows best where it is reached.
            yield from iter_route_contexts([route])


def is_kernels(route: SeenRoute) -> bool:
    """Whether a route is the kernel's own, and none of an application's."""
    return str(getattr(route.endpoint, "__module__", "")).startswith("app_kernel.")


def _is_plain(route: BaseRoute) -> bool:
    if isinstance(route, APIRoute):
        return True
    router = getattr(route, "original_router", None)
    return router is not None and all(_is_plain(each) for each in router.routes)


@lru_cache(maxsize=4096)
def _compiled(path: str) -> tuple[Pattern[str], str, Mapping[str, Convertor[Any]]]:
    return compile_path(path)
