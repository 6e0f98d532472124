"""What auth contributes to a service."""

import logging

from fastapi import APIRouter

from app_kernel.auth import email_routes, pages, routes, user_routes
from app_kernel.auth.issuer import Issuer
from app_kernel.auth.live import forget_user
from app_kernel.auth.mailing import TASKS
from app_kernel.auth.port import KernelAccounts
from app_kernel.auth.tables import TABLES
from app_kernel.core.config import ServiceConfig
from app_kernel.core.events import SecurityEvent
from app_kernel.core.feature import Feature
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Accounts, JobQueue, Mailer, Memberships

_log = logging.getLogger("app_kernel.auth")


def create_feature(config: ServiceConfig) -> Feature | None:
    """Accounts, sessions and the routes under /auth; None when `auth_enabled` is False.

    Raises ConfigurationError when there is no secret to sign with.
    """
    if not config.auth_enabled:
        return None
    issuer = Issuer(config)
    router = APIRouter()
    for part in (routes, email_routes, user_routes, pages):
        # Not included: FastAPI would build each of them twice more.
        router.routes.extend(part.router.routes)
    return Feature(
        name="auth",
        tables=TABLES,
        router=router,
        tags={
            "auth": "Signing up, in and out, and one's own account. Tokens keep a session, or for browsers cookies.",
            "users": "All accounts, for admins.",
        },
        security_schemes=issuer.cookies.security_schemes(),
        authenticator=issuer.live.identify,
        tasks=TASKS,
        listeners={SecurityEvent: _hear_security_event},
        # Nobody could sign up without the mail that they wait for.
        requires=(Mailer, JobQueue) if config.email_verification == "required" else (),
        uses=(Mailer, JobQueue, Memberships),
        provides={Issuer: lambda kernel: issuer, Accounts: lambda kernel: KernelAccounts(issuer)},
    )


def _hear_security_event(kernel: Kernel, event: SecurityEvent) -> None:
    if event.user_id is not None and event.name.startswith("workspace."):
        # The workspace that they work in was read with their sessions.
        forget_user(event.user_id)
    _log.info(
        event.name,
        extra={
            "subject_id": event.user_id,
            "actor_id": event.actor_id,
            "address": event.address,
            "detail": dict(event.detail),
        },
    )
