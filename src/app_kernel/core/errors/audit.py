"""What an audit log cannot be asked, or told."""

from app_kernel.core.errors.base import KernelError


class AuditError(KernelError):
    """The audit log cannot do what was asked."""


class InvalidAuditEvent(AuditError, ValueError):
    """An event, filter or cursor that no audit log can have."""

    status = 422
    title = "Unprocessable Content"


class AuditEntryNotFound(AuditError):
    """There is no such entry in the audit log."""

    status = 404
    title = "Not Found"
