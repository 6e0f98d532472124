"""The tables of the outbox and of the inbox on MySQL, where what an index has is bounded."""

from app_kernel.db.dialects.mysql_storage import text_type


def create_outbox(*, is_mariadb: bool) -> list[str]:
    """`Dialect.create_outbox`. What comes from outside may be of any length, unless a key has it."""
    text = text_type("LONGTEXT", is_mariadb=is_mariadb)
    short, name, received = (text_type(f"VARCHAR({size})", is_mariadb=is_mariadb) for size in (64, 191, 400))
    message = f'"topic" {name} NOT NULL, "key" {text} NOT NULL, "body" {text} NOT NULL'
    tables = (
        f'"kernel_outbox" ("seq" BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, "id" {text} NOT NULL, {message},'
        f' "created_at" {text} NOT NULL, "sent_at" {short}, "batch" BIGINT, "attempts" BIGINT NOT NULL DEFAULT 0,'
        # No index of MySQL leaves rows out; NULL is found like any value, and those are the unsent ones.
        ' KEY "kernel_outbox_unsent" ("batch", "topic", "seq"), KEY "kernel_outbox_sent" ("sent_at"))',
        f'"kernel_dead_letters" ("id" {name} NOT NULL, {message}, "created_at" {text} NOT NULL,'
        f' "died_at" {text} NOT NULL, "attempts" BIGINT NOT NULL, "reason" {text} NOT NULL,'
        ' PRIMARY KEY ("id", "topic"))',
        f'"kernel_inbox" ("id" {received} NOT NULL PRIMARY KEY, "received_at" {short} NOT NULL,'
        ' KEY "kernel_inbox_received" ("received_at"))',
        f'"kernel_relay" ("name" {text_type("VARCHAR(255)", is_mariadb=is_mariadb)} NOT NULL PRIMARY KEY,'
        f' "value" {text} NOT NULL)',
    )
    return [f"CREATE TABLE IF NOT EXISTS {table} ENGINE = InnoDB" for table in tables]
