"""Routes that could never be reached: the application's in front of the kernel's, or the other way round."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.routing import BaseRoute, Match

from app_kernel.core.feature import Feature, FeatureRouter
from app_kernel.core.route_walk import SeenRoute, walk_routes

_SAMPLES = {"int": "1", "float": "1.5", "uuid": "00000000-0000-0000-0000-000000000000"}
_ANY_SAMPLE = "app-kernel-route-check"


def find_shadowed_routes(app: FastAPI, features: Iterable[Feature]) -> list[str]:
    """One sentence for each route that another one keeps from being reached, naming both.

    The routes are walked in the order in which they are matched. Routes count that the application added after
    `create_service` returned; of those only one with the very path of a kernel route is an error, as a pattern behind
    the kernel's routes, such as a single-page app's `/{path:path}`, is meant to get what is left.
    """
    owners = _owners(features)
    earlier: dict[str, list[SeenRoute]] = {}
    problems: list[str] = []
    for route in walk_routes(app.routes):
        problems += _conflicts(route, _rivals(route, earlier), owners)
        earlier.setdefault(_head(route), []).append(route)
    return problems


def find_misplaced_routers(routes: Sequence[BaseRoute]) -> Iterator[str]:
    """One sentence for each router of a feature that was included among these routes, instead of given to the service.

    It would answer at a second place, or at one where nobody has switched the feature on.
    """
    for route in routes:
        included = getattr(route, "original_router", None)
        if isinstance(included, FeatureRouter):
            yield (
                f"routers: the routes of {included.feature_name} are included in another router or in the application;"
                " give their router to create_service(routers=[...]) itself, whose api_prefix goes before it"
            )
        elif included is not None:
            yield from find_misplaced_routers(included.routes)


def _owners(features: Iterable[Feature]) -> dict[int, str]:
    """The feature's name by the identity of its routes."""
    return {
        id(context.original_route): feature.name
        for feature in features
        if feature.router is not None
        for context in walk_routes(feature.router.routes)
    }


def _rivals(route: SeenRoute, earlier: Mapping[str, list[SeenRoute]]) -> Iterator[SeenRoute]:
    """The routes before this one whose paths can be its own: to match each pair would be most of a start's time."""
    head = _head(route)
    for other, routes in earlier.items():
        if not head or not other or head == other:
            yield from routes


def _head(route: SeenRoute) -> str:
    """The first part of the path; empty where it may be anything."""
    first = (route.path_format or "").removeprefix("/").partition("/")[0]
    return "" if "{" in first else first


def _conflicts(route: SeenRoute, earlier: Iterable[SeenRoute], owners: Mapping[int, str]) -> Iterator[str]:
    owner = owners.get(id(route.original_route))
    for other in earlier:
        other_owner = owners.get(id(other.original_route))
        if owner == other_owner:
            continue  # within the application, or within one feature, the order is the author's intention
        reached = _matches(other, route) if owner is not None else _same_path(other, route)
        if reached:
            yield (
                f"routes: {_describe(route, owner)} is never reached, {_describe(other, other_owner)} answers first; "
                "change one of the paths, or add a catch-all after create_service() has returned"
            )
            return


def _matches(other: SeenRoute, route: SeenRoute) -> bool:
    """Whether `other` takes a request that is meant for `route`."""
    methods = route.methods
    if route.path_format is None or not methods:
        return False
    scope = {"type": "http", "path": _sample_path(route), "root_path": "", "headers": [], "query_string": b""}
    return any(
        other.matches({**scope, "method": method})[0] is Match.FULL
        for method in methods
        if method not in ("HEAD", "OPTIONS")
    )


def _same_path(other: SeenRoute, route: SeenRoute) -> bool:
    return bool(other.path_format) and other.path_format == route.path_format and _shares_method(other, route)


def _shares_method(other: SeenRoute, route: SeenRoute) -> bool:
    return bool((other.methods or set()) & (route.methods or set()))


def _sample_path(route: SeenRoute) -> str:
    """A path that the route's template takes and that no literal of another one equals by chance."""
    path: str = route.path_format or ""
    convertors: Mapping[str, Any] = route.param_convertors
    for name, convertor in convertors.items():
        kind = type(convertor).__name__.removesuffix("Convertor").lower()
        sample = _SAMPLES.get({"integer": "int"}.get(kind, kind), _ANY_SAMPLE)
        path = path.replace("{" + name + "}", sample)
    return path


def _describe(route: SeenRoute, owner: str | None) -> str:
    methods = ",".join(sorted((route.methods or set()) - {"HEAD"}))
    origin = f"feature {owner}" if owner is not None else _endpoint_name(route)
    return f"{methods} {route.path} ({origin})".strip()


def _endpoint_name(route: SeenRoute) -> str:
    endpoint = route.endpoint
    if endpoint is None:
        return "the application"
    return f"{getattr(endpoint, '__module__', '')}.{getattr(endpoint, '__qualname__', type(endpoint).__name__)}"
