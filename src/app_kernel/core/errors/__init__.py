"""Every error of the kernel, each with the HTTP status and title that RFC 9457 bodies carry.

KernelError
├── ConfigurationError      (also SystemExit: at top level it prints its message and exits, without a traceback)
├── NoRunningKernel · AmbiguousKernel · ResponseAborted
├── ServerBusy 503 · SealBroken
├── NotAuthenticated 401
│   └── InvalidToken
├── PermissionDenied 403
│   ├── CrossSiteRequest
│   └── MissingScope
├── TooManyAttempts 429
│   └── RateLimited
├── ApiKeyError
│   ├── InvalidApiKeyRequest 422 (ValueError)
│   └── ApiKeyNotFound 404
├── WorkspaceError
│   ├── WorkspaceRequired 400 · AmbiguousWorkspace 400
│   ├── WorkspaceNotFound 404 · MemberNotFound 404 · InviteNotFound 404
│   ├── InvalidWorkspace 422 (ValueError)
│   ├── WorkspaceExists 409 · AlreadyMember 409 · LastOwner 409
│   └── InviteRefused 403
├── AuditError
│   ├── InvalidAuditEvent 422 (ValueError)
│   └── AuditEntryNotFound 404
├── MeteringError
│   ├── InvalidUsage 422 (ValueError)
│   └── QuotaExceeded 402
├── TraceNotFound 404
├── FlagError
│   ├── InvalidFlag 422 (ValueError)
│   └── FlagNotFound 404
├── WebhookError
│   ├── InvalidWebhook 422 (ValueError)
│   │   └── WebhookAddressRefused
│   ├── WebhookKeyMissing
│   ├── WebhookNotFound 404 · DeliveryNotFound 404
│   ├── WebhookConflict 409
│   └── InvalidSignature 401
├── CacheError
│   ├── InvalidCacheKey (ValueError)
│   └── UncacheableValue (TypeError)
├── OAuthError
│   ├── UnknownProvider 404 · ProviderUnavailable 502
│   ├── SignInRefused 400 · LastSignInMethod 400
│   └── LinkRequired 409 · AlreadyLinked 409
├── IdempotencyError
│   ├── InvalidIdempotencyKey 400 · IdempotencyKeyReused 422
│   └── RequestInProgress 409 · OutcomeUnknown 409 · AnswerNotKept 409
├── MailError
│   ├── MailNotConfigured 503
│   │   └── AddressUnknown
│   └── UndeliverableMail 422 (ValueError)
├── JobError
│   ├── UnknownTask
│   ├── InvalidJob 422 (ValueError)
│   ├── JobNotFound 404
│   └── JobConflict 409
├── TransferError
│   ├── BackupCorrupted · TargetNotEmpty
│   └── UncopiableTable · NotEqual
├── AccountError
│   ├── InvalidEmail 422 · InvalidUsername 422 · WeakPassword 422
│   ├── AccountExists 409
│   ├── AccountNotFound 404
│   ├── SignupDisabled 403 · EmailNotVerified 403
│   └── InvalidLink 400
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
    ├── OutsideWorkspace 404
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
        ├── QueueUnavailable · TransferUnderWay
        └── StorageFull · StorageReadOnly
"""

from app_kernel.core.errors.access import (
    CrossSiteRequest,
    InvalidToken,
    NotAuthenticated,
    PermissionDenied,
    RateLimited,
    TooManyAttempts,
)
from app_kernel.core.errors.accounts import (
    AccountError,
    AccountExists,
    AccountNotFound,
    EmailNotVerified,
    InvalidEmail,
    InvalidLink,
    InvalidUsername,
    SignupDisabled,
    WeakPassword,
)
from app_kernel.core.errors.api_keys import ApiKeyError, ApiKeyNotFound, InvalidApiKeyRequest, MissingScope
from app_kernel.core.errors.audit import AuditEntryNotFound, AuditError, InvalidAuditEvent
from app_kernel.core.errors.base import (
    AmbiguousKernel,
    ConfigurationError,
    KernelError,
    NoRunningKernel,
    ResponseAborted,
    SealBroken,
    ServerBusy,
)
from app_kernel.core.errors.cache import CacheError, InvalidCacheKey, UncacheableValue
from app_kernel.core.errors.flags import FlagError, FlagNotFound, InvalidFlag
from app_kernel.core.errors.idempotency import (
    AnswerNotKept,
    IdempotencyError,
    IdempotencyKeyReused,
    InvalidIdempotencyKey,
    OutcomeUnknown,
    RequestInProgress,
)
from app_kernel.core.errors.jobs import InvalidJob, JobConflict, JobError, JobNotFound, QueueUnavailable, UnknownTask
from app_kernel.core.errors.mail import AddressUnknown, MailError, MailNotConfigured, UndeliverableMail
from app_kernel.core.errors.metering import InvalidUsage, MeteringError, QuotaExceeded
from app_kernel.core.errors.oauth import (
    AlreadyLinked,
    LastSignInMethod,
    LinkRequired,
    OAuthError,
    ProviderUnavailable,
    SignInRefused,
    UnknownProvider,
)
from app_kernel.core.errors.store import (
    AmbiguousMatch,
    ConnectionLost,
    ConnectTimeout,
    ConstraintViolation,
    DatabaseBusy,
    DatabaseClosed,
    EntityDeleted,
    InvalidDatabaseUrl,
    InvalidName,
    InvalidQuery,
    MissingValue,
    OutsideWorkspace,
    PoolTimeout,
    QueryTimeout,
    ReservedField,
    ReservedName,
    SchemaChangeInTransaction,
    SchemaLimit,
    StorageFull,
    StorageReadOnly,
    StoreError,
    TransactionInOtherTask,
    TransactionTimeout,
    Unavailable,
    UniqueViolation,
    UnsupportedModel,
    UnsupportedTable,
    UnsupportedValue,
    VersionConflict,
)
from app_kernel.core.errors.tracing import TraceNotFound
from app_kernel.core.errors.transfer import (
    BackupCorrupted,
    NotEqual,
    TargetNotEmpty,
    TransferError,
    TransferUnderWay,
    UncopiableTable,
)
from app_kernel.core.errors.webhooks import (
    DeliveryNotFound,
    InvalidSignature,
    InvalidWebhook,
    WebhookAddressRefused,
    WebhookConflict,
    WebhookError,
    WebhookKeyMissing,
    WebhookNotFound,
)
from app_kernel.core.errors.workspaces import (
    AlreadyMember,
    AmbiguousWorkspace,
    InvalidWorkspace,
    InviteNotFound,
    InviteRefused,
    LastOwner,
    MemberNotFound,
    WorkspaceError,
    WorkspaceExists,
    WorkspaceNotFound,
    WorkspaceRequired,
)

