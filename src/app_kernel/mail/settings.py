"""The settings of mail, read and checked: one sentence a problem, and never an address or a password in it."""

import ipaddress
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from email_validator import EmailNotValidError, validate_email

from app_kernel.core.config import ServiceConfig, environment_name
from app_kernel.core.own_address import is_loopback

SUBMISSION_PORT, TLS_PORT = 587, 465
"""The ports of mail submission: STARTTLS (RFC 6409) and TLS from the first byte (RFC 8314)."""
DEFAULT_TIMEOUT = 20.0
LONGEST_TIMEOUT = 120.0
_OPTIONS = ("timeout", "tls", "ca_file")
_UNSAFE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]").search
_UNSAFE_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]").search
_host = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9]+)?"
).fullmatch
_named_address = re.compile(r'(?:"(?P<quoted>[^"\\<>]*)"|(?P<bare>[^"\\<>]*?))\s*<(?P<address>[^<>\s]+)>').fullmatch
_mail_domain = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?").fullmatch


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mails are handed in."""

    host: str
    port: int
    user: str | None = field(repr=False)
    password: str | None = field(repr=False)
    use_tls: bool
    """TLS from the first byte."""
    start_tls: bool | None
    """STARTTLS: True demands it, None takes it where it is offered, False does without."""
    ca_file: str | None
    """Certificates of authorities that are trusted beside the system's."""
    timeout: float
    """Seconds that connecting, and each answer of the server, may take."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Whom mails come from."""

    name: str
    address: str


def find_problems(config: ServiceConfig) -> list[str]:
    """What is wrong with the settings of mail, but for its templates."""
    problems = [f"{_label(name)}: {problem}" for name in _URLS for problem in _url_problems(config, name)]
    if config.smtp_url is not None:
        problems += [f"{_label('smtp_url')}: {problem}" for problem in read_smtp_url(config.smtp_url)[1]]
        if config.mail_from is None:
            problems.append(f"{_label('mail_from')}: missing; with smtp_url, mails need a sender")
        if not config.sealing_secrets:
            problems.append(
                f"{_label('encryption_key')}: missing; mails wait sealed in the job queue, so smtp_url needs a key"
            )
    if config.mail_from is not None and read_sender(config.mail_from) is None:
        problems.append(f"{_label('mail_from')}: is no address; write name@example.com, or Name <name@example.com>")
    if config.production and config.auth_enabled:
        problems += _production_problems(config)
    return problems


def _production_problems(config: ServiceConfig) -> Iterator[str]:
    """Links about accounts must lead to where the service is, and be sent at all where a login waits for one."""
    if config.email_verification == "required" and config.smtp_url is None:
        yield f"{_label('smtp_url')}: missing; in production, email_verification=required needs it"
    public = urlsplit(config.public_url or "")
    if public.scheme == "http" and not is_loopback(public.hostname or ""):
        yield f"{_label('public_url')}: begins with http://, so links to new passwords would travel in clear; use https://"
    if config.public_url is None and (config.smtp_url is not None or config.email_verification == "required"):
        yield f"{_label('public_url')}: missing; in production, links in mails need to know where the service is"


def read_smtp_url(url: str) -> tuple[SmtpServer | None, list[str]]:
    """The server that a URL names, and what is wrong with the URL; a wrong one names none."""
    if _UNSAFE(url):
        return None, ["has a space or a control character in it; percent-encode it"]
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
        options = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return None, ["its host or port cannot be read; percent-encode @ : / ? # in user and password"]
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    problems = [*_address_problems(parts.scheme, host, port, parts.path, parts.fragment)]
    if bool(user) != bool(password):
        problems.append("has a user or a password alone; give both or none")
    problems += _option_problems(parts.scheme, options)
    if problems:
        return None, problems
    given = dict(options)
    use_tls = parts.scheme == "smtps"
    server = SmtpServer(
        host=host,
        port=port or (TLS_PORT if use_tls else SUBMISSION_PORT),
        user=user or None,
        password=password or None,
        use_tls=use_tls,
        start_tls=_start_tls(use_tls, given.get("tls"), bool(user) and not is_loopback(host)),
        ca_file=given.get("ca_file"),
        timeout=float(given.get("timeout", DEFAULT_TIMEOUT)),
    )
    return server, []


