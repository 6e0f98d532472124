"""What the parts that every database server shares need to know of one: how it is reached, and what its errors mean."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from app_kernel.core.errors import StoreError
from app_kernel.db.errors import SchemaFact


class Connection(Protocol):
    """A connection of ours. Between two uses there is no state in it but prepared statements."""

    idle_since: float
    """The event loop's time at which it was last given back."""

    def is_closed(self) -> bool:
        """Whether it is known to be gone."""

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open in it."""

    async def fetch(self, sql: str, *params: Any, timeout: float | None = None) -> list[Any]:
        """The rows of a statement."""

    async def execute(self, sql: str, *, timeout: float | None = None) -> object:
        """Runs statements of our own, with `;` between them, in one round trip; the first that fails is the last."""

    async def forget_statements(self) -> None:
        """Prepares every statement anew from now on, after a column has got another type."""

    async def close(self, *, timeout: float | None = None) -> None:
        """Says goodbye and closes."""

    def terminate(self) -> None:
        """Closes at once."""


class Wire(ABC):
    """One database server, as its options say; errors are those that its driver raises."""

    pool_size: int
    pool_timeout: float
    statement_timeout: float
    foreign: ClassVar[tuple[type[BaseException], ...]]
    """Whatever the driver raises."""

    @abstractmethod
    async def connect(self) -> Connection:
        """An open connection; raises Unavailable and its kinds."""

    @abstractmethod
    def to_ours(self, exc: BaseException) -> StoreError | SchemaFact:
        """The kernel's error for one of `foreign`."""

    @abstractmethod
    def is_lost(self, exc: BaseException) -> bool:
        """Whether the connection is gone, rather than that the server refused something."""

    @abstractmethod
    def is_reusable(self, exc: BaseException) -> bool:
        """Whether the connection on which this happened is in a known state."""

    @abstractmethod
    def was_never_sent(self, exc: BaseException) -> bool:
        """Whether the driver refused by itself, so that the server has not heard of the statement."""

    @abstractmethod
    def is_conflict(self, exc: BaseException) -> bool:
        """Whether the same again, from the start, may well succeed: a deadlock, or what comes to one."""

    @abstractmethod
    def is_lock_timeout(self, exc: BaseException) -> bool:
        """Whether somebody else held a lock for too long."""

    @abstractmethod
    def may_be_stale(self, exc: BaseException) -> bool:
        """Whether a statement that was prepared before a column changed its type would fail like this."""

    @abstractmethod
    def is_about_values(self, exc: BaseException) -> bool:
        """Whether a value does not fit where it stands."""

    @abstractmethod
    def is_other_generation(self, exc: BaseException) -> bool:
        """Whether a guard found the schema at another generation."""

    @abstractmethod
    def ended_transaction(self, exc: BaseException) -> bool:
        """Whether the server has rolled back the whole transaction with this error."""

    @abstractmethod
    async def commit(self, connection: Connection) -> None:
        """Commits; raises what says that the connection is lost when nobody can know whether that happened."""


MovedOn = Callable[[int], None]
