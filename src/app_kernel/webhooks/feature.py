"""What webhooks contribute to a service."""

from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import ConfigurationError
from app_kernel.core.feature import Feature
from app_kernel.core.ports import JobQueue, RateLimiter, WorkspaceStates
from app_kernel.encryption import key_ring
from app_kernel.webhooks.event_names import find_entity_problems
from app_kernel.webhooks.events import TOPIC, make_recorder
from app_kernel.webhooks.routes import make_router
from app_kernel.webhooks.sink import DELIVER, TIDY, receive
from app_kernel.webhooks.tables import TABLES
from app_kernel.webhooks.tasks import QUEUE, Courier
from app_kernel.webhooks.upkeep import looking_after, tidy_task


def create_feature(config: ServiceConfig) -> Feature | None:
    """The deliveries with their jobs, and the routes under /webhooks and /admin/webhooks where there are accounts.

    Raises ConfigurationError for names in `webhook_entity_events` that no entity can have.
    """
    entities = config.webhook_entity_events
    problems = find_entity_problems(entities)
    if problems:
        raise ConfigurationError(problems)
    courier = Courier(config, key_ring(config))
    return Feature(
        name="webhooks",
        tables=TABLES,
        router=make_router() if config.auth_enabled else None,
        tags={"webhooks": "Events that are sent to the addresses of others, for a workspace or for the whole service."},
        recorders=(make_recorder(entities),) if entities else (),
        sinks={TOPIC: receive},
        tasks={DELIVER: courier.task, TIDY: tidy_task(QUEUE)},
        provides={Courier: lambda _: courier},
        requires=(JobQueue,),
        uses=(RateLimiter, WorkspaceStates),
        work=looking_after,
    )
