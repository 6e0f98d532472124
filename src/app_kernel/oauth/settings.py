"""The providers as they are configured, and what is wrong with them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app_kernel.core.config import ServiceConfig
from app_kernel.oauth.addresses import find_address_problem, find_target_problems, parse_address

GOOGLE = "google"
GITHUB = "github"
ISSUERS: Mapping[str, str] = {GOOGLE: "https://accounts.google.com"}
GITHUB_ADDRESSES: Mapping[str, str] = {
    "authorize_url": "https://github.com/login/oauth/authorize",
    "token_url": "https://github.com/login/oauth/access_token",
    "api_url": "https://api.github.com",
}
RESERVED_NAMES = frozenset({"accounts", "exchange"})
"""Names that are paths of this feature's own."""
OPENID_SCOPES = "openid email profile"
GITHUB_SCOPES = "read:user user:email"
OPTIONS = frozenset({"client_id", "client_secret", "issuer", "scopes", *GITHUB_ADDRESSES})

_name = re.compile(r"[a-z0-9_-]{1,32}").fullmatch
_scope = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+").fullmatch


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One provider: an OpenID issuer, or with `addresses` one that speaks as GitHub does."""

    name: str
    client_id: str
    client_secret: str = field(repr=False)
    scopes: str
    issuer: str
    addresses: Mapping[str, str] = field(default_factory=dict)
    """authorize_url, token_url and api_url; empty for an OpenID issuer."""


def read_providers(config: ServiceConfig) -> dict[str, ProviderSettings]:
    """The configured providers by name, which `find_settings_problems` found nothing wrong with."""
    return {name: _read(name, options) for name, options in config.oauth_providers.items()}


def find_settings_problems(config: ServiceConfig) -> Iterator[str]:
    """Everything that keeps these providers from being used, one sentence each, and never a secret in it."""
    for name, options in config.oauth_providers.items():
        for problem in _provider_problems(name, options, loopback_http=not config.production):
            yield f"oauth_providers: {name[:40]!r} {problem}"
    yield from find_target_problems(config.oauth_redirect_urls)
    if config.public_url:
        wrong = find_address_problem(config.public_url)
        # Elsewhere than in production a service may be tried out in a network without certificates.
        if wrong is not None and (config.production or parse_address(config.public_url) is None):
            yield f"public_url: {wrong}; with oauth_providers it says where providers send browsers back to"
    elif config.production:
        yield "public_url: missing; with oauth_providers it says where providers send browsers back to"
    if not config.auth_enabled:
        yield "oauth_providers: signing in elsewhere needs accounts, and auth_enabled is off"


def speaks_github(name: str, options: Mapping[str, Any]) -> bool:
    """Whether a provider is GitHub, or is given by addresses as a GitHub Enterprise server is."""
    return "issuer" not in options and (name == GITHUB or any(key in options for key in GITHUB_ADDRESSES))


def _read(name: str, options: Mapping[str, Any]) -> ProviderSettings:
    scopes = _scope_text(options.get("scopes"))
    if speaks_github(name, options):
        addresses = {key: str(options.get(key, GITHUB_ADDRESSES[key])).rstrip("/") for key in GITHUB_ADDRESSES}
        return ProviderSettings(
            name=name,
            client_id=options["client_id"],
            client_secret=options["client_secret"],
            scopes=scopes or GITHUB_SCOPES,
            issuer=addresses["api_url"],
            addresses=addresses,
        )
    return ProviderSettings(
        name=name,
        client_id=options["client_id"],
        client_secret=options["client_secret"],
        scopes=scopes or OPENID_SCOPES,
        issuer=options.get("issuer") or ISSUERS[name],
    )


def _provider_problems(name: str, options: Mapping[str, Any], *, loopback_http: bool) -> Iterator[str]:
    if not _name(name) or name in RESERVED_NAMES:
        yield "cannot be a provider's name: 1 to 32 of a-z, 0-9, _ and -, but not accounts or exchange"
    for unknown in sorted(set(options) - OPTIONS):
        yield f"has the option {unknown[:40]!r}, which there is not"
    for required in ("client_id", "client_secret"):
        value = options.get(required)
        if not isinstance(value, str) or not value.strip() or not value.isascii() or not value.isprintable():
            yield f"needs a {required}, as the provider gave it"
    yield from _address_problems(name, options, loopback_http=loopback_http)
    yield from _scope_problems(name, options)


def _address_problems(name: str, options: Mapping[str, Any], *, loopback_http: bool) -> Iterator[str]:
    if "issuer" in options and (given := sorted(set(options) & set(GITHUB_ADDRESSES))):
        yield f"has both issuer and {given[0]}; an issuer says all its addresses itself"
    elif speaks_github(name, options):
        if name != GITHUB and (missing := sorted(set(GITHUB_ADDRESSES) - set(options))):
            yield f"needs {' and '.join(missing)} too, or an issuer instead"
    elif "issuer" not in options and name not in ISSUERS:
        yield "needs an issuer, such as https://accounts.example.com"
    for key in ("issuer", *GITHUB_ADDRESSES):
        problem = find_address_problem(options[key], loopback_http=loopback_http) if key in options else None
        if problem is not None:
            yield f"has an {key} that {problem}"


def _scope_problems(name: str, options: Mapping[str, Any]) -> Iterator[str]:
    given = options.get("scopes")
    if given is None:
        return
    scopes = _scope_text(given).split(" ") if isinstance(given, str | list | tuple) else []
    if not scopes or not all(_scope(scope) for scope in scopes):
        yield "has scopes that are not a list of words, such as ['openid', 'email']"
    elif not speaks_github(name, options) and "openid" not in scopes:
        yield "has scopes without openid, without which a provider does not say who signed in"


def _scope_text(given: Any) -> str:
    if isinstance(given, str):
        return " ".join(given.split())
    return " ".join(str(scope) for scope in given or ())
