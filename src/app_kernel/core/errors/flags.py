"""What a feature flag cannot be."""

from app_kernel.core.errors.base import KernelError


class FlagError(KernelError):
    """A feature flag cannot be set as asked."""


class InvalidFlag(FlagError, ValueError):
    """A name, percentage or list that no feature flag can have."""

    status = 422
    title = "Unprocessable Content"


class FlagNotFound(FlagError):
    """There is no such feature flag."""

    status = 404
    title = "Not Found"
