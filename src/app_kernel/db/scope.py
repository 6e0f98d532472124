"""Where the verbs work: on a driver, where each is a transaction of its own, or inside an open transaction."""

from dataclasses import dataclass

from app_kernel.db.drivers.base import Session
from app_kernel.db.many_writes import ManyWrites
from app_kernel.db.schema import Schema
from app_kernel.db.workspace import WorkspaceSchema


@dataclass(frozen=True, slots=True)
class Scope:
    """What runs statements, what is known of the tables there, and the writing verbs over both."""

    session: Session
    schema: Schema | WorkspaceSchema
    writes: ManyWrites

    def within(self, workspace: str, *, opens_kernel: bool = False) -> "Scope":
        """The same as one workspace sees it: neither its verbs nor a new one can get hold of another table."""
        schema = WorkspaceSchema(self.schema.everybodys, workspace, opens_kernel=opens_kernel)
        return Scope(self.session, schema, self.writes.within(schema))