def read_sender(text: str) -> Sender | None:
    """Whom `Name <address>`, or an address, names; None when it is neither."""
    if _UNSAFE_NAME(text):
        return None
    named = _named_address(text.strip())
    # A name need not be quoted or encoded as on the wire: that is done when a message is made.
    name, address = (named["quoted"] or named["bare"] or "", named["address"]) if named else ("", text.strip())
    try:
        valid = validate_email(address, check_deliverability=False, globally_deliverable=False)
    except (EmailNotValidError, UnicodeError):
        return None
    return Sender(name, f"{valid.local_part}@{valid.ascii_domain}")


def mail_domain(config: ServiceConfig) -> str:
    """The domain in the ids of mails, and by which the service greets the mail server."""
    host = urlsplit(config.public_url).hostname if config.public_url else None
    if host and _mail_domain(host) and not _is_address(host):
        return host
    sender = read_sender(config.mail_from) if config.mail_from else None
    domain = sender.address.rpartition("@")[2] if sender else ""
    return domain if _mail_domain(domain) else "localhost"


_URLS = ("public_url", "verify_email_url", "reset_password_url", "accept_invite_url")


def _label(field_name: str) -> str:
    return f"{field_name} ({environment_name(field_name, ServiceConfig.model_fields[field_name])})"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _start_tls(use_tls: bool, wanted: str | None, must: bool) -> bool | None:
    if use_tls or wanted == "none":
        return False
    return True if must or wanted == "required" else None


def _address_problems(scheme: str, host: str, port: int | None, path: str, fragment: str) -> Iterator[str]:
    if scheme not in ("smtp", "smtps"):
        yield "begins with neither smtp:// nor smtps://"
    if not host:
        yield "names no host"
    elif not _host(host):
        yield "its host is no host name; write it in ASCII (xn--...), and percent-encode user and password"
    if port == 0:
        yield "its port is not 1 to 65535"
    if path not in ("", "/") or fragment:
        yield "has a path or fragment; percent-encode / and # in user and password"


def _option_problems(scheme: str, options: list[tuple[str, str]]) -> Iterator[str]:
    for name, value in options:
        if name not in _OPTIONS:
            yield f"has an unknown option; there are {', '.join(_OPTIONS)}"
        elif name == "timeout" and not _is_timeout(value):
            yield f"timeout is a number of seconds from 1 to {LONGEST_TIMEOUT:g}"
        elif name == "tls" and (scheme == "smtps" or value not in ("none", "required")):
            yield "tls is none or required, and for smtp:// only"
        elif name == "ca_file" and not _holds_certificates(value):
            yield "ca_file is no file with certificates (PEM)"


def _is_timeout(text: str) -> bool:
    return bool(re.fullmatch(r"\d{1,3}(\.\d{1,3})?", text)) and 1 <= float(text) <= LONGEST_TIMEOUT


def _holds_certificates(path: str) -> bool:
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ValueError):  # an SSLError is an OSError
        return False
    return bool(path)


def _url_problems(config: ServiceConfig, field_name: str) -> Iterator[str]:
    url = getattr(config, field_name)
    if url is None:
        return
    netloc = _netloc(url)
    if netloc is None:
        yield "is no http:// or https:// URL"
        return
    if "@" in netloc:
        yield "has a user or password in it"
    if "#" in url:
        yield "has a fragment (#...), which links add themselves"
    if field_name == "public_url" and "?" in url:
        yield "has a query (?...); it is the base of other addresses"


def _netloc(url: str) -> str | None:
    """Host, and what stands around it, of an http or https URL; None for everything else."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts.netloc if is_good and not _UNSAFE(url) else None
