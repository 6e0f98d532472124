"""What usage cannot be, and what it must not pass."""

from app_kernel.core.errors.base import KernelError


class MeteringError(KernelError):
    """Usage cannot be counted or read as asked."""


class InvalidUsage(MeteringError, ValueError):
    """A metric, amount, period or limit that no usage can have."""

    status = 422
    title = "Unprocessable Content"


class QuotaExceeded(MeteringError):
    """The quota of this period is used up."""

    # As Stripe, GitHub and others answer; 429 would tell clients to try again within seconds.
    status = 402
    title = "Payment Required"
