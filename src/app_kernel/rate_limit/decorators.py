"""Limits of single routes, written on their functions."""

from collections.abc import Callable
from typing import Any, TypeVar

from app_kernel.core.limits import RouteLimit, mark_route

Function = TypeVar("Function", bound=Callable[..., Any])


def rate_limit(requests: int, *, per: int = 60) -> Callable[[Function], Function]:
    """Gives a route a limit of its own, in place of the service's: `requests` in any `per` seconds for each caller.

    A caller is a user, or for those who are not signed in an address. Calls of the route count nowhere else. It stands
    below `@router.get(...)`, on a plain or an async function, and leaves the function as it is. Raises ValueError
    unless both are whole numbers above 0.
    """
    _require_whole("requests", requests)
    _require_whole("per", per)
    limit = RouteLimit(requests, per)

    def decorate(function: Function) -> Function:
        mark_route(function, limit)
        return function

    return decorate


def no_rate_limit(function: Function) -> Function:
    """Takes the limit off a route: calls of it are not counted at all. It stands below `@router.get(...)`."""
    mark_route(function, RouteLimit(None))
    return function


def _require_whole(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"rate_limit(): {name} must be a whole number above 0, not {value!r}")
