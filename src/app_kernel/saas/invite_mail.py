"""The mail of an invite, and how many of them may leave: it goes to people who did not ask for it."""

import hashlib
from typing import Any

from app_kernel.core.current import current_kernel
from app_kernel.core.errors import InvalidWorkspace, MailNotConfigured, TooManyAttempts, UndeliverableMail
from app_kernel.core.limits import whole_seconds
from app_kernel.core.ports import EntityStore, Mailer, RateLimiter
from app_kernel.saas.surroundings import accounts_of

TEMPLATE = "workspace_invite"
HOUR = 3600
MOST_TO_ADDRESS = 10
"""Invites of whatever workspace that one address may be sent in an hour."""
MOST_BY_USER = 100
"""Invites that one user may send in an hour."""

Row = dict[str, Any]


def find_mailer() -> Mailer | None:
    """The service's mailer; None where no mail can leave."""
    found = current_kernel().find_port(Mailer)  # type: ignore[type-abstract]  # a port is asked for by its protocol
    return found if found is not None and found.can_send else None


async def may_mail(address: str, by: str | None) -> bool:
    """Whether a mail to this address may leave now, counted where there is a limiter.

    An address that has had its share is still invited, or whoever sends it invites would keep others from it. Raises
    TooManyAttempts when too many came from the user `by`.
    """
    if find_mailer() is None:
        return False
    limiter = current_kernel().find_port(RateLimiter)  # type: ignore[type-abstract]  # as above
    if limiter is None:
        return True
    if by is not None:
        sent = await limiter.hit(f"invites_by:{by}", MOST_BY_USER, HOUR)
        if not sent.allowed:
            raise TooManyAttempts(
                whole_seconds(sent.reset_after), "You sent too many invites within an hour; wait before the next one."
            )
    receiver = hashlib.sha256(address.encode()).hexdigest()[:32]
    return (await limiter.hit(f"invites_to:{receiver}", MOST_TO_ADDRESS, HOUR)).allowed


async def mail_invite(db: EntityStore, workspace: Row, invite: Row, token: str, link: str | None) -> None:
    """Mails an invite with the open transaction; raises InvalidWorkspace for an address no mail can be sent to."""
    mailer = find_mailer()
    if mailer is None:
        raise MailNotConfigured
    by = invite["invited_by"]
    inviter = None if by is None else await accounts_of(current_kernel()).get_account(db, by)
    values = {
        "workspace": workspace["name"],
        "inviter": None if inviter is None else inviter.name or inviter.email,
        "role": invite["role"],
        "token": token,
        "link": link,
        "expires_minutes": int((invite["expires_at"] - invite["sent_at"]).total_seconds() // 60),
    }
    try:
        await mailer.send_template(invite["email"], TEMPLATE, values, expires_at=invite["expires_at"])
    except UndeliverableMail as exc:
        raise InvalidWorkspace(exc.message) from None
