"""Who and what the running request or job is: one ContextVar that holds one small object."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app_kernel.core.identity import UserIdentity


class Context:
    """What is known of the running request or job.

    It is one mutable object, set anew by the outermost layer of every request, so that nothing set
    while one request ran can be seen by the next request of the same task.
    """

    __slots__ = (
        "actor_id", "address", "api_key_id", "auth_error", "auth_failure", "command", "job_id", "kernel", "request_id",
        "span", "traceparent", "user", "workspace_id",
    )  # fmt: skip

    def __init__(
        self,
        *,
        kernel: Any = None,
        request_id: str | None = None,
        address: str | None = None,
        actor_id: str | None = None,
        workspace_id: str | None = None,
        traceparent: str | None = None,
        job_id: str | None = None,
        command: str | None = None,
    ) -> None:
        self.kernel = kernel
        """The kernel that serves this request or job; None outside of both."""
        self.request_id = request_id
        self.address = address
        """The client's address as far as trusted proxies vouch for it."""
        self.actor_id = actor_id
        """The id of the user on whose behalf rows are written."""
        self.workspace_id = workspace_id
        self.traceparent = traceparent
        """The trace that the request or job is a part of, as W3C Trace Context spells it; None without one."""
        self.job_id = job_id
        """The running job; None in a request."""
        self.command = command
        """The command of a terminal that runs, such as `users create`; None elsewhere."""
        self.span: Any = None
        """What is traced of it (`core.tracing.Trace`); None where it is not traced."""
        self.api_key_id: str | None = None
        """The API key that the request came with, once a route has accepted it."""
        self.user: UserIdentity | None = None
        self.auth_error: str | None = None
        """Why the credential that came with the request was not accepted; None without one."""
        self.auth_failure: Exception | None = None
        """Why nobody can say whose credential it is, such as a database that does not answer."""


_context: ContextVar[Context | None] = ContextVar("app_kernel_context", default=None)
_nobody = Context()
find_context = _context.get
"""The context of the running request or job; None outside of both. For the hottest paths: one call of C."""


def current_context() -> Context:
    """The context of the running request or job; one that knows nothing outside of both."""
    return _context.get() or _nobody


def enter_context(context: Context) -> None:
    """Makes `context` the current one for the rest of this task, whatever was set before."""
    _context.set(context)


@contextmanager
def in_context(context: Context) -> Iterator[None]:
    """Makes `context` the current one inside the block, and what was current before it again afterwards."""
    token = _context.set(context)
    try:
        yield
    finally:
        _context.reset(token)


def actor_id() -> str | None:
    """The id of the user on whose behalf the code runs, or None."""
    context = _context.get()
    return context.actor_id if context is not None else None


def workspace_id() -> str | None:
    """The workspace in which the code runs, or None."""
    context = _context.get()
    return context.workspace_id if context is not None else None


def request_id() -> str | None:
    """The id of the running request, or None."""
    context = _context.get()
    return context.request_id if context is not None else None


def trace_id() -> str | None:
    """The id of the trace that the running request or job is a part of: 32 hexadecimal digits, or None."""
    context = _context.get()
    return context.traceparent[3:35] if context is not None and context.traceparent is not None else None


@contextmanager
def acting_as(user_id: str | None, workspace_id: str | None = None) -> Iterator[None]:
    """Sets the actor in scripts and start-up code: rows saved inside carry `user_id` as created_by and updated_by."""
    outer = current_context()
    inner = Context(
        kernel=outer.kernel,
        request_id=outer.request_id,
        address=outer.address,
        actor_id=user_id,
        workspace_id=workspace_id,
        traceparent=outer.traceparent,
        job_id=outer.job_id,
        command=outer.command,
    )
    inner.span = outer.span
    with in_context(inner):
        yield
