"""What a type checker must make of jobs, webhooks and own features; checked by mypy and pyright, run by nobody."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, assert_type

from fastapi import APIRouter, Depends, Request

from app_kernel import (
    DoNotRetry,
    Feature,
    JobContext,
    JobRegistry,
    RetryLater,
    create_service,
    get_job_client,
)
from app_kernel.core.events import EntityChanged, RequestFinished
from app_kernel.core.kernel import Kernel
from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore
from app_kernel.core.tables import Index, Table
from app_kernel.db import get_db_connection
from app_kernel.idempotency import idempotent
from app_kernel.jobs import EnqueueResult, JobClient, JobView
from app_kernel.mail import send_mail, send_template
from app_kernel.rate_limit import no_rate_limit, rate_limit
from app_kernel.webhooks import (
    WebhookEvent,
    create_webhook,
    require_webhook,
    trigger_webhook_event,
    verify_webhook,
)

registry = JobRegistry()
router = APIRouter()


@registry.task("send_email", timeout=30, max_attempts=5)
async def send_email(payload: dict[str, Any], ctx: JobContext) -> dict[str, bool]:
    assert_type(ctx.attempt, int)
    assert_type(ctx.started_at, datetime)
    assert_type(ctx.user_id, str | None)
    if "to" not in payload:
        raise DoNotRetry("nobody to send it to")
    if ctx.cancelled:
        raise RetryLater(60)
    await ctx.progress(0.5, "half of it")
    async with get_db_connection() as db:
        assert_type(db, EntityStore)
    return {"sent": True}


@registry.task(cron="0 3 * * *", timezone="Europe/Zurich")
def sweep(ctx: JobContext) -> int:
    ctx.report_progress(1.0)
    return int(timedelta(days=1).total_seconds())


registry.register("sweep_again", sweep, timeout=5, max_attempts=1)


# A decorated handler is still the function that it was.
async def call_handlers(ctx: JobContext) -> None:
    assert_type(await send_email({"to": "ada@example.com"}, ctx), dict[str, bool])
    assert_type(sweep(ctx), int)
    await send_email("ada@example.com", ctx)  # type: ignore[arg-type]


async def enqueue() -> None:
    client = get_job_client()
    assert_type(client, JobClient)
    result = await client.enqueue("send_email", {"to": "ada@example.com"}, user_id="u1", delay_seconds=2.5)
    assert_type(result, EnqueueResult)
    assert_type(result.job_id, str)
    assert_type(await client.enqueue_many("send_email", [{"to": "a@b.c"}]), list[EnqueueResult])
    assert_type(await client.get(result.job_id), JobView | None)
    assert_type(await client.cancel(result.job_id), JobView)
    await client.enqueue("send_email", when="tomorrow")  # type: ignore[call-arg]


async def mail() -> None:
    await send_mail("ada@example.com", subject="Hello", text="Hello Ada")
    await send_template("ada@example.com", "welcome", {"name": "Ada"})


@router.post("/hooks")
async def receive(event: Annotated[WebhookEvent, Depends(require_webhook("whsec_c2VjcmV0"))]) -> str:
    assert_type(event.timestamp, int)
    return event.type


async def webhooks(db: EntityStore, request: Request) -> None:
    webhook = await create_webhook(db, "w1", url="https://example.com/hooks", events=["deployment.*"])
    assert_type(webhook, dict[str, Any])
    assert_type(await trigger_webhook_event(db, "w1", event="deployment.succeeded", data={"version": 42}), str)
    assert_type(verify_webhook(["whsec_c2VjcmV0"], request.headers, await request.body()), WebhookEvent)


@router.post("/orders")
@idempotent
async def create_order(amount: int) -> dict[str, int]:
    return {"amount": amount}


@router.get("/search")
@rate_limit(10, per=60)
async def search(text: str) -> list[str]:
    return [text]


@router.get("/status")
@no_rate_limit
def status() -> str:
    return "well"


async def call_routes() -> None:
    assert_type(await create_order(3), dict[str, int])
    assert_type(await search("a"), list[str])
    assert_type(status(), str)
    await create_order("three")  # type: ignore[arg-type]


def record(change: EntityChanged) -> Iterable[Message]:
    assert_type(change.entity, str)
    return [Message("admin:diary", {"entity": change.entity}, key=str(change.id))]


async def write(admin_db: EntityStore, messages: Sequence[Message]) -> None:
    await admin_db.save_entities("diary", [message.body for message in messages])


async def listen(kernel: Kernel, event: RequestFinished) -> None:
    assert_type(event.status, int)


diary = Feature(
    name="diary",
    admin_tables=(Table("diary", {"entity": str}, (Index(("entity",)),)),),
    router=router,
    recorders=(record,),
    listeners={RequestFinished: listen},
    sinks={"admin:diary": write},
)
app = create_service("background", tasks=[registry, "my_service.tasks"], features=[diary])
Feature(tables=())  # type: ignore[call-arg]
