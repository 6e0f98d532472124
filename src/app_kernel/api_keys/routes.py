"""The routes under /api-keys. They need a user: a key cannot manage keys. The keys of others are not there."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request

from app_kernel.api_keys.keys import (
    Check,
    create_api_key,
    get_api_key,
    list_api_keys,
    rename_api_key,
    revoke_api_key,
    revoke_api_keys,
    rotate_api_key,
)
from app_kernel.api_keys.schemas import (
    ApiKeyAnswer,
    CreateRequest,
    NewApiKeyAnswer,
    RenameRequest,
    RotateRequest,
)
from app_kernel.core.current import current_kernel
from app_kernel.core.deps import db_connection, forbid_storing
from app_kernel.core.errors import ApiKeyNotFound
from app_kernel.core.identity import UserIdentity, get_current_user
from app_kernel.core.ports import Accounts, EntityStore
from app_kernel.core.problem_docs import problem

Store = Annotated[EntityStore, Depends(db_connection)]
User = Annotated[UserIdentity, Depends(get_current_user)]


async def own_key(id: str, user: User, db: Store) -> dict[str, Any]:
    """The caller's key that the path names; raises ApiKeyNotFound for one that is not there or another user's."""
    key = await get_api_key(db, id)
    if key is None or key["user_id"] != user.id:
        raise ApiKeyNotFound
    return key


async def check_of_session(request: Request, user: User, db: Store) -> Check:
    """What asks, in the transaction that adds a key, whether the caller's session is still there.

    A key outlives the session that made it. So one that is over, though no longer than a second, must not make one.
    """
    accounts = current_kernel().port(Accounts)  # type: ignore[type-abstract]  # a port is asked for by its protocol
    return lambda: accounts.require_session(request, db, user.id)


OwnKey = Annotated[dict[str, Any], Depends(own_key)]
StillSignedIn = Annotated[Check, Depends(check_of_session)]

_UNAUTHENTICATED = problem("No access token, or one that is invalid, expired or revoked; or an API key.")
_NOT_FOUND = problem("The caller has no such API key.")

router = APIRouter(
    prefix="/api-keys",
    tags=["api_keys"],
    dependencies=[Depends(forbid_storing)],
    responses={401: _UNAUTHENTICATED},
)


@router.post(
    "",
    status_code=201,
    summary="Make an API key",
    responses={
        403: problem("A scope that the caller does not have, or a workspace that the caller is no member of."),
        422: problem("The name, scopes, lifetime or workspace cannot be used, or there are too many keys."),
    },
)
async def post_api_key(data: CreateRequest, user: User, db: Store, check: StillSignedIn) -> NewApiKeyAnswer:
    """Makes a key of the caller's. The answer is the only one that shows it."""
    made = await create_api_key(db, user.id, **data.model_dump(), check=check)
    return NewApiKeyAnswer.model_validate(made)


@router.get("", summary="List my API keys")
async def get_api_keys(
    user: User,
    db: Store,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> list[ApiKeyAnswer]:
    """The caller's keys, the newest first, also those that ended."""
    keys = await list_api_keys(db, user.id, limit=limit, offset=offset)
    return [ApiKeyAnswer.model_validate(key) for key in keys]


@router.delete("", status_code=204, summary="Revoke all my API keys")
async def delete_api_keys(user: User, db: Store) -> None:
    """Ends every key of the caller's from the next request on."""
    await revoke_api_keys(db, user.id)


@router.get("/{id}", summary="Show one of my API keys", responses={404: _NOT_FOUND})
async def get_one_api_key(key: OwnKey) -> ApiKeyAnswer:
    """One key of the caller's."""
    return ApiKeyAnswer.model_validate(key)


@router.patch(
    "/{id}",
    summary="Rename one of my API keys",
    responses={404: _NOT_FOUND, 422: problem("The name cannot be used.")},
)
async def patch_api_key(data: RenameRequest, key: OwnKey, db: Store) -> ApiKeyAnswer:
    """Changes the name, which is all that can change."""
    return ApiKeyAnswer.model_validate(await rename_api_key(db, key["id"], data.name))


@router.delete("/{id}", status_code=204, summary="Revoke one of my API keys", responses={404: _NOT_FOUND})
async def delete_api_key(key: OwnKey, db: Store) -> None:
    """Ends a key from the next request on; doing it again changes nothing."""
    await revoke_api_key(db, key["id"])


@router.post(
    "/{id}/rotate",
    status_code=201,
    summary="Rotate one of my API keys",
    responses={
        403: problem("The caller is no longer a member of the key's workspace."),
        404: _NOT_FOUND,
        409: problem("The key was changed at the same time."),
        422: problem("The key has ended or was rotated before, or the overlap is not 0 to 720 hours."),
    },
)
async def post_rotate(
    key: OwnKey, db: Store, check: StillSignedIn, data: Annotated[RotateRequest | None, Body()] = None
) -> NewApiKeyAnswer:
    """Makes a new key in the place of this one, which is accepted for some hours more."""
    hours = (data or RotateRequest()).overlap_hours
    return NewApiKeyAnswer.model_validate(await rotate_api_key(db, key["id"], overlap_hours=hours, check=check))
