"""What is found in a database, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing."""

    code: str
    where: str
    """The table, index or other object; `database` for the whole of it."""
    text: str
    mend: str
    """How to mend it, as a sentence; empty where there is nothing to do."""
    is_wrong: bool = True
    """False for what is allowed, and may still surprise."""


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """One field of an entity."""

    name: str
    kind: str
    """What it holds, as the catalog says; `unknown` for one that was only ever None, or never written by the store."""
    type: str
    """The column's type in the database; empty while there is no column."""
    adopted: bool
    generated: bool


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """One index of a table."""

    table: str
    name: str
    fields: tuple[str, ...]
    """Its columns; an expression among them is left out."""
    unique: bool
    whole: bool = True
    """False for what a build that failed has left."""


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One entity, or one of the kernel's own tables."""

    name: str
    adopted: bool
    """Whether the application made the table."""
    columns: tuple[ColumnFacts, ...]
    indexes: tuple[IndexFacts, ...]
    refusal: str | None = None
    """Why the store cannot work with it; None when it can."""
    rows: int | None = None
    """Rows that are not deleted; None where they could not be counted."""
    deleted: int = 0
    unversioned: int = 0
    """Rows that were not written by the store: they have no version."""
    history: int | None = None
    """Versions in its history; None where it has none."""
    history_lacks: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()
    """Fields that every table of the store has, and this one has not."""

    @property
    def is_kernels(self) -> bool:
        """Whether it is one of the kernel's own."""
        return self.name.lower().startswith("kernel_")


@dataclass(frozen=True, slots=True)
class OutboxFacts:
    """What has not left the database."""

    unsent: int
    oldest_seconds: float
    dead: int
    topics: Mapping[str, float]
    """Topics with unsent messages, and the age of the oldest of each in seconds."""


@dataclass(slots=True)
class Report:
    """Everything about one database."""

    backend: str
    server: Mapping[str, Any]
    """Facts of the backend's own: its version, its settings, sizes in bytes."""
    format: int | None = None
    """How the catalog is laid out; None where there is none."""
    generation: int | None = None
    tables: list[TableFacts] = field(default_factory=list)
    outbox: OutboxFacts | None = None
    findings: list[Finding] = field(default_factory=list)
    deep: bool = False

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong."""
        return not any(finding.is_wrong for finding in self.findings)