__all__ = [
    "AccountError",
    "AccountExists",
    "AccountNotFound",
    "AddressUnknown",
    "AlreadyLinked",
    "AlreadyMember",
    "AmbiguousKernel",
    "AmbiguousMatch",
    "AmbiguousWorkspace",
    "AnswerNotKept",
    "ApiKeyError",
    "ApiKeyNotFound",
    "AuditEntryNotFound",
    "AuditError",
    "BackupCorrupted",
    "CacheError",
    "ConfigurationError",
    "ConnectTimeout",
    "ConnectionLost",
    "ConstraintViolation",
    "CrossSiteRequest",
    "DatabaseBusy",
    "DatabaseClosed",
    "DeliveryNotFound",
    "EmailNotVerified",
    "EntityDeleted",
    "FlagError",
    "FlagNotFound",
    "IdempotencyError",
    "IdempotencyKeyReused",
    "InvalidApiKeyRequest",
    "InvalidAuditEvent",
    "InvalidCacheKey",
    "InvalidDatabaseUrl",
    "InvalidEmail",
    "InvalidFlag",
    "InvalidIdempotencyKey",
    "InvalidJob",
    "InvalidLink",
    "InvalidName",
    "InvalidQuery",
    "InvalidSignature",
    "InvalidToken",
    "InvalidUsage",
    "InvalidUsername",
    "InvalidWebhook",
    "InvalidWorkspace",
    "InviteNotFound",
    "InviteRefused",
    "JobConflict",
    "JobError",
    "JobNotFound",
    "KernelError",
    "LastOwner",
    "LastSignInMethod",
    "LinkRequired",
    "MailError",
    "MailNotConfigured",
    "MemberNotFound",
    "MeteringError",
    "MissingScope",
    "MissingValue",
    "NoRunningKernel",
    "NotAuthenticated",
    "NotEqual",
    "OAuthError",
    "OutcomeUnknown",
    "OutsideWorkspace",
    "PermissionDenied",
    "PoolTimeout",
    "ProviderUnavailable",
    "QueryTimeout",
    "QueueUnavailable",
    "QuotaExceeded",
    "RateLimited",
    "RequestInProgress",
    "ReservedField",
    "ReservedName",
    "ResponseAborted",
    "SchemaChangeInTransaction",
    "SchemaLimit",
    "SealBroken",
    "ServerBusy",
    "SignInRefused",
    "SignupDisabled",
    "StorageFull",
    "StorageReadOnly",
    "StoreError",
    "TargetNotEmpty",
    "TooManyAttempts",
    "TraceNotFound",
    "TransactionInOtherTask",
    "TransactionTimeout",
    "TransferError",
    "TransferUnderWay",
    "Unavailable",
    "UncacheableValue",
    "UncopiableTable",
    "UndeliverableMail",
    "UniqueViolation",
    "UnknownProvider",
    "UnknownTask",
    "UnsupportedModel",
    "UnsupportedTable",
    "UnsupportedValue",
    "VersionConflict",
    "WeakPassword",
    "WebhookAddressRefused",
    "WebhookConflict",
    "WebhookError",
    "WebhookKeyMissing",
    "WebhookNotFound",
    "WorkspaceError",
    "WorkspaceExists",
    "WorkspaceNotFound",
    "WorkspaceRequired",
]
