"""What a security event is about: the entity and id that it is found by, and the workspace whose admins may see it."""

from collections.abc import Mapping
from typing import Any

from app_kernel.core.events import SecurityEvent

_BY_PREFIX = {
    "workspace": ("workspaces", "workspace_id"),
    "api_key": ("api_keys", "key_id"),
    "webhook": ("webhooks", "webhook_id"),
    "flag": ("flags", "flag"),
}
"""By the first word of an event's name: an entity, and which detail has its id."""
_OF_A_WORKSPACE = frozenset({"workspace", "webhook", "api_key"})


def target_of(event: SecurityEvent) -> tuple[str, str | None, str | None]:
    """Entity, its id and the workspace; of auth, oauth and all others the account that it is about, in no workspace.

    Which workspace an account happened to work in says nothing about whom its sign-ins concern.
    """
    prefix = event.name.partition(".")[0]
    entity, detail = _BY_PREFIX.get(prefix, ("users", ""))
    if entity == "users":
        return entity, event.user_id, None
    workspace_id = _text(event.detail, "workspace_id") if prefix in _OF_A_WORKSPACE else None
    if event.name == "workspace.selected":
        workspace_id = None  # where a user works is the user's own matter
    return entity, _text(event.detail, detail), workspace_id


def _text(detail: Mapping[str, Any], name: str) -> str | None:
    value = detail.get(name)
    return str(value) if value not in (None, "") else None
