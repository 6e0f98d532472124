"""For handlers whose work and whose kept answer are to be one transaction."""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

from app_kernel.idempotency.gate import current_gate
from app_kernel.idempotency.unkeyed import PARAMETER, Work, signature_with_work, working

P = ParamSpec("P")
R = TypeVar("R")

_MARK = "__app_kernel_idempotent__"


def idempotent(handler: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Makes the work of an async handler one transaction of the app database; stands right under `@router.post(...)`.

    Every verb in it joins. It commits once the handler has returned and its answer is made and valid, and takes
    everything back when the handler raises, when the transaction lasts longer than 5 s, or when the answer asks to try
    again: 5xx, 408, 425, 429, and any other error with `Retry-After`. With an `Idempotency-Key` the answer is kept by
    the same commit, so a process that dies leaves either both or nothing, and a repeat is safe after any failure.

    Called by anything but a route, it is one transaction that ends with the handler. Raises TypeError for what is no
    `async def`, and as the transaction does (see `db.transaction()`).
    """
    if not inspect.iscoroutinefunction(inspect.unwrap(handler)):
        raise TypeError("@idempotent is for `async def` handlers, and stands under @router.post(...), not above it.")

    @functools.wraps(handler)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        work = kwargs.pop(PARAMETER, None)
        gate = current_gate()
        if gate is not None and gate.in_transaction:
            return await handler(*args, **kwargs)
        bound = functools.partial(handler, *args, **kwargs)
        if isinstance(work, Work):
            result: R = await work.run(bound)
            return result
        async with working(None) as own:
            result = await own.run(bound)
        return result  # noqa: RET504 - only now is it committed

    call.__signature__ = signature_with_work(handler)  # type: ignore[attr-defined]  # what inspect.signature() reads
    setattr(call, _MARK, True)
    return call


def is_one_commit(handler: Any) -> bool:
    """Whether a handler is decorated with `idempotent`, also under other decorators that use functools.wraps."""
    return bool(getattr(handler, _MARK, False))
