"""Every error of the kernel, each with the HTTP status and title that RFC 9457 bodies carry.

KernelError
├── ConfigurationError      (also SystemExit: at top level it prints its message and exits, without a traceback)
├── NoRunningKernel · AmbiguousKernel · ResponseAborted
├── NotAuthenticated 401 · PermissionDenied 403 · TooManyAttempts 429 · ServerBusy 503
├── JobError
│   ├── UnknownTask
│   ├── InvalidJob 422 (ValueError)
│   ├── JobNotFound 404
│   └── JobConflict 409
├── AccountError
│   ├── InvalidEmail 422 · InvalidUsername 422 · WeakPassword 422
│   ├── AccountExists 409
│   ├── AccountNotFound 404
│   └── SignupDisabled 403
└── StoreError
    ├── InvalidName 422 (ValueError)
    │   └── ReservedName
    ├── ReservedField 422 (ValueError)
    ├── InvalidQuery 422 (ValueError)
    ├── UnsupportedValue 422 (ValueError)
    ├── InvalidDatabaseUrl (ValueError)
    ├── SchemaLimit 422
    ├── UnsupportedTable 409
    ├── UnsupportedModel (TypeError)
    ├── EntityDeleted 409
    ├── VersionConflict 409
    ├── AmbiguousMatch 409
    ├── ConstraintViolation 422
    │   ├── UniqueViolation 409
    │   └── MissingValue 422
    ├── TransactionInOtherTask
    ├── SchemaChangeInTransaction
    └── Unavailable 503
        ├── DatabaseBusy · DatabaseClosed · QueryTimeout · TransactionTimeout
        ├── ConnectTimeout · PoolTimeout · ConnectionLost
        ├── QueueUnavailable
        └── StorageFull · StorageReadOnly
"""

from collections.abc import Sequence
from typing import ClassVar


class KernelError(Exception):
    """Something the kernel refuses or cannot do; the message says what to do about it."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal Server Error"
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or " ".join((type(self).__doc__ or "").split()))

    @property
    def message(self) -> str:
        """The sentence for the caller: never SQL, a file path or a secret."""
        return str(self.args[0])


class ConfigurationError(KernelError, SystemExit):
    """The service cannot start with these settings.

    It is a SystemExit too, so that a server or script which lets it through prints the one message
    and exits with status 1, instead of a traceback whose source lines may show a secret.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        text = f"app_kernel cannot start, {len(self.problems)} problem(s) in its configuration:\n{lines}"
        super().__init__(text)
        self.code = text


class NoRunningKernel(KernelError):
    """No kernel is running here: the service's lifespan has not started.

    A sub-application that is mounted into another one does not get its own lifespan run; start the
    outer application with `create_service()` or run the inner one's lifespan yourself.
    """


class AmbiguousKernel(KernelError):
    """Several kernels run in this process and no request or job says which one is meant."""


class ResponseAborted(KernelError):
    """The answer broke off after its first byte, so the connection is closed; the cause is in the log."""


class NotAuthenticated(KernelError):
    """Not authenticated."""

    status = 401
    title = "Unauthorized"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": "Bearer"}


class InvalidToken(NotAuthenticated):
    """The access token is invalid, expired or revoked."""

    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": 'Bearer error="invalid_token"'}


class PermissionDenied(KernelError):
    """You may not do this."""

    status = 403
    title = "Forbidden"


class TooManyAttempts(KernelError):
    """Too many attempts; wait before the next one."""

    status = 429
    title = "Too Many Requests"

    def __init__(self, retry_after: int, message: str | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Whole seconds after which another attempt may pass."""


class ServerBusy(KernelError):
    """The server is busy; try again in a moment."""

    status = 503
    title = "Service Unavailable"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class AccountError(KernelError):
    """An account cannot be made or changed as asked."""

    status = 422
    title = "Unprocessable Content"


class InvalidEmail(AccountError):
    """This is not an email address."""


class InvalidUsername(AccountError):
    """A username is 3 to 50 characters of a-z, 0-9, dot, underscore and hyphen."""


class WeakPassword(AccountError):
    """This password cannot be used."""


class AccountExists(AccountError):
    """An account with this email or username already exists."""

    status = 409
    title = "Conflict"


class AccountNotFound(AccountError):
    """There is no such account."""

    status = 404
    title = "Not Found"


class SignupDisabled(AccountError):
    """Sign-up is disabled; ask an administrator for an account."""

    status = 403
    title = "Forbidden"


class JobError(KernelError):
    """A background job cannot be enqueued or changed as asked."""


class UnknownTask(JobError):
    """No task has this name."""


class InvalidJob(JobError, ValueError):
    """A payload or an option that no job can have."""

    status = 422
    title = "Unprocessable Content"


class JobNotFound(JobError):
    """There is no such job."""

    status = 404
    title = "Not Found"


class JobConflict(JobError):
    """The job is not in a state in which this can be done."""

    status = 409
    title = "Conflict"


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


class QueueUnavailable(Unavailable):
    """The job queue does not answer; the job may or may not have been enqueued, and enqueueing it again under the same
    `job_id` is safe."""
