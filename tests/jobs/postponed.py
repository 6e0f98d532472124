"""Handlers of a module whose annotations are text, some of which only a type checker can read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from app_kernel import JobContext

if TYPE_CHECKING:
    from somewhere import JobContext as Elsewhere  # type: ignore[import-not-found]  # noqa: F401

    from app_kernel import JobContext as Context


class Order(BaseModel):
    """A payload."""

    task_id: str
    count: int


async def both(payload: dict[str, Any], job: JobContext) -> Any:
    """Gives back what it got."""
    return payload, job


async def turned(ctx: JobContext, payload: dict[str, Any]) -> Any:
    """The other way round."""
    return payload, ctx


async def optional(payload: dict[str, Any], job: JobContext | None = None) -> Any:
    """One that is called by hand too."""
    return payload, job


async def for_type_checkers(payload: dict[str, Any], ctx: Context) -> Unknown:  # type: ignore[name-defined]  # noqa: F821
    """Whose annotations cannot all be read while it runs."""
    return payload, ctx


async def order(payload: Order) -> Any:
    """With a model."""
    return payload


async def order_for_type_checkers(payload: Order, ctx: Context) -> Any:
    """With a model beside an annotation that cannot be read."""
    return payload


class Mailer:
    """Handlers of an object."""

    async def send(self, payload: dict[str, Any], job: JobContext) -> Any:
        """Gives back what it got."""
        return payload, job

    async def __call__(self, job: JobContext, payload: dict[str, Any]) -> Any:
        """The other way round."""
        return payload, job
