"""What is wrong with the settings, found before anything is opened: one sentence each, and never a secret in it."""

import ipaddress
import re
import secrets
from collections.abc import Iterator

from app_kernel.core.config import SHORT_SECRET, ServiceConfig
from app_kernel.core.secret_settings import KEYS
from app_kernel.logs import get_logger
from app_kernel.service.address_check import find_address_problems, label_of

LONG_KEYS = frozenset({"jwt_secret", "jwt_secret_previous", "encryption_key"})
"""Refused in production when they are short."""
UNNAMED = "unnamed"
"""What a process is called that nobody told the service's name."""
NEW_SECRET = "python -c 'import secrets; print(secrets.token_urlsafe(48))'"  # noqa: S105 - a command that makes one

_origin = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::(?P<port>\d{1,5}))?").fullmatch

_log = get_logger("app_kernel.preflight")


def settle_name(name: str | None, config: ServiceConfig) -> tuple[str | None, list[str]]:
    """The service's name from the two places that may give it, and what is wrong with it."""
    if name is not None and not name.strip():
        return None, ["name: is blank"]
    if name is not None and config.name is not None and name != config.name:
        return None, [f"name: create_service() says {name!r} and the settings say {config.name!r}; give it once"]
    settled = name or config.name
    if settled is None:
        return None, ["name: missing; pass create_service(name=...) or set SERVICE_NAME"]
    return settled, []


def find_problems(config: ServiceConfig) -> list[str]:
    """Everything that keeps a service with these settings from starting; empty when it may."""
    return [
        *config.problems,
        *_secret_problems(config),
        *_production_problems(config),
        *_address_problems(config),
        *find_address_problems(config),
    ]


def complete(config: ServiceConfig, name: str | None) -> ServiceConfig:
    """The settings with the settled name, and with a secret to sign with where none is set: a random one.

    With them the features can be made, and say what else is wrong, also where the settings are refused.
    """
    changes: dict[str, str] = {"name": name or UNNAMED}
    if config.auth_enabled and not (config.jwt_secret or "").strip():
        changes["jwt_secret"] = secrets.token_urlsafe(48)
    return config.with_values(**changes)


def warn_of_weak_secret(config: ServiceConfig) -> None:
    """Says once, at start, that the secret is random or short; production refuses both."""
    if not config.auth_enabled:
        return
    if config.jwt_secret is None:
        _log.warning(
            "random_secret",
            reason="jwt_secret is not set and debug is on: every restart signs everybody out, and two processes do not "
            "accept each other's tokens",
        )
    elif len(_bytes(config.jwt_secret)) < SHORT_SECRET:
        _log.warning(
            "short_secret",
            reason=f"jwt_secret has fewer than {SHORT_SECRET} bytes and can be guessed; production refuses it",
            make_one=NEW_SECRET,
        )


def warn_of_no_mail(config: ServiceConfig) -> None:
    """Says once, at start, that a production service cannot mail, as nobody there can replace a forgotten password."""
    if config.production and config.auth_enabled and config.smtp_url is None:
        _log.warning("no_mail", reason="smtp_url (SMTP_URL) is not set: /auth/forgot-password and its like answer 503")


def _secret_problems(config: ServiceConfig) -> Iterator[str]:
    if config.auth_enabled and config.jwt_secret is None and (config.production or not config.debug):
        yield f"{label_of('jwt_secret')}: missing; make one: {NEW_SECRET}"
    given = {field_name: value for field_name in KEYS if (value := getattr(config, field_name)) is not None}
    for field_name, value in given.items():
        if not value.strip():
            yield f"{label_of(field_name)}: is blank"
        elif config.production and field_name in LONG_KEYS and len(_bytes(value)) < SHORT_SECRET:
            yield f"{label_of(field_name)}: under {SHORT_SECRET} bytes, refused in production; make one: {NEW_SECRET}"
    for index, field_name in enumerate(KEYS):
        same = [other for other in KEYS[:index] if given.get(other) == given.get(field_name) is not None]
        if same:
            yield f"{label_of(field_name)}: is the same as {same[0]}; use another one"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _production_problems(config: ServiceConfig) -> Iterator[str]:
    if not config.production:
        return
    if config.debug:
        yield f"{label_of('debug')}: refused in production"
    if "*" in config.cors_origins:
        yield f"{label_of('cors_origins')}: `*` is refused in production; name the origins of your pages"


def _address_problems(config: ServiceConfig) -> Iterator[str]:
    for origin in config.cors_origins:
        if origin == "*":
            if len(config.cors_origins) > 1:
                yield f"{label_of('cors_origins')}: `*` excludes named origins, as only those may send credentials"
        elif not _is_origin(origin):
            yield (
                f"{label_of('cors_origins')}: {_shown(origin)} is no origin; "
                "write scheme://host or scheme://host:port in lower case, without a path"
            )
    for proxy in config.trusted_proxies:
        try:
            network = ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            yield f"{label_of('trusted_proxies')}: {_shown(proxy)} is neither an address nor a network"
        else:
            if config.production and network.prefixlen == 0:
                yield f"{label_of('trusted_proxies')}: {proxy} lets every client choose the address it is counted under"


def _is_origin(origin: str) -> bool:
    found = _origin(origin)
    return found is not None and (found["port"] is None or 0 < int(found["port"]) < 65536)


def _shown(text: str) -> str:
    # A URL with a password in the wrong variable is a likely mistake, so what may be one is not repeated.
    return "an entry" if "@" in text or len(text) > 100 else repr(text)
