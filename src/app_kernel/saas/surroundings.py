"""What the functions of workspaces find around them: the running service, its accounts and its listeners."""

from typing import Any

from app_kernel.core.context import current_context
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import AccountNotFound, AmbiguousKernel, NoRunningKernel, PermissionDenied
from app_kernel.core.events import SecurityEvent
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Account, Accounts, EntityStore


def find_kernel() -> Kernel | None:
    """The running kernel; None in a script without one."""
    try:
        return current_kernel()
    except (NoRunningKernel, AmbiguousKernel):
        return None


def is_reached(db: EntityStore, workspace_id: str) -> bool:
    """Whether a handle reaches a workspace: through one that is bound to another one there is none such."""
    return db.workspace_id in (None, workspace_id)


def accounts_of(kernel: Kernel) -> Accounts:
    """The accounts of a service."""
    return kernel.port(Accounts)  # type: ignore[type-abstract]  # a port is asked for by its protocol


async def hold_account(db: EntityStore, user_id: str) -> Account | None:
    """The account of whom a workspace is to have, which nobody deletes before the open transaction ends.

    None in a script without a service, which has no accounts to ask. Raises AccountNotFound, and PermissionDenied for
    one that is deactivated.
    """
    kernel = find_kernel()
    if kernel is None:
        return None
    accounts = accounts_of(kernel)
    if await accounts.get_account(db, user_id) is None:
        raise AccountNotFound
    await accounts.hold_account(db, user_id)
    return await require_active(db, user_id)


async def require_active(db: EntityStore, user_id: str) -> Account | None:
    """The account as it is at this moment; None and errors as `hold_account`."""
    kernel = find_kernel()
    if kernel is None:
        return None
    account = await accounts_of(kernel).get_account(db, user_id)
    if account is None:
        raise AccountNotFound
    if not account.is_active:
        raise PermissionDenied("This account is deactivated.")
    return account


async def emit_security(name: str, user_id: str | None, workspace_id: str, by: str | None, **detail: Any) -> None:
    """Emits a SecurityEvent with the address of the running request, and who did it as far as that is known."""
    kernel = find_kernel()
    if kernel is not None:
        context = current_context()
        event = SecurityEvent(
            name, user_id, context.address, {"workspace_id": workspace_id, **detail}, by or context.actor_id
        )
        await kernel.emit(event)
