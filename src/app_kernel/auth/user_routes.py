"""The routes under /auth/users, for admins."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from app_kernel.auth import store
from app_kernel.auth.accounts import activate_user, deactivate_user, delete_user, set_role
from app_kernel.auth.answers import user_answer
from app_kernel.auth.deps import INVALID, UNAUTHENTICATED, Sessions, Store
from app_kernel.auth.schemas import ChangeUserRequest, UserAnswer
from app_kernel.core.deps import forbid_storing
from app_kernel.core.errors import AccountNotFound, PermissionDenied
from app_kernel.core.identity import UserIdentity, require_admin
from app_kernel.core.ports import EntityStore
from app_kernel.core.problem_docs import problem

Admin = Annotated[UserIdentity, Depends(require_admin)]

_FORBIDDEN = problem("The caller is no admin, or it is their own account.")
_UNKNOWN = problem("There is no such account.")
_ERRORS: dict[int | str, dict[str, Any]] = {401: UNAUTHENTICATED, 403: _FORBIDDEN, 404: _UNKNOWN, 422: INVALID}

router = APIRouter(prefix="/auth/users", tags=["users"], dependencies=[Depends(forbid_storing), Depends(require_admin)])


@router.get("", summary="List accounts", responses={401: UNAUTHENTICATED, 403: _FORBIDDEN, 422: INVALID})
async def get_users(
    db: Store,
    email: Annotated[str | None, Query(max_length=320, description="Only the account with this address.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> list[UserAnswer]:
    """The accounts, the oldest first."""
    return [user_answer(row) for row in await store.list_user_rows(db, limit, offset, email)]


@router.get("/{id}", summary="Look at an account", responses=_ERRORS)
async def get_user(id: str, db: Store) -> UserAnswer:
    """One account."""
    return user_answer(await _require(db, id))


@router.patch("/{id}", summary="Change an account", responses=_ERRORS)
async def patch_user(id: str, data: ChangeUserRequest, admin: Admin, db: Store) -> UserAnswer:
    """Changes the role, or shuts an account out and lets it in again; within a second everywhere.

    An admin's own account is another admin's to change, so that nobody locks everybody out by a slip.
    """
    _refuse_own(admin, id)
    await _require(db, id)
    if data.role is not None:
        await set_role(db, id, data.role)
    if data.is_active is not None:
        await (activate_user(db, id) if data.is_active else deactivate_user(db, id))
    return user_answer(await _require(db, id))


@router.delete("/{id}", status_code=204, summary="Delete an account", responses=_ERRORS)
async def remove_user(id: str, admin: Admin, db: Store) -> None:
    """Deletes an account for good, with its sessions, keys and linked identities."""
    _refuse_own(admin, id)
    await delete_user(db, id)


@router.delete("/{id}/sessions", status_code=204, summary="Sign an account out everywhere", responses=_ERRORS)
async def delete_sessions(id: str, db: Store, sessions: Sessions) -> None:
    """Ends every session of an account."""
    await _require(db, id)
    await sessions.end_all(db, id)


def _refuse_own(admin: UserIdentity, user_id: str) -> None:
    if admin.id == user_id:
        raise PermissionDenied("This is your own account; another admin can do this.")


async def _require(db: EntityStore, user_id: str) -> dict[str, Any]:
    row = await store.get_user_row(db, user_id)
    if row is None:
        raise AccountNotFound
    return row
