"""Routes whose dependencies would not do what their author meant: found at the start, not by whoever gets through."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from starlette.routing import BaseRoute

from app_kernel.core.kernel import Kernel
from app_kernel.core.policies import makes_dependencies
from app_kernel.core.route_walk import is_kernels, walk_routes
from app_kernel.core.workspaces import WorkspaceMember


def find_dependency_problems(routes: Sequence[BaseRoute], kernel: Kernel) -> list[str]:
    """One sentence for each dependency of the application's own routes that checks nothing, or lets nobody pass."""
    found: dict[str, None] = {}
    for name, call in _dependencies(routes):
        if makes_dependencies(call):
            # FastAPI would take its arguments from the query, and let everybody in.
            found[f"{name}: Depends({call.__name__}) checks nothing; write Depends({call.__name__}(...))"] = None
        elif isinstance(call, WorkspaceMember) and kernel.memberships is None:
            found[
                f"{name}: asks for a membership, and there are no workspaces; set saas_enabled (SAAS_ENABLED), or add"
                " create_saas_router() to the routers"
            ] = None
    return list(found)


def _dependencies(routes: Sequence[BaseRoute]) -> Iterator[tuple[str, Callable[..., Any]]]:
    for seen in walk_routes(routes):
        dependant = getattr(seen.original_route, "dependant", None)
        if dependant is not None and not is_kernels(seen):
            name = f"routes: {','.join(sorted((seen.methods or set()) - {'HEAD'})) or 'WEBSOCKET'} {seen.path}"
            yield from ((name, call) for call in _calls(dependant))
    yield from _of_routers(routes)


def _of_routers(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """What `include_router(dependencies=)` adds, which the routes themselves do not know."""
    for route in routes:
        router, included = getattr(route, "original_router", None), getattr(route, "include_context", None)
        if router is None or included is None or all(is_kernels(each) for each in walk_routes(router.routes)):
            continue
        for each in getattr(included, "dependencies", None) or ():
            if each.dependency is not None:
                yield f"routes: the router included under {included.prefix or '/'}", each.dependency
        yield from _of_routers(router.routes)


def _calls(dependant: Any) -> Iterator[Callable[..., Any]]:
    for each in dependant.dependencies:
        yield each.call
        yield from _calls(each)
