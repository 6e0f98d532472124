"""Who is in which workspace, now: the port Memberships, which remembers roles for at most a second."""

import asyncio
from collections.abc import Iterable
from contextvars import Context as TaskContext
from typing import Any, TypeAlias
from weakref import WeakSet

from app_kernel.core import clock
from app_kernel.core.context import Context, enter_context
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import EntityStore
from app_kernel.saas import store

REMEMBER = 1.0
"""Seconds for which a role is not read again; a change made by this process counts at once."""
CAPACITY = 10_000
"""Roles remembered; beyond them the oldest are forgotten first."""

Place: TypeAlias = tuple[str, str]
"""A workspace and a user."""

_everywhere: "WeakSet[LiveMemberships]" = WeakSet()


class LiveMemberships:
    """The ports Memberships and WorkspaceStates of one service."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._known: dict[Place, tuple[str, float]] = {}
        """The role, and when it was read. Outsiders are not remembered: anybody may ask for any workspace."""
        self._loading: dict[Place, asyncio.Task[tuple[str | None, float]]] = {}
        _everywhere.add(self)

    async def role_in(self, db: EntityStore, workspace_id: str, user_id: str) -> str | None:
        """The role of a user in a workspace, or None for an outsider and for a workspace that does not exist."""
        return await store.get_role(db, workspace_id, user_id)

    async def deleted_among(self, db: EntityStore, workspace_ids: Iterable[str]) -> set[str]:
        """Those of these workspaces that were deleted."""
        return await store.deleted_among(db, workspace_ids)

    async def recent_role(self, workspace_id: str, user_id: str) -> str | None:
        """The same, as it was in the service's database at most a second ago."""
        place = (workspace_id, user_id)
        known = self._known.get(place)
        # Both bounds, so that a clock which moved back does not keep an answer for ever.
        if known is not None and 0 <= clock.monotonic() - known[1] < REMEMBER:
            return known[0]
        task = self._loading.get(place)
        if task is None:
            # A context of its own: the read must not join a transaction of whoever asked first, nor die with them.
            task = asyncio.get_running_loop().create_task(self._load(place), context=TaskContext())
            self._loading[place] = task
            task.add_done_callback(lambda done: self._finish(place, done))
        return (await asyncio.shield(task))[0]

    async def current_workspace(self, db: EntityStore, user_id: str) -> str | None:
        """The workspace that a user chose to work in, if they are still a member of it, or None."""
        workspace_id = await store.get_choice(db, user_id)
        if workspace_id is None or await store.get_role(db, workspace_id, user_id) is None:
            return None
        return workspace_id

    def forget(self, workspace_id: str, user_id: str | None) -> None:
        """Makes the next request of a user in a workspace, or of everybody in it, read the role again."""
        for remembered in (self._known, self._loading):
            # A read under way may have seen the old row: it answers those who wait for it and is not kept.
            places = [each for each in remembered if each[0] == workspace_id] if user_id is None else []
            for place in places or [(workspace_id, user_id or "")]:
                remembered.pop(place, None)

    async def _load(self, place: Place) -> tuple[str | None, float]:
        enter_context(Context(kernel=self._kernel))
        read_at = clock.monotonic()
        return await store.get_role(self._kernel.db.connection(), *place), read_at

    def _finish(self, place: Place, task: "asyncio.Task[Any]") -> None:
        current = self._loading.get(place) is task
        if current:
            del self._loading[place]
        if task.cancelled() or task.exception() is not None or not current:
            return
        role, read_at = task.result()
        self._known.pop(place, None)
        if role is not None:
            if len(self._known) >= CAPACITY:
                self._known.pop(next(iter(self._known)))
            self._known[place] = (role, read_at)


def forget(db: EntityStore, workspace_id: str, user_id: str | None = None) -> None:
    """Makes every service of this process read a role, or all roles in a workspace, again at the next request.

    Once the open transaction is committed: until then the old row is what others read.
    """
    db.after_commit(lambda: _forget(workspace_id, user_id))


def _forget(workspace_id: str, user_id: str | None) -> None:
    for live in list(_everywhere):
        live.forget(workspace_id, user_id)
