"""What the parts of the kernel may ask of each other, as protocols: the engines and features implement them."""

from app_kernel.core.ports.identity import (
    Account,
    Accounts,
    Allowance,
    Mailer,
    Memberships,
    RateLimiter,
    WorkspaceStates,
)
from app_kernel.core.ports.store import Database, EntityStore, Lease, ResultRow, Statements
from app_kernel.core.ports.work import FlagCopy, FlagFigures, JobQueue, Outbox

__all__ = [
    "Account",
    "Accounts",
    "Allowance",
    "Database",
    "EntityStore",
    "FlagCopy",
    "FlagFigures",
    "JobQueue",
    "Lease",
    "Mailer",
    "Memberships",
    "Outbox",
    "RateLimiter",
    "ResultRow",
    "Statements",
    "WorkspaceStates",
]
