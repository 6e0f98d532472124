"""What saas contributes to a service."""

from collections.abc import Iterator

from fastapi import APIRouter

from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import ConfigurationError
from app_kernel.core.events import OwnershipProven, UserDeleted, UserRegistered
from app_kernel.core.feature import Feature, FeatureRouter, Listener
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Accounts, Mailer, Memberships, RateLimiter, WorkspaceStates
from app_kernel.saas import invite_routes, member_routes, routes, store
from app_kernel.saas.invites import withdraw_early
from app_kernel.saas.live import LiveMemberships
from app_kernel.saas.members import leave_all
from app_kernel.saas.slugs import another
from app_kernel.saas.tables import TABLES
from app_kernel.saas.workspaces import create_workspace

NAME = "saas"
PERSONAL = "Personal"

router = APIRouter()
for part in (routes, member_routes, invite_routes):
    # Not included: FastAPI would build each of them twice more.
    router.routes.extend(part.router.routes)


def create_feature(config: ServiceConfig) -> Feature | None:
    """Workspaces with members and invites, and their routes; None when neither `saas_enabled` nor
    `personal_workspaces` is on.

    Raises ConfigurationError where there are no accounts.
    """
    problems = list(_problems(config))
    if problems:
        raise ConfigurationError(problems)
    # A worker does not see the routers of the application, and makes accounts all the same.
    if not (config.saas_enabled or config.personal_workspaces):
        return None
    listeners: dict[type, Listener] = {UserDeleted: leave_all, OwnershipProven: withdraw_early}
    if config.personal_workspaces:
        listeners[UserRegistered] = _make_personal
    return Feature(
        name=NAME,
        tables=TABLES,
        router=router,
        tags={"workspaces": "Workspaces, their members, and invites into them."},
        listeners=listeners,
        provides={Memberships: LiveMemberships, WorkspaceStates: LiveMemberships},
        requires=(Accounts,),
        uses=(Mailer, RateLimiter),
    )


def create_saas_router() -> FeatureRouter:
    """What `routers=[..., create_saas_router()]` of `create_service` takes: it switches workspaces on.

    Their routes stand at `/workspaces`, `/invites` and `/auth/me/workspace`, behind the service's `api_prefix`, once,
    whether or not `saas_enabled` is set too. It goes into no other router.
    """
    return FeatureRouter(NAME, {"saas_enabled": True}, router)


def _problems(config: ServiceConfig) -> Iterator[str]:
    if config.saas_enabled and not config.auth_enabled:
        yield "saas_enabled (SAAS_ENABLED): workspaces need accounts, and auth_enabled is off; switch it on"
    if config.personal_workspaces and not config.auth_enabled:
        yield "personal_workspaces (PERSONAL_WORKSPACES): workspaces need accounts, and auth_enabled is off"


async def _make_personal(kernel: Kernel, event: UserRegistered) -> None:
    """Makes the workspace of a new account, in the commit that makes the account, and has its owner work in it."""
    db = kernel.db.connection()
    # Not made of the address: a slug is shown to whoever is invited.
    made = await create_workspace(db, PERSONAL, event.user_id, slug=another(PERSONAL.lower()))
    await store.save_choice(db, event.user_id, made["id"])
