"""How a fact leaves a transaction: a message is a row that commits with it, and a sink receives it afterwards.

A message is delivered at least once. A sink is called inside a transaction of the database that it writes to, in which
the ids of the messages are remembered as well, so that what it writes there happens once.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from app_kernel.core import clock

if TYPE_CHECKING:
    from app_kernel.core.events import EntityChanged
    from app_kernel.core.kernel import Kernel
    from app_kernel.core.ports import EntityStore

ADMIN_TOPICS = "admin:"
"""Topics that begin so are for the admin database, and travel through Redis where there is one."""


@dataclass(frozen=True, slots=True)
class Message:
    """One fact on its way from the app database to a sink."""

    topic: str
    """Which sink it is for, such as "admin:audit_events": 1 to 191 characters, no spaces."""
    body: Mapping[str, Any]
    """JSON types only."""
    key: str = ""
    """Messages of one topic and key arrive in the order in which they were written; an empty key asks for no order. At
    most 500 characters."""
    id: str = field(default_factory=clock.new_id)
    """1 to 191 characters. Of the messages of one topic that share an id, only the first has an effect."""
    created_at: str = field(default_factory=clock.timestamp)


Sink: TypeAlias = Callable[["EntityStore", Sequence[Message]], Awaitable[None]]
"""`await sink(db, messages)`: writes a batch of new messages inside an open transaction of `db`.

One that raises is called again with the same messages, later and then one by one; what it wrote was rolled back.
"""

Recorder: TypeAlias = Callable[["EntityChanged"], Iterable[Message]]
"""`recorder(change)`: the messages that must leave with a change. It runs inside the change's transaction, perhaps in
another thread and more than once, so it is quick and touches nothing but its argument; one that raises refuses the
change."""

EventRecorder: TypeAlias = Callable[["Kernel", Any], Iterable[Message]]
"""`recorder(kernel, event)`: the messages that must leave with what an emitted event tells of."""


@dataclass(frozen=True, slots=True)
class OutboxFigures:
    """How a service's outbox stands."""

    unsent: int
    """Messages that have not left."""
    oldest_seconds: float
    """Age of the oldest of them; 0 when there is none."""
    dead: int
    """Messages that no receiver took, kept in the app database until somebody sends them again."""
    is_active: bool
    """Whether the relay of this process is the one that carries."""
    in_streams: Mapping[str, int] | None = None
    """Messages in Redis that no admin worker has written yet, by topic; None without Redis, or while it is away."""
