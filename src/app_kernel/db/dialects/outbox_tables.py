"""The tables of the outbox and of the inbox, in standard SQL."""

from collections.abc import Callable, Mapping

from app_kernel.db.kinds import Kind


def create_outbox(q: Callable[[str], str], types: Mapping[Kind, str], id_type: str, serial_type: str) -> list[str]:
    """`Dialect.create_outbox`; `q` quotes a name."""
    text, number = types[Kind.STR], types[Kind.INT]
    message = f"{q('topic')} {text} NOT NULL, {q('key')} {text} NOT NULL, {q('body')} {text} NOT NULL"
    return [
        f"CREATE TABLE IF NOT EXISTS {q('kernel_outbox')} ({q('seq')} {serial_type},"
        f" {q('id')} {text} NOT NULL, {message}, {q('created_at')} {text} NOT NULL, {q('sent_at')} {text},"
        f" {q('batch')} {number}, {q('attempts')} {number} NOT NULL DEFAULT 0)",
        f"CREATE INDEX IF NOT EXISTS {q('kernel_outbox_unsent')}"
        f" ON {q('kernel_outbox')} ({q('topic')}, {q('seq')})"
        f" WHERE {q('batch')} IS NULL",
        f"CREATE INDEX IF NOT EXISTS {q('kernel_outbox_sent')} ON {q('kernel_outbox')} ({q('sent_at')})"
        f" WHERE {q('batch')} IS NOT NULL",
        f"CREATE TABLE IF NOT EXISTS {q('kernel_dead_letters')} ({q('id')} {id_type} NOT NULL,"
        f" {message}, {q('created_at')} {text} NOT NULL, {q('died_at')} {text} NOT NULL,"
        f" {q('attempts')} {number} NOT NULL, {q('reason')} {text} NOT NULL,"
        f" PRIMARY KEY ({q('id')}, {q('topic')}))",
        f"CREATE TABLE IF NOT EXISTS {q('kernel_inbox')} ({q('id')} {id_type} NOT NULL PRIMARY KEY,"
        f" {q('received_at')} {text} NOT NULL)",
        f"CREATE INDEX IF NOT EXISTS {q('kernel_inbox_received')} ON {q('kernel_inbox')} ({q('received_at')})",
        f"CREATE TABLE IF NOT EXISTS {q('kernel_relay')} ({q('name')} {id_type} NOT NULL PRIMARY KEY,"
        f" {q('value')} {text} NOT NULL)",
    ]
