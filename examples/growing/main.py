"""A service that begins as one process on one file, and moves to servers: of its code nothing changes."""

from typing import Any

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel
from tasks import registry

from app_kernel import ServiceConfig, UserIdentity, create_service, get_current_user, get_job_client
from app_kernel.db import db_connection

router = APIRouter(prefix="/letters", tags=["letters"])


class Letter(BaseModel):
    recipient: str
    text: str


class NewText(BaseModel):
    text: str


@router.post("", status_code=201)
async def write_letter(
    letter: Letter, user: UserIdentity = Depends(get_current_user), db: Any = Depends(db_connection)
) -> Any:
    # One commit, wherever jobs are kept: there is never a letter that nobody posts.
    async with db.transaction():
        written = await db.save_entity("letters", {**letter.model_dump(), "status": "written"})
        await get_job_client().enqueue("post_letter", {"letter_id": written["id"]})
    return written


@router.get("")
async def list_letters(user: UserIdentity = Depends(get_current_user), db: Any = Depends(db_connection)) -> Any:
    return await db.find_entities("letters", "[created_by] = ?", (user.id,), order_by="[created_at]")


@router.put("/{id}")
async def change_text(
    id: str, new: NewText, user: UserIdentity = Depends(get_current_user), db: Any = Depends(db_connection)
) -> Any:
    await find_own(db, id, user)
    return await db.save_entity("letters", {"id": id, "text": new.text})


@router.get("/{id}/history")
async def show_history(
    id: str, user: UserIdentity = Depends(get_current_user), db: Any = Depends(db_connection)
) -> Any:
    await find_own(db, id, user)
    return [
        {"version": entry["version"], "action": entry["action"], "changes": entry["changes"]}
        for entry in await db.get_entity_history("letters", id)
    ]


async def find_own(db: Any, id: str, user: UserIdentity) -> None:
    """Raises 404 unless there is such a letter and this user wrote it."""
    letter = await db.get_entity("letters", id)
    if letter is None or letter["created_by"] != user.id:
        raise HTTPException(404)


app = create_service(name="letters", routers=[router], tasks=registry, config=ServiceConfig.from_env())
