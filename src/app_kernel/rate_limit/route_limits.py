"""Which limit of its own the route has that is going to answer a request, before it is matched."""

import re
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import BaseRoute, Match

from app_kernel.core.limits import RouteLimit, limit_of
from app_kernel.core.route_walk import walk_routes


@dataclass(frozen=True, slots=True)
class NamedLimit:
    """A route's limit, and the name that the route's buckets have."""

    name: str
    """Methods and template, with those of mounts, such as `GET /reports/{id}`."""
    limit: RouteLimit


@dataclass(frozen=True, slots=True)
class _Entry:
    """One route as it is matched; of a mount with the routes inside."""

    route: RouteContext
    named: NamedLimit | None
    inside: "tuple[_Entry, ...] | None" = None


class RouteLimits:
    """Of one application, read when it is made; what the application adds later is read by another one.

    Most requests go to routes without a decorator, and cost a look into a set. Only where a path may be that of a
    decorated route, the routes are matched in their order, as an undecorated one may come before it.

    It is current as long as every router, included or mounted, has as many routes as it had: a route that was put in
    place of another one, without more or fewer of them, is not seen.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        # To match routes FastAPI has to build them, which is for nothing where none has a limit.
        self._entries = tuple(_entries(routes, "")) if _any_has_limit(routes) else ()
        self._top = routes
        self._lists = tuple(_lists_of(routes, {}).values())
        self._count = sum(map(len, self._lists))
        self._paths: set[str] = set()
        self._patterns: list[re.Pattern[str]] = []
        for entry in self._entries:
            if _has_limit(entry):
                path, pattern = entry.route.path_format, getattr(entry.route, "path_regex", None)
                if path is not None and pattern == re.compile(f"^{re.escape(path)}$"):
                    # `$` also matches before a newline at the end, so that this too is a path of the route.
                    self._paths |= {path, f"{path}\n"}
                else:
                    # What is no path, such as a host, may be any.
                    self._patterns.append(pattern or re.compile(""))

    def is_current(self, routes: Sequence[BaseRoute]) -> bool:
        """Whether these are the routes that were read, and no router below them has got or lost any since."""
        return routes is self._top and sum(map(len, self._lists)) == self._count

    def find(self, path: str, scope: MutableMapping[str, Any]) -> NamedLimit | None:
        """The limit of the route that answers, or None where that has none or nothing answers.

        `path` is that of the scope below its root.
        """
        if path not in self._paths:
            for pattern in self._patterns:
                if pattern.match(path):
                    break
            else:
                return None
        return _first_match(self._entries, {**scope})


def _lists_of(routes: Sequence[BaseRoute], found: dict[int, Sequence[BaseRoute]]) -> dict[int, Sequence[BaseRoute]]:
    """The lists of routes, by identity, in which a new route of the application may appear."""
    if id(routes) not in found:
        found[id(routes)] = routes
        for route in routes:
            inside = getattr(getattr(route, "original_router", route), "routes", None)
            if inside is not None:
                _lists_of(inside, found)
    return found


def _any_has_limit(routes: Sequence[BaseRoute]) -> bool:
    return any(
        limit_of(route.endpoint) is not None or _any_has_limit(getattr(route, "routes", None) or ())
        for route in walk_routes(routes)
    )


def _entries(routes: Sequence[BaseRoute], prefix: str) -> Iterator[_Entry]:
    for route in iter_route_contexts(routes):
        inside = getattr(route, "routes", None)
        path = f"{prefix}{route.path_format or ''}"
        if inside is not None:
            yield _Entry(route, None, tuple(_entries(inside, path.removesuffix("{path}").removesuffix("/"))))
        else:
            limit = limit_of(route.endpoint)
            named = None
            if limit is not None:
                named = NamedLimit(f"{','.join(sorted(route.methods or ()))} {path}".strip(), limit)
            yield _Entry(route, named)


def _has_limit(entry: _Entry) -> bool:
    return entry.named is not None or any(_has_limit(each) for each in entry.inside or ())


def _first_match(entries: tuple[_Entry, ...], scope: MutableMapping[str, Any]) -> NamedLimit | None:
    for entry in entries:
        match, more = entry.route.matches(scope)
        if match is Match.FULL:
            return entry.named if entry.inside is None else _first_match(entry.inside, {**scope, **more})
    return None
