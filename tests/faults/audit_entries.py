"""Audit events as a service puts them into the stream, without a service."""

from collections.abc import Iterator

import redis

from app_kernel.audit.recorder import ChangeRecorder
from app_kernel.core import clock
from app_kernel.core.events import EntityChanged
from app_kernel.core.outbox import Message
from app_kernel.db.outbox.rows import encode_body
from app_kernel.db.outbox.streams import GROUP

AT_ONCE = 1000


def audit_messages(app: str, count: int) -> Iterator[Message]:
    """One for each creation of an item."""
    record = ChangeRecorder(app)
    for number in range(count):
        at = clock.timestamp()
        row = {"id": f"item-{number}", "name": "bolt M8", "color": "red", "number": number, "created_by": "user-1"}
        change = EntityChanged(
            entity="items", id=row["id"], version=1, action="create", before=None, after=row, at=at,
            actor_id="user-1", comment=None, request_id=f"request-{number}", address="127.0.0.1", workspace_id=None,
        )  # fmt: skip
        yield from record(change)


def fill_stream(client: "redis.Redis", messages: Iterator[Message]) -> None:
    """Puts messages where the relay puts them."""
    pipeline = client.pipeline(transaction=False)
    for number, message in enumerate(messages):
        if number == 0:
            pipeline.xgroup_create(message.topic, GROUP, id="0", mkstream=True)
        fields = {"id": message.id, "key": message.key, "created_at": message.created_at}
        pipeline.xadd(message.topic, {**fields, "body": encode_body(message.body)})
        if number % AT_ONCE == AT_ONCE - 1:
            pipeline.execute()
    pipeline.execute()
