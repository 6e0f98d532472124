"""What names an account: one canonical form for each email address and each username."""

import hashlib
import re
import unicodedata

from email_validator import EmailNotValidError, validate_email

from app_kernel.core.errors import InvalidEmail, InvalidUsername

MAX_IDENTIFIER = 320
"""Longest text, in characters, that is looked at as an email or username: 64 + @ + 255 (RFC 5321, 4.5.3.1)."""

_USERNAME = re.compile(r"[a-z0-9._-]{3,50}")


def canonical_email(text: str, *, allow_test_domains: bool = False) -> str:
    """The one spelling of an email address: trimmed, NFC, lower case, its domain in IDNA ASCII (RFC 5890).

    Plus-addresses stay distinct. The syntax is checked, deliverability is not. `allow_test_domains` accepts the
    reserved domain `.test` (RFC 6761). Raises InvalidEmail, whose message never repeats the text.
    """
    if len(text) > MAX_IDENTIFIER:
        raise InvalidEmail
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text.strip()).lower())
    try:
        valid = validate_email(folded, check_deliverability=False, strict=True, test_environment=allow_test_domains)
    except (EmailNotValidError, UnicodeError):
        raise InvalidEmail from None
    domain = valid.ascii_domain.lower()
    return f"{valid.local_part}@{domain}"


def canonical_username(text: str) -> str:
    """The one spelling of a username: trimmed and lower case; raises InvalidUsername when it is no username."""
    folded = text.strip().lower()
    if not _USERNAME.fullmatch(folded):
        raise InvalidUsername
    return folded


def login_key(text: str) -> tuple[str, str]:
    """The field that a login identifier names, `email` or `username`, and its canonical value.

    Text that can be neither gives a value that no account has, so that it is treated as an unknown account.
    """
    if "@" in text:
        try:
            return "email", canonical_email(text, allow_test_domains=True)
        except InvalidEmail:
            return "email", unicodedata.normalize("NFC", text.strip()).lower()[:MAX_IDENTIFIER]
    return "username", text.strip().lower()[:MAX_IDENTIFIER]


def account_key(field: str, value: str) -> str:
    """What failed logins of an account are counted under: a hash, because people type passwords into the wrong box."""
    return hashlib.sha256(f"{field}:{value}".encode("utf-8", "surrogatepass")).hexdigest()
