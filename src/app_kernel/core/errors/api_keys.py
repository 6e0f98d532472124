"""What an API key cannot be or do."""

from app_kernel.core.errors.access import PermissionDenied
from app_kernel.core.errors.base import KernelError


class ApiKeyError(KernelError):
    """An API key cannot be made or changed as asked."""


class InvalidApiKeyRequest(ApiKeyError, ValueError):
    """A name, scope or lifetime that no API key can have."""

    status = 422
    title = "Unprocessable Content"


class ApiKeyNotFound(ApiKeyError):
    """There is no such API key."""

    status = 404
    title = "Not Found"


class MissingScope(PermissionDenied):
    """This credential does not have the scope that is needed here."""
