"""What tracing contributes to a service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import ConfigurationError
from app_kernel.core.events import JobFinished, RequestFinished
from app_kernel.core.feature import Feature
from app_kernel.core.kernel import Kernel
from app_kernel.core.tracing import Tracing
from app_kernel.tracing.middleware import layer
from app_kernel.tracing.noting import Noting
from app_kernel.tracing.routes import router
from app_kernel.tracing.service import ServiceTracing, tracing_of
from app_kernel.tracing.sink import TOPIC, TraceSink
from app_kernel.tracing.spans import find_otlp_problems
from app_kernel.tracing.tables import TABLES


def create_feature(config: ServiceConfig) -> Feature:
    """Spans, where there is a place for them, and the table of what was slow or failed with its routes.

    Raises ConfigurationError for an `otlp_endpoint` that nothing can be sent to.
    """
    problems = find_otlp_problems(config)
    if problems:
        raise ConfigurationError(problems)
    noting = Noting(config)

    @asynccontextmanager
    async def running(kernel: Kernel) -> AsyncIterator[None]:
        async with tracing_of(kernel).opened(), noting.written(kernel):
            yield

    return Feature(
        name="tracing",
        admin_tables=TABLES,
        router=router if config.auth_enabled else None,
        tags={"traces": "Requests and jobs that were slow or failed, for admins."},
        middleware=(layer,),
        listeners={RequestFinished: noting.note_request, JobFinished: noting.note_job},
        sinks={TOPIC: TraceSink().receive},
        provides={Tracing: ServiceTracing},
        lifespan=running,
    )
