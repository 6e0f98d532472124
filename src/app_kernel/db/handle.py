"""What every verb of a handle needs: where it works, what it knows of a table, and a read that notices changes."""

from collections.abc import Sequence
from typing import Any

from app_kernel.core.errors import Unavailable, UnsupportedTable
from app_kernel.core.outbox import Recorder
from app_kernel.core.transaction import joined_transaction
from app_kernel.db.drivers.base import Driver
from app_kernel.db.errors import SchemaFact, SchemaStale
from app_kernel.db.names import check_entity_name
from app_kernel.db.schema import Schema
from app_kernel.db.scope import Scope
from app_kernel.db.table import EntityTable
from app_kernel.db.transactions import StoreTransaction, scope_outside


class Handle:
    """A database as verbs see it: `Store` adds them, one base class for each room of verbs."""

    def __init__(
        self,
        driver: Driver,
        recorders: list[Recorder],
        *,
        outside: Scope | None,
        privileged: bool,
        workspace: str | None = None,
        opens_kernel: bool = False,
    ) -> None:
        self._driver = driver
        self._dialect = driver.dialect
        # One and the same list for all handles of the database, which may grow while it is open.
        self._recorders = recorders
        self._privileged = privileged
        self._workspace = workspace
        self._opens_kernel = opens_kernel
        outside = outside or scope_outside(driver, Schema(driver), recorders)
        self._outside = self._bound(outside)

    def _scope(self) -> Scope:
        joined = joined_transaction(self._driver)
        if not isinstance(joined, StoreTransaction):
            return self._outside
        return self._bound(joined.scope)

    def _bound(self, scope: Scope) -> Scope:
        workspace = self._workspace
        return scope if workspace is None else scope.within(workspace, opens_kernel=self._opens_kernel)

    async def _table(self, scope: Scope, name: str) -> EntityTable:
        check_entity_name(name, privileged=self._privileged)
        table = scope.schema.known(name) or await scope.schema.table(name)
        if table.refusal:
            raise UnsupportedTable(table.refusal)
        return table

    async def _fetch(self, scope: Scope, table: EntityTable, sql: str, params: Sequence[Any]) -> list[Any] | SchemaFact:
        """The rows; or why the caller has to compile anew, which it does RETRIES times before it raises `unread`."""
        session = scope.session
        try:
            rows = await session.fetch(sql, table.bound(params), observed=True)
        except SchemaFact as exc:
            scope.schema.forget()
            return exc
        return rows if session.generation == table.generation else SchemaStale()


def unread(answer: object) -> Unavailable:
    """What a read raises that was compiled anew again and again; `answer` is what came last."""
    if isinstance(answer, SchemaFact) and not isinstance(answer, SchemaStale):
        # Not the schema that the store knows: a policy or a view of the application's asks for what is not there.
        return Unavailable(f"The database refuses this read: {answer}.")
    return Unavailable("The schema of the database kept changing while this was read.")
