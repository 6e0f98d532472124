"""What goes wrong between this service and a provider that vouches for its users."""

from typing import ClassVar

from app_kernel.core.errors.base import KernelError


class OAuthError(KernelError):
    """Signing in elsewhere did not work."""


class UnknownProvider(OAuthError):
    """There is no such sign-in provider here."""

    status = 404
    title = "Not Found"


class SignInRefused(OAuthError):
    """The sign-in could not be completed; start it again."""

    status = 400
    title = "Bad Request"


class ProviderUnavailable(OAuthError):
    """The sign-in provider does not answer as it should; try again later."""

    status = 502
    title = "Bad Gateway"
    headers: ClassVar[dict[str, str]] = {}


class LinkRequired(OAuthError):
    """An account with this email exists already; sign in to it first and link the provider there."""

    status = 409
    title = "Conflict"


class AlreadyLinked(OAuthError):
    """This identity of the provider belongs to another account, or this account has another one of the provider."""

    status = 409
    title = "Conflict"


class LastSignInMethod(OAuthError):
    """This is the only way to sign in to the account; set a password or link another provider first."""

    status = 400
    title = "Bad Request"
