"""All figures of one service, and the page that shows them."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest, multiprocess, values
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app_kernel.core.cancellation import cancel_task
from app_kernel.core.config import ServiceConfig
from app_kernel.core.context import current_context
from app_kernel.core.errors import NotAuthenticated
from app_kernel.core.events import (
    CachesUsed,
    HitCountedLocally,
    JobFinished,
    MessagesCarried,
    RequestFinished,
    RequestLimited,
    SecurityEvent,
    WebhookAttempted,
)
from app_kernel.core.feature import Listener
from app_kernel.core.kernel import Kernel
from app_kernel.core.policies import public
from app_kernel.metrics.cache import CacheMetrics
from app_kernel.metrics.databases import DatabaseMetrics
from app_kernel.metrics.flags import FlagMetrics
from app_kernel.metrics.jobs import JobMetrics
from app_kernel.metrics.limits import LimitMetrics
from app_kernel.metrics.outbox import OutboxMetrics
from app_kernel.metrics.process import ProcessMetrics
from app_kernel.metrics.requests import RequestMetrics
from app_kernel.metrics.security import SecurityMetrics
from app_kernel.metrics.sharing import meet
from app_kernel.metrics.webhooks import WebhookMetrics


class ServiceFigures:
    """The figures of one service, in a registry of its own, so that two services in a process do not mix."""

    def __init__(self) -> None:
        # First, as the metrics below are made of the values that it chooses.
        self._meeting = meet()
        self._is_shared = values.ValueClass is not values.MutexValue
        self.registry = CollectorRegistry()
        self._requests = RequestMetrics(self.registry)
        self._databases = DatabaseMetrics(self.registry)
        self._outbox = OutboxMetrics(self.registry)
        self._jobs = JobMetrics(self.registry)
        self._limits = LimitMetrics(self.registry)
        self._caches = CacheMetrics(self.registry)
        self._webhooks = WebhookMetrics(self.registry)
        self._flags = FlagMetrics(self.registry)
        self._security = SecurityMetrics(self.registry)
        self._process = ProcessMetrics(self.registry, shared=self._is_shared)

    def listeners(self) -> dict[type, Listener]:
        """What counts which event."""
        return {
            RequestFinished: self._requests.count,
            MessagesCarried: lambda _, event: self._outbox.count(event),
            JobFinished: lambda _, event: self._jobs.count(event),
            RequestLimited: lambda _, event: self._limits.count(event),
            HitCountedLocally: lambda _, event: self._limits.count_local(),
            CachesUsed: lambda _, event: self._caches.count(event),
            WebhookAttempted: lambda _, event: self._webhooks.count(event),
            SecurityEvent: lambda _, event: self._security.count(event),
        }

    @asynccontextmanager
    async def kept(self, kernel: Kernel) -> AsyncIterator[None]:
        """Takes over what is counted elsewhere, while the block runs and once more at its end."""
        self._databases.watch(kernel)
        keeping = asyncio.create_task(self._keep(kernel))
        try:
            yield
        finally:
            await cancel_task(keeping)
            self._publish(kernel)

    def render(self) -> bytes:
        """All figures in the text format of Prometheus; of all workers, where there are several. It may wait."""
        if self._meeting is not None:
            return generate_latest(self._meeting.collect())
        if not self._is_shared:
            return generate_latest(self.registry)
        merged = CollectorRegistry()
        multiprocess.MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
        return generate_latest(merged)

    @public
    async def answer(self, request: Request) -> Response:
        """GET /metrics."""
        kernel: Kernel = current_context().kernel
        _require_reader(request, kernel.config)
        self._publish(kernel)
        self._databases.look(kernel)
        await self._outbox.look(kernel)
        await self._jobs.look(kernel)
        # Where there are several workers it reads files of theirs.
        text = await asyncio.to_thread(self.render) if self._is_shared else self.render()
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    def _publish(self, kernel: Kernel) -> None:
        self._databases.publish(kernel)
        self._outbox.publish(kernel)
        self._flags.publish(kernel)
        self._process.publish(kernel)

    async def _keep(self, kernel: Kernel) -> None:
        while True:
            await self._process.look()
            # Whoever answers for all workers shows what each of them has published.
            if self._is_shared:
                self._publish(kernel)


def _require_reader(request: Request, config: ServiceConfig) -> None:
    """Lets pass whoever has the metrics token, an admin, and anybody at all outside production when no token is set."""
    context = current_context()
    if context.user is not None and context.user.role == "admin":
        return
    if config.metrics_token is None and not config.production:
        return
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    expected = config.metrics_token
    # Compared as bytes in constant time, so that the answer's time tells nothing about the token.
    if expected and scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), expected.encode()):
        return
    if context.user is not None:
        raise HTTPException(403, "The metrics are for admins and for the bearer of the metrics token.")
    raise NotAuthenticated
