"""The routes under /flags: for platform admins all but the check, by which anybody asks about themselves."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from app_kernel.core.deps import db_connection, forbid_storing
from app_kernel.core.errors import FlagNotFound, InvalidFlag
from app_kernel.core.identity import UserIdentity, get_current_user_optional, require_admin
from app_kernel.core.policies import public
from app_kernel.core.ports import EntityStore
from app_kernel.core.problem_docs import problem
from app_kernel.flags.flags import (
    MAX_FLAGS,
    MAX_UNUSED_DAYS,
    change_flag,
    check_flags,
    delete_flag,
    explain_flag,
    get_flag,
    get_flag_history,
    list_flags,
    list_unused_flags,
)
from app_kernel.flags.rollout import default_percent
from app_kernel.flags.schemas import (
    ExplanationAnswer,
    FlagAnswer,
    FlagChangeAnswer,
    PatchFlagRequest,
    PutFlagRequest,
)
from app_kernel.flags.values import MAX_ID, MAX_NAME

MAX_CHECKED = 100
"""Flags that one request may ask about."""

_WORD = f"[A-Za-z0-9][A-Za-z0-9_.:-]{{0,{MAX_NAME - 1}}}"
"""What a flag can be called, for the document; the store says what is wrong with another name."""

Name = Annotated[str, Path(json_schema_extra={"pattern": f"^{_WORD}$"})]
Store = Annotated[EntityStore, Depends(db_connection)]
Id = Annotated[str | None, Query(max_length=MAX_ID)]
Limit = Annotated[int, Query(ge=1, le=200)]
Offset = Annotated[int, Query(ge=0, le=MAX_FLAGS)]

_CHECKED = {"content": {"application/json": {"example": {"new_dashboard": True, "beta": False}}}}
_INVALID = problem("The name, percentage or a list cannot be used.")
_NOT_FOUND = problem("There is no such flag.")

router = APIRouter(prefix="/flags", tags=["flags"])
_public = APIRouter(prefix="/flags", tags=["flags"], dependencies=[Depends(forbid_storing)])
_admin = APIRouter(
    prefix="/flags",
    tags=["flags"],
    dependencies=[Depends(forbid_storing), Depends(require_admin)],
    responses={401: problem("No access token, or one that is not accepted."), 403: problem("The caller is no admin.")},
)


@_public.get("/check", summary="Ask which flags are on for me", responses={200: _CHECKED, 422: _INVALID})
@public
async def get_check(
    db: Store,
    user: Annotated[UserIdentity | None, Depends(get_current_user_optional)],
    names: Annotated[
        str,
        Query(
            max_length=MAX_CHECKED * (MAX_NAME + 1),
            examples=["new_dashboard,beta"],
        ),
    ],
) -> dict[str, bool]:
    """Whether each of the named flags (joined by commas) is on for the caller, in their current workspace.

    Without a user, it is what everybody gets. A flag that does not exist is off, as one that is off.
    """
    wanted = [name for each in names.split(",") if (name := each.strip())]
    if not 1 <= len(wanted) <= MAX_CHECKED:
        raise InvalidFlag(f"Ask about 1 to {MAX_CHECKED} flags at a time.")
    if user is None:
        return await check_flags(db, wanted)
    return await check_flags(db, wanted, user_id=user.id, workspace_id=user.workspace_id)


@_admin.get("", summary="List flags")
async def get_flags(db: Store, limit: Limit = 100, offset: Offset = 0) -> list[FlagAnswer]:
    """The flags, in the order of their names."""
    return [FlagAnswer.model_validate(flag) for flag in await list_flags(db, limit=limit, offset=offset)]


@_admin.get("/unused", summary="List flags that nobody uses")
async def get_unused(db: Store, days: Annotated[int, Query(ge=1, le=MAX_UNUSED_DAYS)] = 30) -> list[FlagAnswer]:
    """The flags that are older than so many days and were not evaluated since."""
    return [FlagAnswer.model_validate(flag) for flag in await list_unused_flags(db, days)]


@_admin.get("/{name}", summary="Look at a flag", responses={404: _NOT_FOUND, 422: _INVALID})
async def get_one(name: Name, db: Store) -> FlagAnswer:
    """One flag."""
    flag = await get_flag(db, name)
    if flag is None:
        raise FlagNotFound
    return FlagAnswer.model_validate(flag)


@_admin.put(
    "/{name}",
    summary="Set a flag",
    responses={201: {"model": FlagAnswer, "description": "The flag is new."}, 422: _INVALID},
)
async def put_flag(name: Name, data: PutFlagRequest, db: Store, response: Response) -> FlagAnswer:
    """Makes the flag, or replaces the whole of it."""
    given = data.model_dump()
    if given["rollout_percent"] is None:
        given["rollout_percent"] = default_percent(data.users, data.workspaces)
    flag, is_new = await change_flag(db, name, given)
    response.status_code = 201 if is_new else 200
    return FlagAnswer.model_validate(flag)


@_admin.patch("/{name}", summary="Change a flag", responses={404: _NOT_FOUND, 422: _INVALID})
async def patch_flag(name: Name, data: PatchFlagRequest, db: Store) -> FlagAnswer:
    """Changes what is given; the rest stays."""
    flag, _ = await change_flag(db, name, data.given(), must_exist=True)
    return FlagAnswer.model_validate(flag)


@_admin.delete("/{name}", status_code=204, summary="Delete a flag", responses={404: _NOT_FOUND, 422: _INVALID})
async def remove_flag(name: Name, db: Store) -> None:
    """Removes the flag, which is then off for everybody; its history stays."""
    if not await delete_flag(db, name):
        raise FlagNotFound


@_admin.get("/{name}/explain", summary="Ask why a flag is on or off for somebody", responses={422: _INVALID})
async def get_explanation(name: Name, db: Store, user_id: Id = None, workspace_id: Id = None) -> ExplanationAnswer:
    """The decision for this user and workspace, and what led to it; a flag that does not exist is `unknown`."""
    return ExplanationAnswer.model_validate(await explain_flag(db, name, user_id=user_id, workspace_id=workspace_id))


@_admin.get("/{name}/history", summary="Ask who changed a flag", responses={422: _INVALID})
async def get_history(name: Name, db: Store) -> list[FlagChangeAnswer]:
    """Every change of the flag, the oldest first, also when it is gone."""
    return [FlagChangeAnswer.model_validate(change) for change in await get_flag_history(db, name)]


for part in (_public, _admin):
    # Not included: FastAPI would build each of them twice more.
    router.routes.extend(part.routes)
