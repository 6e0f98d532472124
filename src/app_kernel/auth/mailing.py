"""Mails about accounts. What is asked for from outside is looked up by a job, so that the answer takes equally long."""

import logging
from datetime import datetime, timedelta
from typing import Any

import orjson

from app_kernel.auth import store
from app_kernel.auth.email_tokens import LIFETIMES, MOST_PER_HOUR, EmailToken, Purpose, new_email_token
from app_kernel.auth.identifiers import canonical_email
from app_kernel.auth.links import link_for
from app_kernel.auth.security_events import emit_security
from app_kernel.core import clock
from app_kernel.core.config import ServiceConfig
from app_kernel.core.context import acting_as
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import InvalidEmail, MailNotConfigured, UndeliverableMail
from app_kernel.core.jobs import Task
from app_kernel.core.ports import EntityStore, JobQueue, Mailer
from app_kernel.encryption import key_ring

TEMPLATES: dict[Purpose, str] = {"verify": "verify_email", "change": "change_email", "reset": "reset_password"}
NOTICE = "notice"
"""The purpose in the rows of mails without a link; no token has it."""
MAIL_LINK = "auth.mail_link"
PURPOSE = "auth mail"
"""What the payload of the job is sealed for: it holds an address that somebody typed."""

_log = logging.getLogger("app_kernel.auth")

Row = dict[str, Any]


def mailer() -> Mailer:
    """The running service's; raises MailNotConfigured where no mail can leave."""
    found = _find_mailer()
    if found is None:
        raise MailNotConfigured
    return found


def _find_mailer() -> Mailer | None:
    found = current_kernel().find_port(Mailer)  # type: ignore[type-abstract]  # a port is asked for by its protocol
    return found if found is not None and found.can_send else None


async def send_link(
    db: EntityStore, config: ServiceConfig, user: Row, purpose: Purpose, base: str, *, to: str | None = None
) -> bool:
    """Mails a link to the account's address, or to `to`, in one commit with its token; whether it did.

    It does nothing once the account or the address has had its share of the hour. Raises MailNotConfigured.
    """
    sender, now = mailer(), clock.now()
    address, lifetime = to or user["email"], LIFETIMES[purpose]
    token, expires_at = new_email_token(purpose), now + lifetime
    async with db.transaction():
        if await _had_its_share(db, user, address, tuple(TEMPLATES)):
            return False
        await _remember(db, token, purpose, user, address, expires_at)
        values = {
            "service": config.name,
            "link": link_for(config, base, purpose, token.text),
            "expires_minutes": int(lifetime.total_seconds() // 60),
            "new_email": address,
        }
        await sender.send_template(address, TEMPLATES[purpose], values, expires_at=expires_at)
    return True


async def tell_of_account(db: EntityStore, config: ServiceConfig, user: Row, base: str) -> None:
    """Mails the owner that somebody used their address, with the way to a new password; as seldom as links.

    These mails are counted apart, so that nobody who causes them keeps the owner from a link.
    """
    sender = mailer()
    page = link_for(config, base, "reset", "").removesuffix("#token=")
    async with db.transaction():
        if await _had_its_share(db, user, user["email"], (NOTICE,)):
            return
        # Opens nothing, and counts as one of the mails of this hour.
        await _remember(db, new_email_token("verify"), NOTICE, user, user["email"], clock.now())
        await sender.send_template(user["email"], "account_exists", {"service": config.name, "link": page})


async def _had_its_share(db: EntityStore, user: Row, address: str, purposes: tuple[str, ...]) -> bool:
    """Asked at the same time for one account, the second waits for the first one's transaction and counts its mail."""
    await store.take_account_turn(db, user["id"])
    since = clock.now() - timedelta(hours=1)
    return await store.count_email_tokens(db, user["id"], address, purposes, since) >= MOST_PER_HOUR


async def _remember(
    db: EntityStore, token: EmailToken, purpose: str, user: Row, email: str, expires_at: datetime
) -> None:
    await store.insert_email_token(
        db,
        {
            "token_hash": token.token_hash,
            "purpose": purpose,
            "user_id": user["id"],
            "email": email,
            "expires_at": expires_at,
            "used_at": None,
        },
    )


async def give_choose_token(db: EntityStore, user: Row) -> str:
    """A token that is not mailed but answered, with which the owner of a mailbox chooses a password now."""
    token = new_email_token("choose")
    await _remember(db, token, "choose", user, user["email"], clock.now() + LIFETIMES["choose"])
    return token.text


async def tell(config: ServiceConfig, to: str, template: str, **values: Any) -> None:
    """Mails a notice, where mail is set up; a template that cannot be rendered keeps nobody from what it tells of."""
    found = _find_mailer()
    if found is not None:
        try:
            await found.send_template(to, template, {"service": config.name, **values})
        except UndeliverableMail as exc:
            _log.error("notice_not_mailed", extra={"template": template, "reason": exc.message})


async def ask_for_link(config: ServiceConfig, email: str, purpose: Purpose, base: str) -> None:
    """Lets a job mail a link to an address, if it is that of an account that may have one."""
    mailer()
    request = {"email": email, "purpose": purpose, "base": base, "asked_at": int(clock.epoch())}
    sealed = key_ring(config).seal(PURPOSE, orjson.dumps(request))
    kernel = current_kernel()
    queue = kernel.port(JobQueue)  # type: ignore[type-abstract]  # as above
    # Nobody's job: who asked could read in /jobs how long it took, which tells whether there was an account. In a
    # transaction it waits in the database while the queue is away.
    async with kernel.db.connection().transaction():
        with acting_as(None):
            await queue.enqueue(MAIL_LINK, {"sealed": sealed})
        if purpose == "reset":
            await emit_security("auth.password_reset_requested", None)


async def mail_link(payload: dict[str, Any]) -> None:
    """The job: finds the account and mails the link, or does nothing."""
    kernel = current_kernel()
    request = orjson.loads(key_ring(kernel.config).unseal(PURPOSE, str(payload["sealed"])))
    purpose: Purpose = request["purpose"]
    if clock.epoch() - request["asked_at"] > LIFETIMES[purpose].total_seconds():
        return  # whoever asked has long asked again
    try:
        email = canonical_email(request["email"], allow_test_domains=not kernel.config.production)
    except InvalidEmail:
        return
    db = kernel.db.connection()
    user = await store.find_user_row(db, "email", email)
    if user is None or not user["is_active"] or (purpose == "verify" and user["email_verified_at"] is not None):
        return
    await send_link(db, kernel.config, user, purpose, request["base"])


TASKS = {MAIL_LINK: Task(handler=mail_link, max_attempts=5)}
