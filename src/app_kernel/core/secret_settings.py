"""Which settings are secrets: none of their values may stand in a log, and no two of them may be the same."""

from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from app_kernel.core.config import ServiceConfig

KEYS = ("jwt_secret", "jwt_secret_previous", "encryption_key", "encryption_key_previous", "metrics_token")
"""The settings that are keys of the service itself."""


def secret_values(config: ServiceConfig) -> Iterator[str]:
    """Every secret that these settings hold, as it may turn up in a text."""
    for field_name in (*KEYS, "database_password"):
        value = getattr(config, field_name)
        if value:
            yield value
    for options in config.oauth_providers.values():
        yield str(options.get("client_secret") or "")
    if config.smtp_url:
        yield _password_of(config.smtp_url)


def _password_of(url: str) -> str:
    try:
        return unquote(urlsplit(url).password or "")
    except ValueError:
        return ""
