"""Every line that touches the table of mail; portable verbs only."""

from typing import Any

from app_kernel.core.ports import EntityStore
from app_kernel.mail.message import Mail
from app_kernel.mail.tables import DEVELOPMENT_MAILS

Row = dict[str, Any]

KEPT = 100
"""Mails that are kept; an older one goes when a new one comes."""


async def keep_mail(db: EntityStore, mail: Mail) -> None:
    """Adds a mail, once however often it is added, and removes those that are too many."""
    values = {"recipient": mail.to, "subject": mail.subject, "text": mail.text, "html": mail.html}
    await db.privileged.save_entity(DEVELOPMENT_MAILS, {"id": mail.id, "template": mail.template, **values})
    old = await db.privileged.find_entities(DEVELOPMENT_MAILS, order_by="[id] DESC", offset=KEPT, limit=KEPT)
    if old:
        await db.privileged.delete_entities(DEVELOPMENT_MAILS, [row["id"] for row in old], permanent=True)


async def list_mails(db: EntityStore) -> list[Row]:
    """The mails that are kept, the newest first: their ids are in the order of their making."""
    return await db.privileged.find_entities(DEVELOPMENT_MAILS, order_by="[id] DESC", limit=KEPT)


async def get_mail(db: EntityStore, mail_id: str) -> Row | None:
    """The mail with this id, or None."""
    return await db.privileged.get_entity(DEVELOPMENT_MAILS, mail_id)
