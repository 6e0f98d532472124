"""Notes of people and of their programs: a page that signs in with cookies, API keys, limits, safe repeats."""

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from app_kernel import ServiceConfig, create_service
from app_kernel.api_keys import Auth, require_scope
from app_kernel.db import db_connection
from app_kernel.idempotency import idempotent
from app_kernel.rate_limit import no_rate_limit, rate_limit

PAGE = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
Reader = Annotated[Auth, Depends(require_scope("notes:read"))]
Writer = Annotated[Auth, Depends(require_scope("notes:write"))]
Store = Annotated[Any, Depends(db_connection)]

pages = APIRouter(include_in_schema=False)
notes = APIRouter(prefix="/notes", tags=["notes"])


class NoteCreate(BaseModel):
    """What a client may say of a note; whose it is comes from the credential."""

    text: str = Field(min_length=1, max_length=2000)


@pages.get("/")
@no_rate_limit
async def page() -> HTMLResponse:
    """The page that signs in and out and keeps notes."""
    return HTMLResponse(PAGE)


@notes.post("", status_code=201)
@rate_limit(30, per=60)
@idempotent
async def create_note(data: NoteCreate, auth: Writer, db: Store) -> dict[str, Any]:
    """Keeps a note; sent twice under one Idempotency-Key, it is kept once."""
    return await db.save_entity("notes", {"text": data.text, "written_with": auth.type})


@notes.get("")
async def list_notes(auth: Reader, db: Store) -> list[dict[str, Any]]:
    """The caller's notes, the newest first."""
    return await db.find_entities("notes", "[created_by] = ?", (auth.user_id,), order_by="[created_at] DESC", limit=100)


@notes.delete("/{id}", status_code=204)
async def delete_note(id: str, auth: Writer, db: Store) -> None:
    """Deletes one of the caller's notes; a note of somebody else is none."""
    note = await db.get_entity("notes", id)
    if note is None or note["created_by"] != auth.user_id:
        raise HTTPException(404, "There is no such note.")
    await db.delete_entity("notes", id)


app = create_service("notes", routers=[pages, notes], config=ServiceConfig.from_env())
