"""Where the verbs work: on a driver, where each is a transaction of its own, or inside an open transaction."""

from dataclasses import dataclass

from app_kernel.db.drivers.base import Session
from app_kernel.db.many_writes import ManyWrites
from app_kernel.db.schema import Schema


@dataclass(frozen=True, slots=True)
class Scope:
    """What runs statements, what is known of the tables there, and the writing verbs over both."""

    session: Session
    schema: Schema
    writes: ManyWrites
