"""Tables of engines that are no entities: what a copy of a database has to know of them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app_kernel.core.outbox import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTables:
    """The tables that one engine keeps beside the entities."""

    names: Collection[str]
    create: Callable[[str], Sequence[str]]
    """The statements, in portable text, that make all of them in a backend where they do not exist; those that this
    backend has no use for are left out."""
    backends: Collection[str]
    """The backends that have a place for all of them."""
    leaves: Mapping[str, Callable[[Mapping[str, Any]], Message | None]]
    """For tables that a target may have no place for: what a row becomes that leaves through its outbox instead; None
    for a row that stays behind."""
