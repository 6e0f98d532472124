"""What the entity store refuses or cannot do."""

from typing import ClassVar

from app_kernel.core.errors.base import KernelError


class StoreError(KernelError):
    """The entity store refused or failed an operation."""


class InvalidName(StoreError, ValueError):
    """An entity or field name that no table or column may have."""

    status = 422
    title = "Unprocessable Content"


class ReservedName(InvalidName):
    """A name that belongs to the kernel."""


class ReservedField(StoreError, ValueError):
    """A field that only a verb of its own may change."""

    status = 422
    title = "Unprocessable Content"


class InvalidQuery(StoreError, ValueError):
    """A where clause, order or page that cannot be run."""

    status = 422
    title = "Unprocessable Content"


class UnsupportedValue(StoreError, ValueError):
    """A value that could not be stored and given back equal and of the same type."""

    status = 422
    title = "Unprocessable Content"


class InvalidDatabaseUrl(StoreError, ValueError):
    """This is no database URL that this version can open."""


class SchemaLimit(StoreError):
    """The configured number of entities or fields is reached."""

    status = 422
    title = "Unprocessable Content"


class UnsupportedTable(StoreError):
    """A table made outside the store has a shape that the store cannot work with."""

    status = 409
    title = "Conflict"


class UnsupportedModel(StoreError, TypeError):
    """A dataclass that entities cannot be saved or read as."""


class OutsideWorkspace(StoreError):
    """There is no such entity in this workspace."""

    status = 404
    title = "Not Found"


class EntityDeleted(StoreError):
    """The entity is soft-deleted; restore it with restore_entity() before saving to it."""

    status = 409
    title = "Conflict"


class VersionConflict(StoreError):
    """The entity was changed since the version that was expected."""

    status = 409
    title = "Conflict"


class AmbiguousMatch(StoreError):
    """Several entities match where one is meant."""

    status = 409
    title = "Conflict"


class ConstraintViolation(StoreError):
    """A constraint of the table refuses this value."""

    status = 422
    title = "Unprocessable Content"

    def __init__(self, message: str | None = None, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        """The field, or fields joined by a comma, of the constraint; None where the database does not say."""


class UniqueViolation(ConstraintViolation):
    """Another entity already has this value in a field that must be unique."""

    status = 409
    title = "Conflict"


class MissingValue(ConstraintViolation):
    """A field that the table requires was not given."""


class TransactionInOtherTask(StoreError):
    """This task was started inside a transaction of another task, which only that task may use.

    Call the store before or after the transaction, or without gather() and create_task() inside it; on Python 3.11
    asyncio.wait_for() starts a task too, and asyncio.timeout() does not.
    """


class SchemaChangeInTransaction(StoreError):
    """This save needs a column that this database cannot make inside a transaction; call ensure_fields() before."""


class Unavailable(StoreError):
    """The database cannot do this now; nothing was changed."""

    status = 503
    title = "Service Unavailable"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class DatabaseBusy(Unavailable):
    """Another writer held the database longer than the busy timeout."""


class DatabaseClosed(Unavailable):
    """The database is closed."""


class QueryTimeout(Unavailable):
    """The query took longer than the statement timeout."""


class TransactionTimeout(Unavailable):
    """The transaction was open longer than it may be, and was rolled back; nothing of it was kept."""


class ConnectTimeout(Unavailable):
    """The database server did not accept a connection in time."""


class PoolTimeout(Unavailable):
    """No connection of the pool became free in time."""


class ConnectionLost(Unavailable):
    """The connection to the database broke; a write that was under way may or may not have been kept."""


class StorageFull(Unavailable):
    """The disk that holds the database is full."""


class StorageReadOnly(Unavailable):
    """The database cannot be written: its file or file system is read-only."""
