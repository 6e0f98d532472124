"""The transaction of an `@idempotent` handler whose request has no key, or nobody's: no answer is kept.

It ends when FastAPI leaves the dependencies with `scope="function"`: the answer is made and valid then, and not one
byte of it is sent. Such a dependency belongs to the decorated routes alone, so the others pay nothing.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import Depends
from starlette.responses import Response

from app_kernel.core.current import current_kernel
from app_kernel.idempotency.answers import asks_to_try_again
from app_kernel.idempotency.gate import roll_back

PARAMETER = "app_kernel_unkeyed_work"
"""The name under which FastAPI gives a decorated handler its Work."""


class Work:
    """What one handler does, until its answer is made."""

    def __init__(self, response: Response | None) -> None:
        self._response = response
        self._transaction: AbstractAsyncContextManager[Any] | None = None

    async def run(self, handler: Callable[[], Awaitable[Any]]) -> Any:
        """What the handler returns; raises what it raises, after taking its work back."""
        transaction = current_kernel().db.connection().transaction()
        await transaction.__aenter__()
        self._transaction = transaction
        try:
            result = await handler()
        except BaseException:
            await self.take_back()
            raise
        # A handler that returns no response may have set the status of the one that FastAPI makes for it.
        answer = result if isinstance(result, Response) else self._response
        if answer is not None and asks_to_try_again(answer.status_code or 200, answer.raw_headers):
            await self.take_back()
        return result

    async def commit(self) -> None:
        """Ends what was not taken back; raises as the transaction does."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            await transaction.__aexit__(None, None, None)

    async def take_back(self) -> None:
        """Leaves nothing of the work."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            await roll_back(transaction)


@asynccontextmanager
async def working(response: Response | None) -> AsyncIterator[Work]:
    """A Work that is committed at the end of the block, and taken back when the block raises."""
    work = Work(response)
    try:
        yield work
    except BaseException:
        await work.take_back()
        raise
    await work.commit()


async def work_of_route(response: Response) -> AsyncIterator[Work]:
    """The dependency: a Work that ends once the answer is made."""
    async with working(response) as work:
        yield work


def signature_with_work(handler: Callable[..., Any]) -> inspect.Signature:
    """The handler's signature and a parameter by which FastAPI gives it its Work."""
    signature = inspect.signature(handler)
    # Not cached: a decorated dependency beside a decorated handler has a Work of its own.
    depends = Depends(work_of_route, use_cache=False, scope="function")
    work = inspect.Parameter(PARAMETER, inspect.Parameter.KEYWORD_ONLY, default=depends)
    parameters = list(signature.parameters.values())
    takes_any = bool(parameters) and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD
    parameters.insert(len(parameters) - takes_any, work)
    return signature.replace(parameters=parameters)
