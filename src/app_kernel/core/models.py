"""What a type checker has to know of entities: the dataclasses that they can be, and what their history tells."""

from dataclasses import Field
from datetime import datetime
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

# Before Python 3.12 pydantic, and so a route's response, takes only this one.
from typing_extensions import TypedDict


class DataclassInstance(Protocol):
    """An instance of any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


M = TypeVar("M", bound=DataclassInstance)
"""A dataclass that entities are read and saved as."""

Instant: TypeAlias = datetime | str
"""An aware datetime, or ISO 8601 text with an offset."""


class HistoryEntry(TypedDict):
    """One change of one entity."""

    version: int
    """From 1."""
    action: str
    """create, update, delete, restore or purge; adopt where the store found a row in a table of the application's."""
    at: str
    """When, as UTC ISO 8601 text."""
    actor: str | None
    comment: str | None
    entity: dict[str, Any]
    """The whole row as the change left it; of a purge, as it was last."""
    changes: dict[str, list[Any]]
    """Field to [old, new], beside the version before; without `updated_at`, `updated_by` and `_version`."""
