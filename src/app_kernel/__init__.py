"""A reusable kernel for backend services: auth, a schemaless store, HTTP plumbing and health in one call."""

from app_kernel.core.config import ServiceConfig
from app_kernel.core.context import acting_as
from app_kernel.core.deps import redis_client
from app_kernel.core.errors import ConfigurationError, KernelError, NotAuthenticated, PermissionDenied
from app_kernel.core.feature import Feature
from app_kernel.core.identity import (
    UserIdentity,
    get_current_user,
    get_current_user_optional,
    require_admin,
    require_role,
)
from app_kernel.core.policies import public
from app_kernel.core.workspaces import Membership, require_workspace_member, require_workspace_role
from app_kernel.features import FEATURES
from app_kernel.jobs import DoNotRetry, JobContext, JobRegistry, RetryLater, get_job_client
from app_kernel.logs import get_logger
from app_kernel.saas import create_saas_router
from app_kernel.service import create_service

__all__ = [
    "FEATURES",
    "ConfigurationError",
    "DoNotRetry",
    "Feature",
    "JobContext",
    "JobRegistry",
    "KernelError",
    "Membership",
    "NotAuthenticated",
    "PermissionDenied",
    "RetryLater",
    "ServiceConfig",
    "UserIdentity",
    "acting_as",
    "create_saas_router",
    "create_service",
    "get_current_user",
    "get_current_user_optional",
    "get_job_client",
    "get_logger",
    "public",
    "redis_client",
    "require_admin",
    "require_role",
    "require_workspace_member",
    "require_workspace_role",
]
