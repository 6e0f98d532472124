"""A database as one workspace sees it: the tables that its handle can get hold of know whose rows they show.

That is the whole guard. A handle made by `in_workspace` reaches tables through `WorkspaceSchema` only, for reading and
for writing; each of them adds its condition to the statements that find rows (`Dialect.inside`), its value to their
parameters (`EntityTable.bound`), and tells a row of another workspace (`EntityTable.is_outside`). The value is always
bound, so all workspaces share the compiled statements, and a statement without the condition has a parameter too many.
"""

from collections.abc import Mapping
from typing import Any

from app_kernel.core.errors import InvalidWorkspace, UnsupportedValue
from app_kernel.core.tables import Table
from app_kernel.db.growth import Kinds
from app_kernel.db.kinds import Kind, check_text
from app_kernel.db.names import MAX_ID, is_kernel_name
from app_kernel.db.schema import Schema
from app_kernel.db.table import WORKSPACE_FIELD, EntityTable


def check_workspace(workspace_id: Any) -> str:
    """The id of a workspace as plain text; raises InvalidWorkspace for anything else, so that None never means all."""
    if not isinstance(workspace_id, str) or not 1 <= len(workspace_id) <= MAX_ID:
        raise InvalidWorkspace(f"The id of a workspace is a text of 1 to {MAX_ID} characters.")
    text = str.__str__(workspace_id)
    try:
        check_text(WORKSPACE_FIELD, text)
    except UnsupportedValue as exc:
        raise InvalidWorkspace(exc.message) from None
    return text


class WorkspaceSchema:
    """The tables of a schema as one workspace sees them; what is known of them, and how they grow, is everybody's.

    With `opens_kernel`, the kernel's own tables are seen as by everybody: they hold what is no workspace's, too.
    """

    __slots__ = ("_opens_kernel", "_schema", "_workspace", "indexes")

    def __init__(self, schema: Schema, workspace: str, *, opens_kernel: bool = False) -> None:
        self._schema = schema
        self.indexes = schema.indexes
        self._workspace = workspace
        self._opens_kernel = opens_kernel

    @property
    def everybodys(self) -> Schema:
        """The same tables as no workspace alone sees them; for a transaction, which all handles share."""
        return self._schema

    def workspace_of(self, name: str) -> str | None:
        """`Schema.workspace_of`: the workspace, but for what is the kernel's where that is open."""
        return None if self._opens_kernel and is_kernel_name(name) else self._workspace

    def known(self, name: str) -> EntityTable | None:
        """`Schema.known`, as the workspace sees it."""
        table = self._schema.known(name)
        return None if table is None else self._seen(table)

    async def table(self, name: str) -> EntityTable:
        """`Schema.table`, as the workspace sees it."""
        return self._seen(await self._schema.table(name))

    def _seen(self, table: EntityTable) -> EntityTable:
        workspace = self.workspace_of(table.name)
        return table if workspace is None else table.within(workspace, table.refusal or self._refusal(table))

    def _refusal(self, table: EntityTable) -> str | None:
        """Why nobody can tell whose the rows of a table are: values that are no text do not compare with an id."""
        column = table.columns.get(WORKSPACE_FIELD)
        if column is None or not column.physical or (column.kind is Kind.STR and not column.adopted):
            return None
        natural = self._schema.dialect.natural_kind(column.declared)
        if column.adopted and natural is Kind.STR and column.kind in (Kind.STR, Kind.UNKNOWN) and not column.generated:
            return None
        return (
            f"[{WORKSPACE_FIELD}] of {table.name!r} is no column of text ({column.declared}, which holds"
            f" {column.kind}), so in_workspace() cannot tell whose its rows are; make it text, or use the handle of no"
            " workspace with a clause of your own."
        )

    async def ensure(self, name: str, kinds: Kinds) -> None:
        """`Schema.ensure`."""
        await self._schema.ensure(name, kinds)

    async def declare(self, name: str, types: Mapping[str, type]) -> None:
        """`Schema.declare`."""
        await self._schema.declare(name, types)

    async def ensure_table(self, table: Table) -> None:
        """`Schema.ensure_table`."""
        await self._schema.ensure_table(table)

    async def analyze(self, name: str, rows: int) -> None:
        """`Schema.analyze`."""
        await self._schema.analyze(name, rows)

    def wants_history(self, table: EntityTable) -> bool:
        """`Schema.wants_history`."""
        return self._schema.wants_history(table)

    def forget(self) -> None:
        """`Schema.forget`."""
        self._schema.forget()
