"""Who may not do what was asked, or not now."""

from typing import ClassVar

from app_kernel.core.errors.base import KernelError


class NotAuthenticated(KernelError):
    """Not authenticated."""

    status = 401
    title = "Unauthorized"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": "Bearer"}


class InvalidToken(NotAuthenticated):
    """The access token is invalid, expired or revoked."""

    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": 'Bearer error="invalid_token"'}


class PermissionDenied(KernelError):
    """You may not do this."""

    status = 403
    title = "Forbidden"


class TooManyAttempts(KernelError):
    """Too many attempts; wait before the next one."""

    status = 429
    title = "Too Many Requests"

    def __init__(self, retry_after: int, message: str | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Whole seconds after which another attempt may pass."""


class RateLimited(TooManyAttempts):
    """Too many requests; wait before the next one."""


class CrossSiteRequest(PermissionDenied):
    """This request came with a cookie and without proof that the signed-in page sent it; send X-CSRF-Token."""
