"""What metrics contribute to a service."""

from fastapi import APIRouter

from app_kernel.core.config import ServiceConfig
from app_kernel.core.events import (
    CachesUsed,
    HitCountedLocally,
    JobFinished,
    MessagesCarried,
    RequestFinished,
    RequestLimited,
    WebhookAttempted,
)
from app_kernel.core.feature import Feature, Listener
from app_kernel.core.ports import JobQueue, Outbox
from app_kernel.metrics.requests import RequestFigures


def create_feature(config: ServiceConfig) -> Feature:
    """`/metrics`, at the root whatever the api_prefix."""
    figures = RequestFigures()
    router = APIRouter()
    router.add_route("/metrics", figures.answer, include_in_schema=False)
    listeners: dict[type, Listener] = {
        RequestFinished: figures.count,
        MessagesCarried: figures.count_messages,
        JobFinished: figures.count_job,
        RequestLimited: figures.count_refusal,
        HitCountedLocally: figures.count_local_hit,
        CachesUsed: figures.count_caches,
        WebhookAttempted: figures.count_webhook,
    }
    return Feature(name="metrics", router=router, unprefixed=True, listeners=listeners, uses=(Outbox, JobQueue))
