"""Mails that were kept instead of sent, for those who develop or test a service."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

from app_kernel.core.kernel import Kernel
from app_kernel.mail.store import Row, list_mails

_LINK = re.compile(r"https?://[^\s<>\"']+")


@dataclass(frozen=True, slots=True)
class DevelopmentMail:
    """A mail that was kept instead of sent."""

    id: str
    to: str
    subject: str
    text: str
    html: str | None
    template: str | None
    """The name of its template; None for one that was written by `send_mail`."""
    at: str
    """When it was kept, as UTC ISO 8601 text."""
    links: tuple[str, ...]
    """The http and https links in text and HTML, each once, in their order."""


async def development_mails(kernel: Kernel) -> list[DevelopmentMail]:
    """The mails that are kept, the newest first; none where mail is sent."""
    return [mail_of(row) for row in await list_mails(kernel.db.connection())]


def mail_of(row: Row) -> DevelopmentMail:
    """The mail in a row of the table."""
    return DevelopmentMail(
        id=row["id"],
        to=row["recipient"],
        subject=row["subject"],
        text=row["text"],
        html=row["html"],
        template=row["template"],
        at=row["created_at"],
        links=tuple(dict.fromkeys([*_links_in_text(row["text"]), *_links_in_html(row["html"] or "")])),
    )


def _links_in_text(text: str) -> Iterable[str]:
    return (found.rstrip(".,;:!?)") for found in _LINK.findall(text))


def _links_in_html(html: str) -> Iterable[str]:
    links: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            links.extend(value for name, value in attrs if name == "href" and value and _LINK.fullmatch(value))

    parser: Any = Links()
    parser.feed(html)
    parser.close()
    return links
