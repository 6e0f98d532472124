"""What a route says of itself where none of its dependencies says who may call it, and what makes dependencies."""

from typing import Any, TypeVar

_ATTRIBUTE = "__app_kernel_public__"
_MAKES = "__app_kernel_makes_dependency__"

Target = TypeVar("Target")


def public(target: Target) -> Target:
    """Says that a route is open to everybody on purpose, or lets nobody in but by a check of its own.

    It stands below `@router.get(...)` on a function, which it leaves as it is; an ASGI application that is mounted can
    be marked too: `app.mount("/static", public(StaticFiles(...)))`. It opens nothing: it is what
    `assert_tenant_isolation` asks of a route that depends neither on a user nor on a key. Raises TypeError for what
    cannot carry a mark.
    """
    try:
        setattr(getattr(target, "__func__", target), _ATTRIBUTE, True)
    except AttributeError:
        raise TypeError(
            f"{target!r} cannot carry a mark: put the decorator on the function, below @router.get(...)."
        ) from None
    return target


def makes_dependency(function: Target) -> Target:
    """Marks a function that makes a dependency, so that `Depends(function)` without the call is found at the start."""
    setattr(function, _MAKES, True)
    return function


def makes_dependencies(target: Any) -> bool:
    """Whether this is a function that makes dependencies, and none itself."""
    return getattr(target, _MAKES, False) is True


def is_public(target: Any) -> bool:
    """Whether a route's function or a mounted application is marked as open to everybody."""
    return getattr(target, _ATTRIBUTE, False) is True
