"""What metrics contribute to a service."""

from fastapi import APIRouter

from app_kernel.core.config import ServiceConfig
from app_kernel.core.feature import Feature
from app_kernel.core.ports import FlagCopy, JobQueue, Outbox
from app_kernel.metrics.page import ServiceFigures


def create_feature(config: ServiceConfig) -> Feature:
    """`/metrics`, at the root whatever the api_prefix."""
    figures = ServiceFigures()
    router = APIRouter()
    router.add_route("/metrics", figures.answer, include_in_schema=False)
    return Feature(
        name="metrics",
        router=router,
        unprefixed=True,
        listeners=figures.listeners(),
        uses=(Outbox, JobQueue, FlagCopy),
        lifespan=figures.kept,
    )
