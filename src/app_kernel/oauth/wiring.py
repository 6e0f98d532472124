"""The feature put together; imported only where providers are configured, as its libraries take time to import."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from app_kernel.core.config import ServiceConfig
from app_kernel.core.events import OwnershipProven, SecurityEvent, UserDeleted
from app_kernel.core.feature import Feature
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Accounts
from app_kernel.oauth.flow import OAuth
from app_kernel.oauth.linking import forget_early_links, forget_user
from app_kernel.oauth.routes import router
from app_kernel.oauth.tables import TABLES

CONFIRMED = frozenset({"auth.email_verified", "auth.password_reset"})
"""After which an account's address is confirmed, in whatever way; what does not count any more need not be kept."""


def make_feature(config: ServiceConfig) -> Feature:
    """The routes, tables and listeners of signing in elsewhere."""
    return Feature(
        name="oauth",
        tables=TABLES,
        router=router,
        tags={"oauth": "Signing in with an account elsewhere, and linking one."},
        listeners={
            UserDeleted: _forget_user,
            OwnershipProven: _forget_early_links,
            SecurityEvent: _forget_uncounted_links,
        },
        provides={OAuth: lambda kernel: OAuth(config, kernel)},
        requires=(Accounts,),
        lifespan=_running,
    )


@asynccontextmanager
async def _running(kernel: Kernel) -> AsyncIterator[None]:
    async with kernel.port(OAuth).running():
        yield


async def _forget_user(kernel: Kernel, event: UserDeleted) -> None:
    await forget_user(kernel, event.user_id)


async def _forget_early_links(kernel: Kernel, event: OwnershipProven) -> None:
    await forget_early_links(kernel, event.user_id)


def _forget_uncounted_links(kernel: Kernel, event: SecurityEvent) -> Awaitable[None] | None:
    # Plain, so that no task is made for all the other events.
    if event.name in CONFIRMED and event.user_id is not None:
        return forget_early_links(kernel, event.user_id)
    return None
