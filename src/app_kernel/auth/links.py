"""Where mailed links lead: a page of the application's, or the service's own, with the token in its fragment."""

from urllib.parse import urlsplit

from starlette.types import Scope

from app_kernel.auth.email_tokens import Purpose
from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import MailNotConfigured

VERIFY_PAGE = "/auth/verify-email"
RESET_PAGE = "/auth/reset-password"

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1", "testserver", "service"})


def service_base(config: ServiceConfig, scope: Scope) -> str:
    """Where the kernel's routes are for a browser: `public_url` and the service's prefix.

    Without `public_url` it is the address that the request came to, but only outside production and only on this
    machine: whoever asks for somebody else's mail chooses the Host header, and must not choose where its link leads.
    Raises MailNotConfigured.
    """
    prefix = str(getattr(scope["app"].state, "api_prefix", ""))
    if config.public_url:
        return config.public_url.rstrip("/") + prefix
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    if config.production or not _is_local(host):
        raise MailNotConfigured("Links in mails need to know where the service is: set PUBLIC_URL.")
    return f"{scope['scheme']}://{host}{scope.get('root_path', '')}{prefix}"


def _is_local(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").hostname in _LOCAL
    except ValueError:
        return False


def link_for(config: ServiceConfig, base: str, purpose: Purpose, token: str) -> str:
    """The link of a mail."""
    own = config.reset_password_url if purpose == "reset" else config.verify_email_url
    page = own or base + (RESET_PAGE if purpose == "reset" else VERIFY_PAGE)
    return f"{page}#token={token}"
