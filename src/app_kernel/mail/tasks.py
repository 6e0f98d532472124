"""The job that sends a mail, or keeps it: at least once, with the same Message-ID at every attempt."""

import asyncio
import random
import ssl
from collections.abc import Mapping
from typing import Any

from app_kernel.core import clock
from app_kernel.core.config import ServiceConfig
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import SealBroken
from app_kernel.core.jobs import DoNotRetry, RetryLater, Task
from app_kernel.encryption import KeyRing
from app_kernel.logs import get_logger
from app_kernel.mail.message import Mail
from app_kernel.mail.settings import LONGEST_TIMEOUT, Sender, SmtpServer, mail_domain
from app_kernel.mail.store import keep_mail

DELIVER = "mail.deliver"
PURPOSE = "mail"
"""What mails are sealed for."""
WAITS = (2.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)
"""Seconds between attempts, a fifth more or less: soon for a server that starts anew, then as long as greylisting and
outages take; eight hours in all."""
PRIORITY = 50
"""Before what has none: somebody sits and waits for it."""

_log = get_logger("app_kernel.mail")


class Courier:
    """Delivers the mails of one service."""

    def __init__(self, config: ServiceConfig, ring: KeyRing, server: SmtpServer | None, sender: Sender | None) -> None:
        self._ring = ring
        self._server = server
        self._sender = sender
        self._hello = mail_domain(config)
        self._shown_at = "GET /dev/mail" if config.debug else None
        self._context: ssl.SSLContext | None = None

    @property
    def task(self) -> Task:
        """What runs as `mail.deliver`."""
        # The conversation has a limit of its own, so that this one ends only what no limit was thought of for.
        timeout = 4 * LONGEST_TIMEOUT + 60
        return Task(handler=self.deliver, max_attempts=len(WAITS) + 1, priority=PRIORITY, timeout=timeout)

    async def deliver(self, payload: Any, ctx: Any) -> None:
        """Sends the mail of a job, or keeps it; raises RetryLater and DoNotRetry."""
        about = _about(payload)
        mail = self._open(payload, ctx, about)
        if mail.expires_at is not None and clock.epoch() >= mail.expires_at:
            _log.error("mail_expired", **about, attempt=ctx.attempt)
            raise DoNotRetry("The mail was not sent before it expired.")
        if payload.get("by") == "table":
            await keep_mail(current_kernel().db.connection(), mail)
            self._say_where(about)
            return
        if self._server is None or self._sender is None:
            self._again(ctx, about, "this worker has no SMTP_URL and MAIL_FROM, which the service has", mail.expires_at)
        else:
            await self._send(self._server, self._sender, mail, ctx, about)

    def _open(self, payload: Any, ctx: Any, about: Mapping[str, Any]) -> Mail:
        sealed = payload.get("sealed") if isinstance(payload, Mapping) else None
        if not isinstance(sealed, str):
            raise DoNotRetry("This is no job that the kernel enqueued.")
        try:
            return Mail.from_bytes(self._ring.unseal(PURPOSE, sealed))
        except SealBroken:
            pass
        except (KeyError, TypeError, ValueError):
            raise DoNotRetry("The mail was sealed by another version of the kernel.") from None
        # Another worker may have the key.
        self._again(
            ctx, about, "this worker cannot open it: its ENCRYPTION_KEY or JWT_SECRET is not the service's", None
        )
        raise AssertionError  # the line above raises

    async def _send(self, server: SmtpServer, sender: Sender, mail: Mail, ctx: Any, about: Mapping[str, Any]) -> None:
        # What a service that sends nothing need not pay for.
        from app_kernel.mail.smtp import MailDeferred, MailRefused, hand_in, tls_context  # noqa: PLC0415

        if self._context is None:
            self._context = await asyncio.to_thread(tls_context, server)
        try:
            message = mail.compose(sender)
            await hand_in(server, self._context, self._hello, sender.address, mail.to, message)
        except MailRefused as exc:
            _log.error("mail_refused", **about, attempt=ctx.attempt, reason=str(exc))
            raise DoNotRetry(f"Not sent: {exc}.") from None
        except MailDeferred as exc:
            self._again(ctx, about, str(exc), mail.expires_at)
        except ValueError as exc:  # its text may quote what is in the mail
            _log.error("mail_refused", **about, attempt=ctx.attempt, reason=type(exc).__name__)
            raise DoNotRetry(f"No message can be made of this mail ({type(exc).__name__}).") from None
        else:
            _log.info("mail_sent", **about, attempt=ctx.attempt)

    def _again(self, ctx: Any, about: Mapping[str, Any], reason: str, expires_at: float | None) -> None:
        """Raises RetryLater, or DoNotRetry where the mail would have expired by then."""
        wait = WAITS[min(ctx.attempt, len(WAITS)) - 1] * random.uniform(0.8, 1.2)  # noqa: S311 - to spread attempts
        is_last = ctx.attempt >= ctx.max_attempts
        if is_last or (expires_at is not None and clock.epoch() + wait >= expires_at):
            _log.error("mail_given_up", **about, attempt=ctx.attempt, reason=reason)
            raise DoNotRetry(f"Not sent, and given up: {reason}.") from None
        _log.warning("mail_delayed", **about, attempt=ctx.attempt, again_in=round(wait, 1), reason=reason)
        raise RetryLater(wait, f"Not sent yet: {reason}") from None

    def _say_where(self, about: Mapping[str, Any]) -> None:
        if self._shown_at is not None:
            _log.info("mail_kept", **about, read_at=self._shown_at)
        else:
            reason = "nothing is sent without SMTP_URL and MAIL_FROM; DEBUG=true shows mails at GET /dev/mail"
            _log.warning("mail_kept", **about, reason=reason)


def _about(payload: Any) -> dict[str, Any]:
    """What a log line may say of a mail."""
    given = payload if isinstance(payload, Mapping) else {}
    return {"template": given.get("template"), "recipient": given.get("recipient")}
