"""Handing one mail to the mail server, and what its answer means (RFC 5321, 4.2.1)."""

import asyncio
import re
import ssl
from contextlib import suppress

from aiosmtplib import SMTP, SMTPException, SMTPNotSupported, SMTPRecipientsRefused, SMTPResponseException

from app_kernel.mail.settings import SmtpServer

QUIT_SECONDS = 2.0
ANSWERS = 4
"""How many times the timeout of one answer the whole conversation may take."""
_enhanced = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?= |$)").match


class MailRefused(Exception):
    """The server will never take this mail (5xx); the text says why, without address and content."""


class MailDeferred(Exception):
    """The server did not take the mail this time: it was away, too slow, or said so (4xx); the text says why."""


def tls_context(server: SmtpServer) -> ssl.SSLContext:
    """What the server's certificate is checked with: the system's authorities, and those of `ca_file`."""
    context = ssl.create_default_context()
    if server.ca_file is not None:
        context.load_verify_locations(cafile=server.ca_file)
    return context


async def hand_in(
    server: SmtpServer, context: ssl.SSLContext, hello: str, sender: str, to: str, message: bytes
) -> None:
    """Sends a mail over a connection of its own, and returns when the server has taken it.

    `hello` is the name by which the service greets. Raises MailRefused and MailDeferred; after MailDeferred the server
    may have taken it all the same, where the connection broke before its answer.
    """
    client = SMTP(
        hostname=server.host,
        port=server.port,
        username=server.user,
        password=server.password,
        local_hostname=hello,
        timeout=server.timeout,
        use_tls=server.use_tls,
        start_tls=server.start_tls,
        tls_context=context,
    )
    try:
        async with asyncio.timeout(server.timeout * ANSWERS):
            await _converse(client, sender, to, message)
    except TimeoutError:
        raise MailDeferred("the mail server was too slow") from None
    finally:
        await _leave(client)


async def _converse(client: SMTP, sender: str, to: str, message: bytes) -> None:
    try:
        await client.connect()
    except (SMTPException, OSError) as exc:
        # Whatever it says here, 5xx too, it says about the service, such as its password, and not about this mail.
        raise MailDeferred(f"no session with the mail server: {_reason(exc)}") from None
    options = [] if to.isascii() and sender.isascii() else ["SMTPUTF8", "BODY=8BITMIME"]
    try:
        await client.sendmail(sender, [to], message, mail_options=options)
    except SMTPNotSupported:
        raise MailRefused("the mail server does not take addresses beyond ASCII (SMTPUTF8)") from None
    except SMTPRecipientsRefused as exc:
        raise _judged(exc.recipients[0]) from None
    except SMTPResponseException as exc:
        raise _judged(exc) from None
    except (SMTPException, OSError) as exc:
        raise MailDeferred(f"the session with the mail server broke: {_reason(exc)}") from None


def _judged(answer: SMTPResponseException) -> MailRefused | MailDeferred:
    kind = MailRefused if answer.code >= 500 else MailDeferred
    return kind(f"the mail server answered {_reason(answer)}")


def _reason(exc: BaseException) -> str:
    """Why, in no words of the server's: those may quote the address."""
    if isinstance(exc, SMTPResponseException):
        enhanced = _enhanced(str(exc.message))
        return f"{exc.code} {enhanced[0]}" if enhanced else str(exc.code)
    cause = exc.__cause__ or exc
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({cause.verify_message})"
    return type(cause).__name__


async def _leave(client: SMTP) -> None:
    """Says goodbye where there is time for it; the mail is the server's already, or it never will be."""
    try:
        if client.is_connected:
            with suppress(SMTPException, OSError):
                await client.quit(timeout=QUIT_SECONDS)
    finally:
        client.close()
