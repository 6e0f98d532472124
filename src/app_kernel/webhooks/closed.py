"""Workspaces that were deleted: their webhooks send nothing until they are restored."""

from collections.abc import Iterable

from app_kernel.core.current import current_kernel
from app_kernel.core.ports import EntityStore, WorkspaceStates

CLOSED = "workspace"
"""The outcome of a delivery that was skipped for it."""


async def closed_among(db: EntityStore, workspace_ids: Iterable[str | None]) -> set[str]:
    """Those of these workspaces that were deleted; none where nobody can tell."""
    given = {workspace_id for workspace_id in workspace_ids if workspace_id is not None}
    states = current_kernel().find_port(WorkspaceStates)  # type: ignore[type-abstract]  # asked for by its protocol
    return await states.deleted_among(db, given) if states is not None and given else set()
