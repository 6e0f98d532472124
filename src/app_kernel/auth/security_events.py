"""Telling the rest of the service what happened to an account."""

from typing import Any

from app_kernel.core.context import current_context
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import AmbiguousKernel, NoRunningKernel
from app_kernel.core.events import SecurityEvent
from app_kernel.core.kernel import Kernel


async def emit(event: object) -> None:
    """Tells the running service's listeners; a script without a service has none."""
    kernel = find_kernel()
    if kernel is not None:
        await kernel.emit(event)


async def emit_security(name: str, user_id: str | None, **detail: Any) -> None:
    """Emits a SecurityEvent with the address and the user of the running request."""
    context = current_context()
    actor = context.actor_id if context.user is None else context.user.id
    await emit(SecurityEvent(name, user_id, context.address, detail, actor))


def find_kernel() -> Kernel | None:
    """The running kernel; None in a script without one."""
    try:
        return current_kernel()
    except (NoRunningKernel, AmbiguousKernel):
        return None
