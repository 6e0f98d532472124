"""What auth contributes to a service."""

import logging

from app_kernel.auth.accounts import KernelAccounts
from app_kernel.auth.issuer import Issuer
from app_kernel.auth.routes import router
from app_kernel.auth.tables import TABLES
from app_kernel.core.config import ServiceConfig
from app_kernel.core.events import SecurityEvent
from app_kernel.core.feature import Feature
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Accounts

_log = logging.getLogger("app_kernel.auth")


def create_feature(config: ServiceConfig) -> Feature | None:
    """Accounts, sessions and the routes under /auth; None when `auth_enabled` is False.

    Raises ConfigurationError when there is no secret to sign with.
    """
    if not config.auth_enabled:
        return None
    issuer = Issuer(config)
    return Feature(
        name="auth",
        tables=TABLES,
        router=router,
        authenticator=issuer.live.identify,
        listeners={SecurityEvent: _log_security_event},
        provides={Issuer: lambda kernel: issuer, Accounts: lambda kernel: KernelAccounts()},
    )


def _log_security_event(kernel: Kernel, event: SecurityEvent) -> None:
    _log.info(event.name, extra={"subject_id": event.user_id, "address": event.address, "detail": dict(event.detail)})
