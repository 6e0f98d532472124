"""Who asked for a change and why, and what leaves with it: taken from the context when a verb is called."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any

import orjson

from app_kernel.core.context import current_context
from app_kernel.core.errors import UnsupportedValue
from app_kernel.core.events import EntityChanged
from app_kernel.core.outbox import Message, Recorder
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.drivers.base import Row, Unanswered, Work
from app_kernel.db.table import EntityTable

MESSAGES_AT_ONCE = 100
"""Messages in one statement; each has five values."""
LONGEST_ID = 191
LONGEST_TOPIC = 191
LONGEST_KEY = 500
# On the path of every write: reading the instant and spelling it again costs four times as much.
_timestamp = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})T(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}\.[0-9]{6}Z").fullmatch


class Origin:
    """The part of a change that does not depend on the row."""

    __slots__ = ("actor", "comment", "context", "has_messages", "recorders")

    def __init__(self, recorders: Sequence[Recorder], comment: str | None = None) -> None:
        context = current_context()
        self.actor = context.actor_id
        self.context = context
        self.comment = comment
        self.recorders = recorders
        self.has_messages = False
        """Whether the unit wrote any; read once it is committed."""

    def hears(self, table: EntityTable) -> bool:
        """Whether anybody records changes of this table; nobody does those of the kernel's own."""
        return bool(self.recorders) and not table.name.startswith("kernel_")

    def messages(
        self, table: EntityTable, action: str, at: str, before: Row | None, after: Row | None, version: int
    ) -> list[Message]:
        """What the recorders have to say of one change."""
        row = after if after is not None else before
        if row is None or not self.hears(table):
            return []
        was = None if before is None else table.to_dict(before)
        now = None if after is None else table.to_dict(after)
        return self.said(table, action, at, row[table.position("id")], version, was, now)

    def said(
        self,
        table: EntityTable,
        action: str,
        at: str,
        id: Any,
        version: int,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any] | None,
    ) -> list[Message]:
        """The same, where the rows are dicts already."""
        context = self.context
        change = EntityChanged(
            entity=table.name,
            id=id,
            version=version,
            action=action,
            before=before,
            after=after,
            at=at,
            actor_id=self.actor,
            comment=self.comment,
            request_id=context.request_id,
            address=context.address,
            # A handle of one workspace knows better than the context, in a script or job above all.
            workspace_id=context.workspace_id if table.workspace is None else table.workspace,
            api_key_id=context.api_key_id,
            job_id=context.job_id,
            command=context.command,
            traceparent=context.traceparent,
        )
        return [message for recorder in self.recorders for message in recorder(change)]

    def send(self, dialect: Dialect, messages: Sequence[Message]) -> Work[None]:
        """Writes messages into the outbox, in their order."""
        for start in range(0, len(messages), MESSAGES_AT_ONCE):
            part = messages[start : start + MESSAGES_AT_ONCE]
            yield Unanswered((_insertion(dialect, len(part)), message_values(part)))
        self.has_messages = self.has_messages or bool(messages)


@lru_cache(maxsize=256)
def _insertion(dialect: Dialect, count: int) -> str:
    # Spelling it takes as long as the database does with it.
    return dialect.insert_messages(count)


def message_values(messages: Iterable[Message]) -> list[Any]:
    """The values of messages, as `Dialect.insert_messages` wants them.

    Raises UnsupportedValue for a message that could not be stored, carried or counted.
    """
    values: list[Any] = []
    for message in messages:
        _check(message)
        values += (message.id, message.topic, message.key, _body(message.body), message.created_at)
    return values


def _check(message: Message) -> None:
    if not _is_text(message.id, 1, LONGEST_ID):
        raise UnsupportedValue(f"The id of a message is a text of 1 to {LONGEST_ID} characters.")
    if not _is_text(message.topic, 1, LONGEST_TOPIC) or any(map(str.isspace, message.topic)):
        raise UnsupportedValue(f"The topic of a message is a text of 1 to {LONGEST_TOPIC} characters without spaces.")
    if not _is_text(message.key, 0, LONGEST_KEY):
        raise UnsupportedValue(f"The key of a message is a text of at most {LONGEST_KEY} characters.")
    if not _is_timestamp(message.created_at):
        raise UnsupportedValue("A message's created_at is a text as clock.timestamp() makes it.")


def _is_text(value: object, shortest: int, longest: int) -> bool:
    """Whether it is a text that every database stores, of such a length."""
    if not isinstance(value, str) or not shortest <= len(value) <= longest or "\0" in value:
        return False
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _is_timestamp(value: object) -> bool:
    found = _timestamp(value) if isinstance(value, str) else None
    try:
        return found is not None and bool(date.fromisoformat(found[1]))
    except ValueError:
        return False


def _body(body: Mapping[str, Any]) -> str:
    if not isinstance(body, dict):
        raise UnsupportedValue("The body of a message is a dict.")
    try:
        return orjson.dumps(body).decode()
    except TypeError as exc:
        raise UnsupportedValue(f"The body of a message is JSON: {exc}.") from exc
