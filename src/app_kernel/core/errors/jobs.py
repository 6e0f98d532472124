"""What a background job cannot be or do."""

from app_kernel.core.errors.base import KernelError
from app_kernel.core.errors.store import Unavailable


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


class QueueUnavailable(Unavailable):
    """The job queue does not answer; the job may or may not have been enqueued, and enqueueing it again under the same
    `job_id` is safe."""
