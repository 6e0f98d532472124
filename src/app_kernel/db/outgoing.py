"""What a database's changes send out: who records them, and who is told that there is something to carry."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app_kernel.core.outbox import Recorder


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The recorders, and the call that follows a commit with messages in it."""

    recorders: Sequence[Recorder]
    announce: Callable[[], object]
    """Wakes the relay; called when messages were written, inside a transaction as well as after it."""
