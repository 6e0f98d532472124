"""For handlers whose work and whose kept answer are to be one transaction."""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

from app_kernel.core.current import current_kernel
from app_kernel.idempotency.gate import current_gate

P = ParamSpec("P")
R = TypeVar("R")

_MARK = "__app_kernel_idempotent__"


def idempotent(handler: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Makes the work of an async handler one transaction of the app database; stands right under `@router.post(...)`.

    Every verb in it joins. It commits once the handler has returned and its answer is made, and takes everything back
    when the handler raises, or answers 5xx, or when the transaction lasts longer than 5 s. With an `Idempotency-Key`
    the answer is kept by the same commit, so a process that dies leaves either both or nothing, and a repeat is safe
    after any failure. Raises TypeError for what is no `async def`, and as the transaction does (see
    `db.transaction()`).
    """
    if not inspect.iscoroutinefunction(inspect.unwrap(handler)):
        raise TypeError("@idempotent is for `async def` handlers, and stands under @router.post(...), not above it.")

    @functools.wraps(handler)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        gate = current_gate()
        if gate is not None and gate.in_transaction:
            return await handler(*args, **kwargs)
        async with current_kernel().db.connection().transaction():
            return await handler(*args, **kwargs)

    setattr(call, _MARK, True)
    return call


def is_one_commit(handler: Any) -> bool:
    """Whether a handler is decorated with `idempotent`, also under other decorators that use functools.wraps."""
    return bool(getattr(handler, _MARK, False))
