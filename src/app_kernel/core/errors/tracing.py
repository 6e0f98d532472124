"""What is not there to be looked at."""

from app_kernel.core.errors.base import KernelError


class TraceNotFound(KernelError):
    """There is no such trace: only slow and failed requests and jobs are kept, and only for a while."""

    status = 404
    title = "Not Found"
