"""The entity verbs: what `Depends(db_connection)`, `get_db_connection()` and `connect(url)` give."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from app_kernel.core.errors import InvalidQuery, OutsideWorkspace, ReservedName
from app_kernel.core.outbox import Message, Recorder
from app_kernel.core.ports import EntityStore
from app_kernel.core.tables import Table
from app_kernel.core.tracing import span
from app_kernel.core.transaction import joined_transaction
from app_kernel.db.definitions import DefinitionVerbs
from app_kernel.db.drivers.base import TRANSACTION_SECONDS, Driver
from app_kernel.db.errors import SchemaFact
from app_kernel.db.history import HistoryVerbs
from app_kernel.db.many import ManyVerbs
from app_kernel.db.names import check_entity_name
from app_kernel.db.portable import compile_raw, encode_raw
from app_kernel.db.query import check_params
from app_kernel.db.reads import ReadVerbs
from app_kernel.db.row import ResultRow
from app_kernel.db.saves import SaveVerbs
from app_kernel.db.scope import Scope
from app_kernel.db.traced import database_attributes, traced
from app_kernel.db.transactions import StoreTransaction, check_seconds, open_transaction
from app_kernel.db.workspace import check_workspace


@traced
class Store(HistoryVerbs, ReadVerbs, ManyVerbs, SaveVerbs, DefinitionVerbs, EntityStore):
    """A handle on a database. It holds no connection between verbs, so tasks may share it."""

    def __init__(
        self,
        driver: Driver,
        recorders: list[Recorder] | None = None,
        *,
        outside: Scope | None = None,
        privileged: bool = False,
        workspace: str | None = None,
        opens_kernel: bool = False,
    ) -> None:
        super().__init__(
            driver,
            [] if recorders is None else recorders,
            outside=outside,
            privileged=privileged,
            workspace=workspace,
            opens_kernel=opens_kernel,
        )
        self._everybodys = outside or self._outside
        self._twin: Store | None = None

    @property
    def database(self) -> object:
        """What all handles of one open database have in common, bound to a workspace or not; compared by identity."""
        return self._driver

    @property
    def backend(self) -> str:
        """sqlite, postgres or mysql, which is MariaDB too."""
        return self._dialect.name

    @property
    def privileged(self) -> "Store":
        """The same database with the kernel's own tables open to it; for the kernel's features only.

        Of a handle that is bound to a workspace, the application's tables stay bound and the kernel's own are not:
        they hold accounts and webhooks of the whole service beside what is the workspace's. So a feature works alike
        with either handle, and `privileged.in_workspace(...)` binds the kernel's tables too.
        """
        if self._privileged:
            return self
        if self._twin is None:
            bound = self._workspace is not None
            self._twin = self._made(privileged=True, workspace=self._workspace, opens_kernel=bound)
        return self._twin

    @property
    def workspace_id(self) -> str | None:
        """The workspace that this handle is bound to, or None."""
        return self._workspace

    def in_workspace(self, workspace_id: str) -> "Store":
        """The same database as one workspace sees it: nothing of another one is read, and all that is saved is its own.

        Every read has the filter `[workspace_id] = ?` and every write the field, whatever a clause, an id, `match_by`,
        `as_of` or a bulk verb says. Rows of another workspace, and of none, count as absent, and saving to the id of
        one raises OutsideWorkspace. An open transaction is shared with the other handles of this database. Raises
        InvalidWorkspace for what is no id, such as None, and OutsideWorkspace for another one than that of this handle.
        """
        workspace = check_workspace(workspace_id)
        if self._workspace is None:
            return self._made(privileged=self._privileged, workspace=workspace)
        if workspace != self._workspace:
            raise OutsideWorkspace("This handle is bound to another workspace; begin with one that is bound to none.")
        return self._made(privileged=True, workspace=workspace) if self._opens_kernel else self

    def _made(self, *, privileged: bool, workspace: str | None, opens_kernel: bool = False) -> "Store":
        return Store(
            self._driver,
            self._recorders,
            outside=self._everybodys,
            privileged=privileged,
            workspace=workspace,
            opens_kernel=opens_kernel,
        )

    @asynccontextmanager
    async def transaction(self, *, seconds: float = TRANSACTION_SECONDS) -> AsyncIterator["Store"]:
        """One commit for all that this task does in the block, through any handle of this database.

        It commits at the end of the block and rolls back when the block raises. Inside another one it is a part that
        is taken back alone. Verbs in it see its own writes, and one that fails takes back only itself. It lasts
        `seconds` at most; a part of another one has that one's limit. Raises TransactionTimeout,
        TransactionInOtherTask, DatabaseBusy, ConnectionLost.
        """
        limit = check_seconds(seconds)
        joined = joined_transaction(self._driver)
        if isinstance(joined, StoreTransaction):
            async with joined.nested():
                yield self
        else:
            with span("transaction", "client") as made:
                if made is not None:
                    made.set_attributes(database_attributes(self._dialect, "transaction"))
                async with open_transaction(self._driver, self._outside.schema.everybodys, self._recorders, limit):
                    yield self

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Calls back once the open transaction is committed, and never if it is rolled back; at once outside of one.

        The callback is plain, quick and does not raise.
        """
        joined = joined_transaction(self._driver)
        if joined is None:
            callback()
        else:
            joined.after_commit(callback)

    def add_recorder(self, recorder: Recorder) -> Recorder:
        """Shows every later change of this database, through whichever handle of this process, to `recorder`.

        It is called inside the change's transaction; what it answers leaves with the commit. Where it is there already,
        or another one that equals it, that one stays and is returned.
        """
        for there in self._recorders:
            if there == recorder:
                return there
        self._recorders.append(recorder)
        return recorder

    async def send_messages(self, messages: Sequence[Message]) -> None:
        """Puts messages into the outbox, with the open transaction or in one of their own; privileged handles only."""
        if not self._privileged:
            raise ReservedName("The outbox belongs to the kernel's features.")
        if messages:
            await self._scope().writes.send(messages)

    async def execute(self, sql: str, params: Sequence[Any] | None = None) -> list[ResultRow]:  # type: ignore[override]
        """Runs one raw SQL statement, DDL included, and returns its rows, which read by name and by position.

        [name] is an identifier and ? a parameter on every backend; ?? is a literal question mark. Values come back as
        the database stores them. A raw write bypasses history and audit. Raises InvalidQuery, UniqueViolation, ...
        """
        if self._workspace is not None:
            raise InvalidQuery("Raw SQL cannot be kept inside a workspace; run it through the handle of no workspace.")
        if type(sql) is not str or not sql.strip():
            raise InvalidQuery("execute() needs an SQL statement.")
        statement = compile_raw(sql, self._dialect)
        values = [encode_raw(value, self._dialect) for value in check_params(params)]
        try:
            names, rows = await self._scope().session.execute(statement, values)
        except SchemaFact as exc:
            raise InvalidQuery(f"SQL: {exc}") from exc
        return ResultRow.make(names, rows)

    async def ensure_tables(self, tables: Iterable[Table]) -> None:
        """Creates the tables, columns and indexes that are missing; does nothing where all is there.

        For features and scripts that need tables before a service runs. Raises InvalidName.
        """
        for table in tables:
            check_entity_name(table.name, writing=True, privileged=self._privileged)
            await self._scope().schema.ensure_table(table)
