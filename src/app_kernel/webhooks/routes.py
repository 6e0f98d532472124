"""The routes under /webhooks, for a workspace, and under /admin/webhooks, for the whole service.

Members see webhooks and how deliveries stand. Admins change them, and see what was sent and answered. Secrets are shown
when they are made, and never again.
"""

from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query

from app_kernel.core.current import current_kernel
from app_kernel.core.deps import forbid_storing
from app_kernel.core.errors import DeliveryNotFound, RateLimited
from app_kernel.core.limits import whole_seconds
from app_kernel.core.ports import RateLimiter
from app_kernel.core.problem_docs import problem
from app_kernel.webhooks import deliveries, endpoints
from app_kernel.webhooks.closed import CLOSED
from app_kernel.webhooks.endpoints import MOST_WEBHOOKS
from app_kernel.webhooks.places import InPlace, InWorkspace, Place, ServiceWide, Store, ThatDelivery, ThatWebhook
from app_kernel.webhooks.schemas import (
    CreateRequest,
    DeliveryAnswer,
    DeliveryDetails,
    NewWebhookAnswer,
    ReplayAnswer,
    ReplayRequest,
    RotateRequest,
    Status,
    TestAnswer,
    UpdateRequest,
    WebhookAnswer,
)
from app_kernel.webhooks.tasks import url_rules
from app_kernel.webhooks.urls import check_url

TESTS, TEST_SECONDS = 10, 60
"""Tests of one workspace in a window."""

_PLAIN = frozenset({None, "delivered", "status", "disabled", "deleted", CLOSED})
"""Outcomes that tell nothing of the network."""

Limit = Annotated[int, Query(ge=1, le=deliveries.MOST_LISTED)]

_CONFLICT = problem("The webhook is disabled, or the delivery is still being tried.")
_UNUSABLE = problem("A URL, event, secret or text that no webhook can have.")

reading = APIRouter(responses={404: problem("There is no such webhook here.")})
managing = APIRouter(responses={404: problem("There is no such webhook here.")})


@reading.get("", summary="List webhooks")
async def get_webhooks(
    place: InPlace, db: Store, limit: Annotated[int, Query(ge=1, le=MOST_WEBHOOKS)] = 100, offset: int = Query(0, ge=0)
) -> list[WebhookAnswer]:
    """The webhooks, the newest first."""
    rows = await endpoints.list_webhooks(db, place.workspace_id, limit=limit, offset=min(offset, 1_000_000))
    return [_answer(row, place) for row in rows]


@reading.get("/{id}", summary="Show a webhook")
async def get_one_webhook(webhook: ThatWebhook, place: InPlace) -> WebhookAnswer:
    """One webhook, without its secret."""
    return _answer(webhook, place)


@reading.get("/{id}/deliveries", summary="List the deliveries of a webhook")
async def get_deliveries(
    webhook: ThatWebhook,
    db: Store,
    status: Status | None = None,
    before: Annotated[str | None, Query(max_length=191)] = None,
    limit: Limit = 50,
) -> list[DeliveryAnswer]:
    """How deliveries stand, the newest first; `before` is the last id of the page before."""
    rows = await deliveries.list_deliveries(db, webhook["id"], status=status, limit=limit, before=before)
    return [DeliveryAnswer.model_validate(_told(row)) for row in rows]


@managing.post("", status_code=201, summary="Make a webhook", responses={422: _UNUSABLE})
async def post_webhook(data: CreateRequest, place: InPlace, db: Store) -> NewWebhookAnswer:
    """Makes a webhook. The answer is the only one that shows its secret, until it is rotated."""
    made = await endpoints.create_webhook(db, place.workspace_id, **data.model_dump())
    return NewWebhookAnswer.model_validate(made)


@managing.patch("/{id}", summary="Change a webhook", responses={422: _UNUSABLE})
async def patch_webhook(data: UpdateRequest, webhook: ThatWebhook, place: InPlace, db: Store) -> WebhookAnswer:
    """Changes the URL, the events or the description."""
    return _answer(await endpoints.update_webhook(db, webhook["id"], **data.model_dump()), place)


@managing.delete("/{id}", status_code=204, summary="Delete a webhook")
async def delete_one_webhook(webhook: ThatWebhook, db: Store) -> None:
    """Ends a webhook; what waits for it is not sent."""
    await endpoints.delete_webhook(db, webhook["id"])


@managing.post("/{id}/rotate", summary="Give a webhook a new secret", responses={422: _UNUSABLE})
async def post_rotate(
    webhook: ThatWebhook, db: Store, data: Annotated[RotateRequest | None, Body()] = None
) -> NewWebhookAnswer:
    """Gives a new secret; for some hours deliveries are signed with the old one too."""
    given = (data or RotateRequest()).model_dump()
    return NewWebhookAnswer.model_validate(await endpoints.rotate_webhook_secret(db, webhook["id"], **given))


