"""A small service of boards and cards, sound, and with each of the holes by which one tenant reaches another."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel

from app_kernel import Membership, ServiceConfig, create_service, require_workspace_member, require_workspace_role
from app_kernel.db import db_connection

SECRET = "secret-of-the-boards-0123456789abcdef"
WORKSPACE = "/workspaces/{workspace_id}"

Member = Depends(require_workspace_member)
Writer = Depends(require_workspace_role("member"))
Db = Depends(db_connection)


class Board(BaseModel):
    name: str
    settings: dict[str, Any] = {}


class Card(BaseModel):
    board_id: str
    title: str


async def own(db: Any, name: str, id: str, member: Membership) -> Any:
    row = await db.get_entity(name, id)
    if row is None or row["workspace_id"] != member.workspace_id:
        raise HTTPException(404, "There is no such thing.")
    return row


def sound() -> APIRouter:
    """Everything as it should be; the store is used without `in_workspace`, so that only these lines keep it so."""
    router = APIRouter()

    @router.post(WORKSPACE + "/boards", status_code=201)
    async def create_board(data: Board, member: Membership = Writer, db: Any = Db) -> Any:
        return await db.save_entity("boards", {**data.model_dump(), "workspace_id": member.workspace_id})

    @router.get(WORKSPACE + "/boards")
    async def list_boards(member: Membership = Member, db: Any = Db) -> Any:
        return await db.find_entities("boards", "[workspace_id] = ?", (member.workspace_id,))

    @router.get(WORKSPACE + "/boards/{board_id}")
    async def get_board(board_id: str, member: Membership = Member, db: Any = Db) -> Any:
        return await own(db, "boards", board_id, member)

    @router.patch(WORKSPACE + "/boards/{board_id}")
    async def rename_board(board_id: str, data: Board, member: Membership = Writer, db: Any = Db) -> Any:
        await own(db, "boards", board_id, member)
        return await db.save_entity("boards", {"id": board_id, "name": data.name})

    @router.delete(WORKSPACE + "/boards/{board_id}", status_code=204)
    async def delete_board(board_id: str, member: Membership = Writer, db: Any = Db) -> None:
        await own(db, "boards", board_id, member)
        await db.delete_entity("boards", board_id)

    @router.post(WORKSPACE + "/cards", status_code=201)
    async def create_card(data: Card, member: Membership = Writer, db: Any = Db) -> Any:
        await own(db, "boards", data.board_id, member)
        return await db.save_entity("cards", {**data.model_dump(), "workspace_id": member.workspace_id})

    @router.get("/cards")
    async def list_cards(board_id: str | None = None, member: Membership = Member, db: Any = Db) -> Any:
        found = await db.find_entities("cards", "[workspace_id] = ?", (member.workspace_id,))
        return [card for card in found if board_id in (None, card["board_id"])]

    return router


Hole = Callable[[APIRouter], None]


def missing_filter(router: APIRouter) -> None:
    @router.get(WORKSPACE + "/everything")
    async def list_everything(member: Membership = Member, db: Any = Db) -> Any:
        return await db.find_entities("boards")


def get_without_check(router: APIRouter) -> None:
    @router.get(WORKSPACE + "/peek/{board_id}")
    async def peek(board_id: str, member: Membership = Member, db: Any = Db) -> Any:
        return await db.get_entity("boards", board_id) or _not_found()


def trusted_body_id(router: APIRouter) -> None:
    @router.post(WORKSPACE + "/archive")
    async def archive(data: Card, member: Membership = Writer, db: Any = Db) -> Any:
        await db.get_entity("boards", data.board_id) or _not_found()
        await db.save_entity("boards", {"id": data.board_id, "archived": data.title})
        return {"archived": True}


def update_by_foreign_id(router: APIRouter) -> None:
    @router.put(WORKSPACE + "/rename/{board_id}")
    async def rename(board_id: str, data: Board, member: Membership = Writer, db: Any = Db) -> Any:
        if await db.get_entity("boards", board_id) is None:
            _not_found()
        await db.save_entity("boards", {"id": board_id, "name": data.name})
        return {"renamed": True}


def header_and_path_disagree(router: APIRouter) -> None:
    @router.get("/spaces/{space}/boards")
    async def boards_of(space: str, x_workspace_id: str = Header(""), member: Membership = Member, db: Any = Db) -> Any:
        # The membership is that of the header; the rows are those of a path that nobody compared with it.
        return await db.find_entities("boards", "[workspace_id] = ?", (space,))


def leak_in_an_error(router: APIRouter) -> None:
    @router.get(WORKSPACE + "/show/{board_id}")
    async def show(board_id: str, member: Membership = Member, db: Any = Db) -> Any:
        board = await db.get_entity("boards", board_id) or _not_found()
        if board["workspace_id"] != member.workspace_id:
            raise HTTPException(404, f"The board {board['name']} is not yours.")
        return board


def forbidden_instead_of_not_found(router: APIRouter) -> None:
    @router.get(WORKSPACE + "/look/{board_id}")
    async def look(board_id: str, member: Membership = Member, db: Any = Db) -> Any:
        board = await db.get_entity("boards", board_id) or _not_found()
        if board["workspace_id"] != member.workspace_id:
            raise HTTPException(403, "This board is not yours.")
        return board


def no_policy(router: APIRouter) -> None:
    @router.get("/hello")
    async def hello() -> str:
        return "hello"


def leak_through_a_conflict(router: APIRouter) -> None:
    @router.post(WORKSPACE + "/labels", status_code=201)
    async def create_label(data: Board, member: Membership = Writer, db: Any = Db) -> Any:
        if await db.count_entities("labels", "[name] = ?", (data.name,)):
            raise HTTPException(409, "This name is taken.")
        return await db.save_entity("labels", {"name": data.name, "workspace_id": member.workspace_id})


def workspace_of_the_body(router: APIRouter) -> None:
    @router.post(WORKSPACE + "/notes", status_code=201)
    async def create_note(data: dict[str, Any], member: Membership = Writer, db: Any = Db) -> Any:
        await db.save_entity("notes", {"workspace_id": member.workspace_id, **data})
        return {"made": True}


def query_without_check(router: APIRouter) -> None:
    @router.get(WORKSPACE + "/page")
    async def page(after: str = "", member: Membership = Member, db: Any = Db) -> Any:
        start = await db.get_entity("boards", after)
        return {"from": None if start is None else start["name"]}


def rows_elsewhere(router: APIRouter) -> None:
    uploads: dict[str, str] = {}

    @router.post(WORKSPACE + "/uploads", status_code=201)
    async def upload(data: Board, member: Membership = Writer) -> Any:
        upload_id = f"upload-{len(uploads):032}"
        uploads[upload_id] = data.name
        return {"upload_id": upload_id}

    @router.get(WORKSPACE + "/uploads/{upload_id}")
    async def get_upload(upload_id: str, member: Membership = Member) -> Any:
        return {"name": uploads.get(upload_id) or _not_found()}


def shared_cache(router: APIRouter) -> None:
    kept: dict[str, Any] = {}

    @router.get(WORKSPACE + "/summary")
    async def summary(member: Membership = Member, db: Any = Db) -> Any:
        if "summary" not in kept:
            kept["summary"] = await db.find_entities("boards", "[workspace_id] = ?", (member.workspace_id,))
        return kept["summary"]


def failing(router: APIRouter) -> None:
    @router.get(WORKSPACE + "/ratio/{board_id}")
    async def ratio(board_id: str, member: Membership = Member, db: Any = Db) -> Any:
        return (await db.get_entity("boards", board_id))["name"] and len(
            (await own(db, "boards", board_id, member))["name"]
        )


def never_good(router: APIRouter) -> None:
    @router.post(WORKSPACE + "/odd", status_code=201)
    async def odd(data: Board, member: Membership = Writer) -> Any:
        raise HTTPException(422, "Only a very odd name will do.")


def delete_without_check(router: APIRouter) -> None:
    @router.delete("/burn/{board_id}", status_code=204)
    async def burn(board_id: str, member: Membership = Writer, db: Any = Db) -> None:
        await db.delete_entity("boards", board_id, permanent=True) or _not_found()


def _not_found() -> Any:
    raise HTTPException(404, "There is no such thing.")


def boards_app(*holes: Hole, **settings: Any) -> FastAPI:
    """The service, with these holes."""
    router = sound()
    for hole in holes:
        hole(router)
    config = ServiceConfig(**{"jwt_secret": SECRET, "saas_enabled": True, "log_level": "ERROR", **settings})
    return create_service("boards", routers=[router], config=config)
