"""The one ambient slot: which kernel does this code run under."""

from typing import TYPE_CHECKING

from app_kernel.core.context import current_context
from app_kernel.core.errors import AmbiguousKernel, NoRunningKernel

if TYPE_CHECKING:
    from app_kernel.core.kernel import Kernel
    from app_kernel.core.ports import EntityStore

_running: list["Kernel"] = []


def current_kernel() -> "Kernel":
    """The kernel of the running request or job, else the only one that runs in this process.

    A ContextVar alone would not do: one that is set in the lifespan's task is not seen by the tasks of requests.
    Raises NoRunningKernel when none runs, AmbiguousKernel when several do and no request or job says which.
    """
    kernel: Kernel | None = current_context().kernel
    if kernel is not None:
        return kernel
    if len(_running) == 1:
        return _running[0]
    if not _running:
        raise NoRunningKernel
    names = ", ".join(sorted(kernel.config.name or "?" for kernel in _running))
    raise AmbiguousKernel(
        f"Several kernels run in this process ({names}); call this from a request or a job of one of them."
    )


def running_kernels() -> tuple["Kernel", ...]:
    """All kernels that run in this process."""
    return tuple(_running)


def is_app_database(db: "EntityStore") -> bool:
    """Whether a handle is one of the own database of a running service, and not of its admin database."""
    return any(kernel.db.connection().database is db.database for kernel in _running)


def enter_kernel(kernel: "Kernel") -> None:
    """Adds a kernel to those that run in this process."""
    _running.append(kernel)


def leave_kernel(kernel: "Kernel") -> None:
    """Takes a kernel out of those that run in this process."""
    _running.remove(kernel)
