"""What cannot be done to webhooks, and what a receiver must not accept."""

from app_kernel.core.errors.base import KernelError


class WebhookError(KernelError):
    """A webhook cannot be made, changed or sent as asked."""


class InvalidWebhook(WebhookError, ValueError):
    """A URL, event or secret that no webhook can have."""

    status = 422
    title = "Unprocessable Content"


class WebhookAddressRefused(InvalidWebhook):
    """Webhooks go to public addresses only; WEBHOOK_ALLOW_PRIVATE=true opens the others, as for development."""


class WebhookKeyMissing(WebhookError):
    """Secrets of webhooks cannot be kept: set ENCRYPTION_KEY, or JWT_SECRET, with which they are sealed."""


class WebhookNotFound(WebhookError):
    """There is no such webhook."""

    status = 404
    title = "Not Found"


class DeliveryNotFound(WebhookError):
    """There is no such delivery of a webhook."""

    status = 404
    title = "Not Found"


class WebhookConflict(WebhookError):
    """This cannot be done to a webhook or delivery as it stands now."""

    status = 409
    title = "Conflict"


class InvalidSignature(WebhookError):
    """The request is not signed by who it says it is from, or too old."""

    status = 401
    title = "Unauthorized"
