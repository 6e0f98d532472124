"""Background jobs, kept with the transaction that enqueues them: run here or in a worker apart.

registry = JobRegistry()

@registry.task("send_email")
async def send_email(payload: dict, ctx: JobContext):
    ...

await get_job_client().enqueue("send_email", {"to": "ada@example.com"})
"""

from app_kernel.core.jobs import DoNotRetry, EnqueueResult, JobFigures, JobView, RetryLater, Task
from app_kernel.jobs.client import JobClient, get_job_client
from app_kernel.jobs.context import JobContext
from app_kernel.jobs.feature import create_feature, jobs_of
from app_kernel.jobs.hosting import APP_FEATURE, Mode, ServiceJobs, open_client, queues_of
from app_kernel.jobs.moving import JOB_TABLES
from app_kernel.jobs.queues.backend import NEEDS_REDIS
from app_kernel.jobs.records import raised
from app_kernel.jobs.registry import JobRegistry, collect_tasks

__all__ = [
    "APP_FEATURE",
    "JOB_TABLES",
    "NEEDS_REDIS",
    "DoNotRetry",
    "EnqueueResult",
    "JobClient",
    "JobContext",
    "JobFigures",
    "JobRegistry",
    "JobView",
    "Mode",
    "RetryLater",
    "ServiceJobs",
    "Task",
    "collect_tasks",
    "create_feature",
    "get_job_client",
    "jobs_of",
    "open_client",
    "queues_of",
    "raised",
]
