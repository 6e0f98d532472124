"""The pages under /dev/mail. What stands in a mail is foreign: escaped, and its HTML in a frame that can do nothing."""

from collections.abc import Sequence
from html import escape

from app_kernel.mail.development import DevelopmentMail

HEADERS = {
    # Inherited by the frame: no script, no image from elsewhere, no form, no request of any kind.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{width:100%;border-collapse:collapse}td,th{text-align:left;padding:.4rem;border-bottom:1px solid #ddd}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f4f5f7;padding:1rem}"
    "iframe{width:100%;height:36rem;border:1px solid #ddd}a{overflow-wrap:anywhere}"
)


def list_page(mails: Sequence[DevelopmentMail]) -> str:
    """All mails, the newest first."""
    rows = "".join(
        f'<tr><td>{escape(mail.at[:19])}</td><td>{escape(mail.to)}</td><td><a href="mail/{escape(mail.id)}">'
        f"<bdi>{escape(mail.subject)}</bdi></a></td></tr>"
        for mail in mails
    )
    table = f"<table><tr><th>UTC</th><th>To</th><th>Subject</th></tr>{rows}</table>" if mails else "<p>None yet.</p>"
    return _page("Mails", f"<h1>Mails that were not sent</h1>{table}")


def mail_page(mail: DevelopmentMail) -> str:
    """One mail: its text, its links and its HTML."""
    links = "".join(
        f'<li><a href="{escape(link)}" rel="noopener noreferrer">{escape(link)}</a></li>' for link in mail.links
    )
    html = "" if mail.html is None else f'<h2>HTML</h2><iframe sandbox="" srcdoc="{escape(mail.html)}"></iframe>'
    return _page(
        mail.subject,
        f'<p><a href="../mail">All mails</a></p><h1><bdi>{escape(mail.subject)}</bdi></h1>'
        f"<p>To {escape(mail.to)}, {escape(mail.at[:19])} UTC, template {escape(mail.template or '-')}</p>"
        f"<h2>Links</h2><ul>{links}</ul><h2>Text</h2><pre>{escape(mail.text)}</pre>{html}",
    )


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>{body}</body></html>"
    )
