"""What jobs contribute to a service."""

from collections.abc import Sequence

from app_kernel.core.config import ServiceConfig
from app_kernel.core.current import current_kernel
from app_kernel.core.feature import Feature, NothingToSay
from app_kernel.core.jobs import JOB_TOPIC
from app_kernel.core.kernel import Kernel
from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore, JobQueue
from app_kernel.jobs.hosting import ServiceJobs, queues_of
from app_kernel.jobs.routes import router


def create_feature(config: ServiceConfig) -> Feature:
    """The queue, the routes under /jobs, and the worker inside the service where it has one.

    Raises ConfigurationError for queues that cannot be.
    """
    queues_of(config.worker_queues, config.worker_concurrency, {})
    return Feature(
        name="jobs",
        router=router if config.auth_enabled else None,
        tags={"jobs": "Background jobs: one's own, or for admins everybody's."},
        provides={JobQueue: ServiceJobs},
        sinks={JOB_TOPIC: _receive} if config.redis_url is not None else {},
        health={"jobs": _check},
        lifespan=lambda kernel: jobs_of(kernel).serving(),
        work=lambda kernel: jobs_of(kernel).working_here(),
    )


def jobs_of(kernel: Kernel) -> ServiceJobs:
    """The jobs of a service; raises TypeError where another feature has taken their place."""
    jobs = kernel.find_port(JobQueue)  # type: ignore[type-abstract]  # a port is asked for by its protocol
    if not isinstance(jobs, ServiceJobs):
        raise TypeError("Another feature has taken the place of the job queue.")
    return jobs


async def _receive(db: EntityStore, messages: Sequence[Message]) -> None:
    await jobs_of(current_kernel()).receive(db, messages)


async def _check(kernel: Kernel) -> tuple[bool, str]:
    """Whether the worker in this process gets jobs; a database or Redis that is away is named by its own check."""
    runner = jobs_of(kernel).runner
    if runner is None:
        raise NothingToSay
    return not runner.trouble, runner.trouble