@managing.post("/{id}/enable", summary="Enable a webhook")
async def post_enable(webhook: ThatWebhook, place: InPlace, db: Store) -> WebhookAnswer:
    """Sends to a disabled webhook again."""
    return _answer(await endpoints.enable_webhook(db, webhook["id"]), place)


@managing.post("/{id}/disable", summary="Disable a webhook")
async def post_disable(webhook: ThatWebhook, place: InPlace, db: Store) -> WebhookAnswer:
    """Sends nothing more to a webhook."""
    return _answer(await endpoints.disable_webhook(db, webhook["id"]), place)


@managing.post(
    "/{id}/test",
    summary="Send a test event",
    responses={409: _CONFLICT, 429: problem("Too many tests of this workspace within a minute.")},
)
async def post_test(webhook: ThatWebhook, place: InPlace, db: Store) -> TestAnswer:
    """Sends the event `webhook.test`, and says whether it was taken."""
    await _count_test(place)
    return _outcome(await deliveries.test_webhook(db, webhook["id"]))


@managing.post("/{id}/replay", summary="Send again what failed", responses={409: _CONFLICT})
async def post_replay(webhook: ThatWebhook, data: ReplayRequest, db: Store) -> ReplayAnswer:
    """Sends again what is dead or was skipped since an instant, up to 1,000 deliveries at a time."""
    replayed = await deliveries.replay_failed(db, webhook["id"], since=data.since)
    return ReplayAnswer(replayed=replayed, more=replayed == deliveries.MOST_REPLAYED)


@managing.get("/{id}/deliveries/{delivery_id}", summary="Show a delivery")
async def get_one_delivery(delivery_id: ThatDelivery, db: Store) -> DeliveryDetails:
    """A delivery with what was sent, and the beginning of what was answered."""
    found = await deliveries.get_delivery(db, delivery_id)
    if found is None:
        raise DeliveryNotFound
    return DeliveryDetails.model_validate(_told(found))


@managing.post("/{id}/deliveries/{delivery_id}/replay", summary="Send a delivery again", responses={409: _CONFLICT})
async def post_replay_delivery(delivery_id: ThatDelivery, db: Store) -> DeliveryAnswer:
    """Sends the same event once more, with the same webhook-id and all attempts anew."""
    return DeliveryAnswer.model_validate(_told(await deliveries.replay_delivery(db, delivery_id)))


@cache
def make_router() -> APIRouter:
    """All routes: each of them twice, once for each kind of place."""
    router = APIRouter(tags=["webhooks"], dependencies=[Depends(forbid_storing)])
    answers: dict[int | str, dict[str, Any]] = {
        401: problem("No access token, or one that is invalid, expired or revoked."),
        403: problem("The caller's role does not allow this."),
    }
    for prefix, readers, managers in (
        ("/webhooks", InWorkspace("member"), InWorkspace("admin")),
        ("/admin/webhooks", ServiceWide(), ServiceWide()),
    ):
        router.include_router(managing, prefix=prefix, dependencies=[Depends(managers)], responses=answers)
        router.include_router(reading, prefix=prefix, dependencies=[Depends(readers)], responses=answers)
    return router


def _answer(webhook: dict[str, Any], place: Place) -> WebhookAnswer:
    answer = WebhookAnswer.model_validate(webhook)
    if not place.manages:
        # For many receivers the path is the credential.
        rules = {**url_rules(current_kernel().config), "https_only": False, "allow_private": True}
        answer.url = f"{check_url(answer.url, **rules).origin}/..."
    return answer


async def _count_test(place: Place) -> None:
    limiter = current_kernel().find_port(RateLimiter)  # type: ignore[type-abstract]  # asked for by its protocol
    if limiter is not None:
        allowance = await limiter.hit(f"webhook_tests:{place.workspace_id}", TESTS, TEST_SECONDS)
        if not allowance.allowed:
            raise RateLimited(whole_seconds(allowance.reset_after), "Too many tests of webhooks; wait a minute.")


def _told(delivery: dict[str, Any]) -> dict[str, Any]:
    """A delivery as it is shown: of a test that nobody answered no more than the test itself told."""
    if delivery["event"] != deliveries.TEST_EVENT:
        return delivery
    shown = {**delivery, "outcome": _vague(delivery)}
    if "log" in delivery:
        shown["log"] = [{**entry, "outcome": _vague(entry), "duration_ms": None} for entry in delivery["log"]]
    return shown


def _vague(told: dict[str, Any]) -> str | None:
    outcome: str | None = told["outcome"]
    return outcome if outcome in _PLAIN else "no_answer"


def _outcome(delivery: dict[str, Any]) -> TestAnswer:
    """No status and no reason: those would tell what is open where."""
    code = delivery["status_code"]
    if delivery["status"] == "delivered":
        return TestAnswer(delivered=True, outcome="delivered", status_class="2xx")
    if code is None:
        return TestAnswer(delivered=False, outcome="no_answer", status_class=None)
    return TestAnswer(delivered=False, outcome="answered", status_class=f"{code // 100}xx")
