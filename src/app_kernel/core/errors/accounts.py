"""What an account cannot be or do."""

from app_kernel.core.errors.base import KernelError


class AccountError(KernelError):
    """An account cannot be made or changed as asked."""

    status = 422
    title = "Unprocessable Content"


class InvalidEmail(AccountError):
    """This is not an email address."""


class InvalidUsername(AccountError):
    """A username is 3 to 50 characters of a-z, 0-9, dot, underscore and hyphen."""


class WeakPassword(AccountError):
    """This password cannot be used."""


class AccountExists(AccountError):
    """An account with this email or username already exists."""

    status = 409
    title = "Conflict"


class AccountNotFound(AccountError):
    """There is no such account."""

    status = 404
    title = "Not Found"


class SignupDisabled(AccountError):
    """Sign-up is disabled; ask an administrator for an account."""

    status = 403
    title = "Forbidden"


class EmailNotVerified(AccountError):
    """This account's email address is not confirmed yet; follow the link that was mailed to it, or ask for another
    one: POST /auth/resend-verification."""

    status = 403
    title = "Forbidden"


class InvalidLink(AccountError):
    """This link is invalid, used or expired; ask for a new one."""

    status = 400
    title = "Bad Request"
