"""What a backup, a restore or a copy of a database cannot do."""

from app_kernel.core.errors.base import KernelError
from app_kernel.core.errors.store import Unavailable


class TransferError(KernelError):
    """A database cannot be backed up, restored or copied as asked."""


class BackupCorrupted(TransferError):
    """The file is no whole backup: it was cut, altered, or is something else."""


class TargetNotEmpty(TransferError):
    """The database that is to be filled holds something already."""


class UncopiableTable(TransferError):
    """A table of the application's own cannot be made or filled in the other database."""


class NotEqual(TransferError):
    """The two databases do not hold the same, although all was copied."""


class TransferUnderWay(Unavailable):
    """The database is being filled by a copy or a restore, and may be used once that has come to its end."""
