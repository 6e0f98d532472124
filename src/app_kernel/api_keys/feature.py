"""What api_keys contributes to a service."""

from app_kernel.api_keys import store
from app_kernel.api_keys.live import LiveKeys, forget
from app_kernel.api_keys.routes import router
from app_kernel.api_keys.scopes import find_role_problems
from app_kernel.api_keys.tables import TABLES
from app_kernel.core.access_docs import API_KEY
from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import ConfigurationError
from app_kernel.core.events import OwnershipProven, SecurityEvent, UserDeleted
from app_kernel.core.feature import Feature
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Accounts, Memberships, RateLimiter

_CHANGES = frozenset({"auth.role_changed", "auth.deactivated", "auth.activated", "auth.deleted"})
"""Security events after which a user may do more or less; so may any that begins with `workspace.`."""


def create_feature(config: ServiceConfig) -> Feature | None:
    """API keys and the routes under /api-keys; None without accounts (`auth_enabled` is False).

    Raises ConfigurationError for scopes in `role_scopes` that are none, or that no other role than admin can have.
    """
    if not config.auth_enabled:
        return None
    problems = find_role_problems(config.role_scopes)
    if problems:
        raise ConfigurationError(problems)
    return Feature(
        name="api_keys",
        tables=TABLES,
        router=router,
        tags={"api_keys": "Keys for programs, which act for the user who made them, within the scopes they are given."},
        security_schemes={
            API_KEY: {
                "type": "apiKey",
                "in": "header",
                "name": "X-API-Key",
                "description": "An API key, `sk_live_...`; it may also come as a bearer token.",
            }
        },
        listeners={SecurityEvent: _forget_changed_user, UserDeleted: _delete_keys, OwnershipProven: _delete_keys},
        provides={LiveKeys: LiveKeys},
        requires=(Accounts,),
        uses=(Memberships, RateLimiter),
        work=lambda kernel: kernel.port(LiveKeys).uses.written(),
    )


def _forget_changed_user(kernel: Kernel, event: SecurityEvent) -> None:
    if event.user_id is not None and (event.name in _CHANGES or event.name.startswith("workspace.")):
        forget(user_id=event.user_id)


async def _delete_keys(kernel: Kernel, event: UserDeleted | OwnershipProven) -> None:
    """Removes the keys of a user in the commit that removes the user, or gives the account to its rightful owner."""
    db = kernel.db.connection()
    await store.delete_keys_of(db, event.user_id)
    # Then, as until then the old row is what others read.
    db.after_commit(lambda: forget(user_id=event.user_id))
