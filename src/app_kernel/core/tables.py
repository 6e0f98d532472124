"""What a feature needs on its own tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Index:
    """An index over `fields`, in this order; a unique one refuses a second row with the same values."""

    fields: tuple[str, ...]
    unique: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table that exists before the first request: its name (`kernel_...` for the kernel's own), fields and indexes.

    `fields` maps each name to the Python type of its values; `id` and the kernel's own fields are there anyway.
    """

    name: str
    fields: Mapping[str, type]
    indexes: tuple[Index, ...] = ()
    lengths: Mapping[str, int] = field(default_factory=dict, kw_only=True)
    """Most characters of fields of text that an index has, where it must be known: the keys of an index of MySQL have
    3,072 bytes, and a field has at most 255 characters in one that says nothing. Longer text is refused there."""
    history: bool = field(default=False, kw_only=True)
    """Whether every change is kept in `{name}_history`."""
