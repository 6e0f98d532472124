"""The limit of one route, as its function carries it, and the header fields that tell of a limit."""

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any

from app_kernel.core.ports.identity import Allowance

_ATTRIBUTE = "__app_kernel_limit__"
_COUNTED_FOR = "app_kernel.counted_for"

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class RouteLimit:
    """What a decorator says of a route."""

    requests: int | None
    """Requests that one caller may make in a window; None for as many as they like."""
    window: int = 0
    """The window, in seconds."""


def mark_route(function: Callable[..., Any], limit: RouteLimit) -> None:
    """Writes a limit on the function of a route, whose signature stays as it is.

    Raises TypeError for what cannot carry it, such as a bound method.
    """
    try:
        setattr(function, _ATTRIBUTE, limit)
    except AttributeError:
        raise TypeError(
            f"{function!r} cannot carry a limit: put the decorator on the function, below @router.get(...)."
        ) from None


def limit_of(endpoint: Any) -> RouteLimit | None:
    """The limit that stands on a route's function, or None for one without a decorator."""
    found = getattr(endpoint, _ATTRIBUTE, None)
    return found if isinstance(found, RouteLimit) else None


def count_for(scope: MutableMapping[str, Any], user_id: str) -> None:
    """Notes that a request has been counted against the limit of this user."""
    scope[_COUNTED_FOR] = user_id


def is_counted_for(scope: Mapping[str, Any], user_id: str) -> bool:
    """Whether a request has been counted against the limit of this user already."""
    return scope.get(_COUNTED_FOR) == user_id


def limit_headers(policy: str, allowance: Allowance) -> list[Header]:
    """`RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10): what is left, and of what.

    `r` is how many requests are left, `t` the whole seconds until there is more room. `policy` is a name of letters,
    digits and dashes.
    """
    left = f'"{policy}";r={allowance.remaining};t={whole_seconds(allowance.reset_after)}'.encode()
    return [(b"ratelimit", left), (b"ratelimit-policy", _policy_field(policy, allowance.limit, allowance.window))]


def whole_seconds(seconds: float) -> int:
    """Seconds for a header, rounded up: whoever waits for that long does not come too early. At least 1."""
    # The difference of two instants may be a hair more than it is: 60.000000001 s are 60.
    return max(ceil(seconds - 1e-6), 1)


@lru_cache(maxsize=256)
def _policy_field(policy: str, limit: int, window: int) -> bytes:
    return f'"{policy}";q={limit};w={window}'.encode()
