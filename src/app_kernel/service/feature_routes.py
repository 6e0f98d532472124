"""The kernel's own routes, made when somebody comes for one of them.

FastAPI makes the routes of an included router when a request first comes by, 1 to 2 ms each, and tries one after the
other. Those of all features would be a tenth of a second for whoever comes first, and some for every path that is none.
"""

from fastapi import APIRouter
from starlette.routing import Match
from starlette.types import Scope

from app_kernel.core.route_walk import is_kernels, walk_routes


def answer_no_early(router: APIRouter) -> None:
    """Lets a router of the kernel's say at once that it has no route for a path, where no part of that begins one.

    A router of an application's own stays as it is: it may get routes later on.
    """
    routes = list(walk_routes(router.routes))
    beginnings = frozenset((route.path or "/{")[1:].partition("/")[0] for route in routes)
    if any("{" in each for each in beginnings) or not all(is_kernels(route) for route in routes):
        return
    look = type(router).matches

    def matches(scope: Scope) -> tuple[Match, Scope]:
        if beginnings.isdisjoint(scope["path"].split("/")):
            return Match.NONE, {}
        return look(router, scope)

    router.matches = matches  # type: ignore[method-assign]  # the router of a feature, which may be everybody's
