"""Whose webhooks a request is about: those of its workspace, or, for admins of the service, those of the whole."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection, Request

from app_kernel.core.deps import db_connection
from app_kernel.core.errors import DeliveryNotFound, PermissionDenied, WebhookNotFound
from app_kernel.core.identity import CurrentUser, UserIdentity
from app_kernel.core.ports import EntityStore
from app_kernel.core.workspaces import RANKS, Membership, WorkspaceMember
from app_kernel.webhooks import store
from app_kernel.webhooks.endpoints import shown

_ATTRIBUTE = "webhook_place"


@dataclass(frozen=True, slots=True)
class Place:
    """Whose webhooks, and what the caller may do with them."""

    workspace_id: str | None
    manages: bool
    """Whether the caller may change them, and see what was sent and answered."""


class InWorkspace(WorkspaceMember):
    """Lets in whoever has a role in the workspace of the request."""

    async def __call__(self, request: HTTPConnection) -> Membership:  # type: ignore[override]  # as its base
        """The membership; raises what `require_workspace_role` does."""
        membership = await super().__call__(request)
        manages = RANKS[membership.role] >= RANKS["admin"]
        setattr(request.state, _ATTRIBUTE, Place(membership.workspace_id, manages))
        return membership


class ServiceWide(CurrentUser):
    """Lets in admins of the service."""

    def __init__(self) -> None:
        super().__init__(lambda user: user.role == "admin", "This needs the role admin.")
        self.roles = ("admin",)

    async def __call__(self, request: HTTPConnection) -> UserIdentity:
        """The admin; raises NotAuthenticated, PermissionDenied."""
        user = await super().__call__(request)
        setattr(request.state, _ATTRIBUTE, Place(None, True))
        return user


def place_of(request: Request) -> Place:
    """What the router of a route has let the caller in for; raises PermissionDenied where none did."""
    place = getattr(request.state, _ATTRIBUTE, None)
    if not isinstance(place, Place):
        raise PermissionDenied
    return place


InPlace = Annotated[Place, Depends(place_of)]


async def store_there(place: InPlace, db: Annotated[EntityStore, Depends(db_connection)]) -> EntityStore:
    """The database as the place sees it: in a workspace, what belongs to another one is not there."""
    return store.tables_in(db, place.workspace_id)


Store = Annotated[EntityStore, Depends(store_there)]


async def webhook_there(id: str, place: InPlace, db: Store) -> dict[str, Any]:
    """The webhook that the path names; raises WebhookNotFound for one that is not there."""
    row = await store.get_webhook(db, id)
    # A handle of no workspace sees those of all; the routes of the whole service have its own only.
    if row is None or (place.workspace_id is None and row["workspace_id"] is not None):
        raise WebhookNotFound
    return shown(row)


ThatWebhook = Annotated[dict[str, Any], Depends(webhook_there)]


async def delivery_there(delivery_id: str, webhook: ThatWebhook, db: Store) -> str:
    """The id of the delivery that the path names; raises DeliveryNotFound for one of another webhook."""
    row = await store.get_delivery(db, delivery_id)
    if row is None or row["webhook_id"] != webhook["id"]:
        raise DeliveryNotFound
    return delivery_id


ThatDelivery = Annotated[str, Depends(delivery_there)]
