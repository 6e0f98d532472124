"""What keeps a mail from being sent."""

from typing import ClassVar

from app_kernel.core.errors.base import KernelError


class MailError(KernelError):
    """A mail cannot be sent as asked."""


class MailNotConfigured(MailError):
    """This service cannot send mail; set SMTP_URL and MAIL_FROM."""

    status = 503
    title = "Service Unavailable"
    headers: ClassVar[dict[str, str]] = {}


class AddressUnknown(MailNotConfigured):
    """Links in mails need to know where the service is for a browser; set PUBLIC_URL."""


class UndeliverableMail(MailError, ValueError):
    """An address, a subject or a template that no mail can be made of."""

    status = 422
    title = "Unprocessable Content"
