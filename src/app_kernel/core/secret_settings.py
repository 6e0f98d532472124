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
    yield from config.otlp_headers.values()
    for url in (config.smtp_url, config.redis_url, config.database_name, config.admin_db_url):
        yield from _passwords_of(url or "")


def _passwords_of(url: str) -> Iterator[str]:
    """The password of a URL as it stands there and as it is meant; nothing for what is no URL."""
    try:
        parts = urlsplit(url if "://" in url else "")
        password, user = parts.password, parts.username
    except ValueError:
        return
    # One that is its user's name protects nothing, and hiding it would hide a common word in every line.
    if password and password != user:
        yield from {password, unquote(password)}
