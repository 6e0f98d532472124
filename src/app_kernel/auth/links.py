"""Where mailed links lead: a page of the application's, or the service's own, with the token in its fragment."""

from starlette.types import Scope

from app_kernel.auth.email_tokens import Purpose
from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import AddressUnknown
from app_kernel.core.own_address import own_base

VERIFY_PAGE = "/auth/verify-email"
RESET_PAGE = "/auth/reset-password"


def service_base(config: ServiceConfig, scope: Scope) -> str:
    """Where the kernel's routes are for a browser: the service's own address and its prefix.

    Whoever asks for somebody else's mail chooses the Host header, and must not choose where its link leads. Raises
    AddressUnknown where nothing but that header says where the service is.
    """
    base = own_base(config, scope)
    if base is None:
        raise AddressUnknown
    return base + str(getattr(scope["app"].state, "api_prefix", ""))


def link_for(config: ServiceConfig, base: str, purpose: Purpose, token: str) -> str:
    """The link of a mail."""
    own = config.reset_password_url if purpose == "reset" else config.verify_email_url
    page = own or base + (RESET_PAGE if purpose == "reset" else VERIFY_PAGE)
    return f"{page}#token={token}"
