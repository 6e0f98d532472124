"""A service that does a little of everything, for tests that run one for long; its settings are the environment's."""

import asyncio
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException
from pydantic import BaseModel

from app_kernel import JobContext, JobRegistry, ServiceConfig, create_service, get_current_user, get_job_client
from app_kernel.core.current import current_kernel
from app_kernel.db import db_connection, get_db_connection
from app_kernel.db.drivers.base import Work
from app_kernel.mail import send_mail
from app_kernel.metering import track_usage
from app_kernel.webhooks import trigger_webhook_event

NAME = "soaked"
WORKSPACE = "w1"
EVENT = "kind.ok"
"""As the receiver of `webhook_receiver` at /ok hears it."""
METRIC = "units"
MUCH_ROOM = 1_000_000
"""Pages of a database that is not full."""

router = APIRouter()
registry = JobRegistry()


class Note(BaseModel):
    """What is kept of a note; the mark is the client's own for this save."""

    mark: str
    text: str


class Order(BaseModel):
    """One order; with `fails` it is refused when everything has been done."""

    id: str
    units: int
    fails: bool = False


class Room(BaseModel):
    """How many pages each database may still grow by; None for as many as it likes."""

    pages: int | None = None


@router.put("/notes/{id}")
async def keep(id: str, note: Note, user: Any = Depends(get_current_user), db: Any = Depends(db_connection)) -> Any:
    """Creates or changes a note."""
    return await db.save_entity("notes", {"id": id, "text": note.text, "mark": note.mark})


@router.get("/notes/{id}")
async def read(id: str, user: Any = Depends(get_current_user), db: Any = Depends(db_connection)) -> Any:
    """The note as it is."""
    note = await db.get_entity("notes", id)
    if note is None:
        raise HTTPException(404)
    return note


@router.delete("/notes/{id}")
async def delete(id: str, user: Any = Depends(get_current_user), db: Any = Depends(db_connection)) -> Any:
    """Deletes a note."""
    return {"done": await db.delete_entity("notes", id)}


@router.post("/orders")
async def order(order: Order, user: Any = Depends(get_current_user), db: Any = Depends(db_connection)) -> Any:
    """A row, a job, a webhook and usage, in one commit or not at all."""
    async with db.transaction():
        row = await db.save_entity("orders", {"id": order.id, "units": order.units})
        await get_job_client().enqueue("settle", {"order": order.id})
        await trigger_webhook_event(db, WORKSPACE, event=EVENT, data={"n": order.id})
        await track_usage(None, user_id=user.id, workspace_id=WORKSPACE, **{METRIC: order.units})
        if order.fails:
            raise HTTPException(409)
    return row


@registry.task("settle", max_attempts=20)
async def settle(payload: dict[str, Any], ctx: JobContext) -> None:
    """Its effect is one row, however often it runs."""
    async with get_db_connection() as db:
        await db.save_entity("settlements", {"id": payload["order"], "attempt": ctx.attempt})


@router.post("/mails/{number}")
async def mail(number: int, user: Any = Depends(get_current_user), db: Any = Depends(db_connection)) -> Any:
    """Writes to the user; in a transaction, as what is sent by itself needs the queue there and then."""
    async with db.transaction():
        await send_mail(user.email, subject=f"Mail {number}", text="Hello")
    return {"number": number}


@router.get("/slow/{seconds}")
async def wait(seconds: float) -> Any:
    """Takes its time."""
    await asyncio.sleep(seconds)
    return {"seconds": seconds}


@router.post("/room")
async def leave_room(room: Room) -> Any:
    """Lets both SQLite databases grow by so many pages, as a disk that is nearly full; for this process."""
    kernel = current_kernel()
    for database in (kernel.db, kernel.admin_db):
        db: Any = database.connection()  # type: ignore[union-attr]  # both are there
        ((used,),) = await db.execute("PRAGMA page_count")
        most = MUCH_ROOM if room.pages is None else used + room.pages

        def limit(most: int = most) -> Work[None]:
            yield (f"PRAGMA max_page_count = {most}", ())

        await db._driver.write(limit, db._driver.generation, "notes")
    return {"pages": room.pages}


def make_app() -> FastAPI:
    """The service of the environment."""
    return create_service(NAME, config=ServiceConfig.from_env(None), routers=[router], tasks=registry)
