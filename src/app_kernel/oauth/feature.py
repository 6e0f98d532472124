"""What oauth contributes to a service."""

from importlib.util import find_spec

from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import ConfigurationError
from app_kernel.core.feature import Feature
from app_kernel.oauth.settings import find_settings_problems

LIBRARIES = ("authlib", "joserfc", "httpx2")


def create_feature(config: ServiceConfig) -> Feature | None:
    """Signing in by way of the providers in `oauth_providers`; None when there are none.

    Raises ConfigurationError, which lists everything that is wrong with them and with `oauth_redirect_urls`, and says
    so when the extra is not installed.
    """
    if not config.oauth_providers:
        return None
    problems = list(find_settings_problems(config))
    if any(find_spec(library) is None for library in LIBRARIES):
        problems.append("oauth_providers: signing in elsewhere needs more libraries: pip install 'app-kernel[oauth]'")
    if problems:
        raise ConfigurationError(problems)
    from app_kernel.oauth.wiring import make_feature  # noqa: PLC0415 - half a second that others need not pay

    return make_feature(config)
