"""The methods of a session with a count of their calls and errors, and with the time of one call in some."""

from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from time import perf_counter
from typing import Any, TypeVar

from app_kernel.core.database_figures import SAMPLED
from app_kernel.core.errors import KernelError

Method = TypeVar("Method", bound=Callable[..., Awaitable[Any]])


def counted_read(method: Method) -> Method:
    """For `fetch`, which is short enough that its arguments are not handed on as `counted` does."""

    @wraps(method)
    async def fetch(self: Any, sql: str, params: Sequence[Any], *, observed: bool = False) -> Any:
        figures = self.figures
        figures.reads += 1
        observe = None if figures.reads % SAMPLED else figures.observe
        began = perf_counter() if observe is not None else 0.0
        try:
            return await method(self, sql, params, observed=observed)
        except KernelError as exc:
            figures.fail("read", exc)
            raise
        finally:
            if observe is not None:
                observe("read", perf_counter() - began)

    return fetch  # type: ignore[return-value]  # the same arguments and result


def counted(operation: str) -> Callable[[Method], Method]:
    """For a method that takes long in comparison."""

    def decorate(method: Method) -> Method:
        @wraps(method)
        async def call(self: Any, *args: Any, **options: Any) -> Any:
            figures = self.figures
            count = figures.counts[operation] = figures.counts[operation] + 1
            observe = None if count % SAMPLED else figures.observe
            began = perf_counter() if observe is not None else 0.0
            try:
                return await method(self, *args, **options)
            except KernelError as exc:
                figures.fail(operation, exc)
                raise
            finally:
                if observe is not None:
                    observe(operation, perf_counter() - began)

        return call  # type: ignore[return-value]  # the same arguments and result

    return decorate
