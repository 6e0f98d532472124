"""What runs on MySQL alone: statements that are sent together, and the fields of a key that refused a value."""

from collections.abc import Sequence
from typing import Any

from app_kernel.core.errors import UniqueViolation
from app_kernel.db.dialects.mysql_catalog import ALIVE
from app_kernel.db.dialects.mysql_marks import THEN, mark
from app_kernel.db.drivers.constraint_errors import unique_violation
from app_kernel.db.drivers.mysql_errors import key_of
from app_kernel.db.drivers.mysql_statements import check_sendable
from app_kernel.db.drivers.mysql_wire import MySqlWire
from app_kernel.db.drivers.pool import Pool
from app_kernel.db.drivers.runner import Runner
from app_kernel.db.drivers.wire import Connection

BEGIN = "START TRANSACTION"
_FIELDS = (
    "SELECT GROUP_CONCAT(s.column_name ORDER BY s.seq_in_index) FROM information_schema.statistics AS s"  # noqa: S608 - marks only
    f" WHERE s.table_schema = DATABASE() AND s.index_name = {mark(1)} AND s.column_name <> '{ALIVE}'"
    " AND s.non_unique = 0 GROUP BY s.table_name"
)


class MySqlRunner(Runner):
    """Runs single statements and units on the connections of a pool."""

    def __init__(self, pool: Pool, wire: MySqlWire) -> None:
        super().__init__(pool, wire, BEGIN)

    def check(self, sql: str) -> None:
        check_sendable(sql)

    def wraps(self, sql: str, *, isolated: bool) -> bool:
        return THEN in sql

    async def with_fields(self, exc: UniqueViolation) -> UniqueViolation:
        """The same error with the names of the fields, which MySQL does not say."""
        key = key_of(exc.__cause__) if exc.__cause__ is not None else None
        if exc.field is not None or key is None:
            return exc
        rows = await self.single(_FIELDS, (key,), reads=True)
        fields = {row[0] for row in rows}
        return unique_violation(", ".join(fields.pop().split(",")) if len(fields) == 1 else None)


async def fields_on(connection: Connection, exc: UniqueViolation) -> UniqueViolation:
    """As `with_fields`, asked inside an open transaction."""
    key = key_of(exc.__cause__) if exc.__cause__ is not None else None
    if exc.field is not None or key is None:
        return exc
    rows: Sequence[Any] = await connection.fetch(_FIELDS, key)
    fields = {row[0] for row in rows}
    return unique_violation(", ".join(fields.pop().split(",")) if len(fields) == 1 else None)
