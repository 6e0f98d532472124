"""One mail: what may be in it, and how it reads on the wire (RFC 5322, 2045 to 2047, 3834)."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from typing import Any

import orjson
from email_validator import EmailNotValidError, validate_email

from app_kernel.core.errors import UndeliverableMail
from app_kernel.mail.settings import Sender

LONGEST_ADDRESS = 320
LONGEST_SUBJECT = 300
"""Characters; a template's subject is cut there, one that is given is refused."""
LONGEST_BODY = 500_000
"""Bytes of text and HTML together, so that a sealed mail fits into a job."""

_BREAKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# What turns the reading direction of the text around it; the marks that Arabic and Hebrew names need stay.
_OVERRIDES = re.compile("[\u202a-\u202e\u2066-\u2069]")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]").search


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as it waits to be sent."""

    id: str
    """Also the id of its job, and the first half of its Message-ID: the same at every attempt."""
    domain: str
    """The second half of the Message-ID."""
    to: str
    subject: str
    text: str
    html: str | None
    template: str | None
    made_at: float
    """Seconds since 1970."""
    expires_at: float | None
    """Seconds since 1970, after which it is not sent any more."""

    def to_bytes(self) -> bytes:
        """Itself as JSON."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Mail":
        """What `to_bytes` gave; fields of a later version are left out."""
        given = orjson.loads(data)
        return cls(**{each.name: given[each.name] for each in fields(cls)})

    def compose(self, sender: Sender) -> bytes:
        """The message, with lines that end in CRLF; nothing but ASCII, unless the address of its receiver needs it."""
        # Whatever server it comes through, 7-bit text passes unchanged.
        policy = (SMTP if self.to.isascii() and sender.address.isascii() else SMTPUTF8).clone(cte_type="7bit")
        message = EmailMessage(policy)
        message["From"] = _mailbox(sender.address, sender.name)
        message["To"] = _mailbox(self.to)
        message["Subject"] = self.subject
        message["Date"] = format_datetime(datetime.fromtimestamp(self.made_at, UTC))
        message["Message-ID"] = f"<{self.id}@{self.domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(self.text)
        if self.html is not None:
            message.add_alternative(self.html, subtype="html")
        return bytes(message)


def checked_address(to: Any) -> str:
    """The address as mail is sent to it, its domain in IDNA ASCII (RFC 5890); raises UndeliverableMail."""
    try:
        if not isinstance(to, str) or len(to) > LONGEST_ADDRESS or _UNSAFE(to):
            raise ValueError
        valid = validate_email(to, check_deliverability=False, globally_deliverable=False)
        return f"{valid.local_part}@{valid.ascii_domain}"
    except (EmailNotValidError, ValueError):  # a UnicodeError is a ValueError
        raise UndeliverableMail("This is no address that mail can be sent to.") from None


def checked_subject(subject: Any) -> str:
    """The subject as it was given; raises UndeliverableMail for one that is no line of text (CR, LF, NUL ...)."""
    if not isinstance(subject, str) or not subject.strip() or len(subject) > LONGEST_SUBJECT or _UNSAFE(subject):
        raise UndeliverableMail(f"A subject is one line of 1 to {LONGEST_SUBJECT} characters.")
    return without_overrides(_unicode(subject))


def checked_bodies(text: Any, html: Any) -> tuple[str, str | None]:
    """Text and HTML without control characters; raises UndeliverableMail for what is no text, or too long."""
    if not isinstance(text, str) or not isinstance(html, str | None):
        raise UndeliverableMail("A mail has a text, and HTML beside it or None.")
    if len(_unicode(text).encode()) + len(_unicode(html or "").encode()) > LONGEST_BODY:
        raise UndeliverableMail(f"The text and HTML of a mail have at most {LONGEST_BODY} bytes together.")
    return _readable(text), None if html is None else _readable(html)


def one_line(value: Any) -> str:
    """The value as one line of text: breaks and controls become a space, what turns the direction is left out."""
    return without_overrides(_BREAKS.sub(" ", str(value))).strip()


def without_overrides(text: str) -> str:
    """The text without characters that have what follows read in the other direction (Unicode TR 36, 2.6)."""
    return _OVERRIDES.sub("", text)


def in_words(minutes: Any) -> str:
    """A number of minutes as people say it: 30 minutes, 24 hours, 3 days."""
    count = max(round(float(minutes)), 1)
    for unit, length in (("day", 1440), ("hour", 60), ("minute", 1)):
        if count % length == 0 and (count > length or unit != "day"):
            number = count // length
            return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
    raise AssertionError  # every whole number is one of minutes


def public_values(values: Any) -> dict[str, Any]:
    """The values for a template; raises UndeliverableMail for what is no mapping of names."""
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise UndeliverableMail("The values of a template are a dict with names as keys.")
    return dict(values)


def _mailbox(address: str, name: str = "") -> Address:
    # Given whole, the standard library refuses a local part beyond ASCII, which SMTPUTF8 allows.
    local, _, domain = address.rpartition("@")
    return Address(name, username=local, domain=domain)


def _readable(text: str) -> str:
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UndeliverableMail("Half of a surrogate pair is no text that a mail can carry.") from None
    return text
