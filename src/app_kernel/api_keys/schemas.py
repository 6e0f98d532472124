"""What the routes of API keys take and give. Fields not named here are ignored: owner, hash, dates are the kernel's."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app_kernel.api_keys.keys import MAX_DAYS, MAX_NAME, MAX_OVERLAP_HOURS
from app_kernel.api_keys.scopes import MAX_SCOPE, MAX_SCOPES
from app_kernel.core.model_docs import LATER_INSTANT, OTHER_ID, SOME_ID, SOME_INSTANT, example

_WORD = "[A-Za-z0-9][A-Za-z0-9_.-]*"

Name = Annotated[
    str,
    Field(min_length=1, max_length=MAX_NAME, examples=["CI/CD Pipeline"]),
]
Scope = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_SCOPE,
        json_schema_extra={"pattern": rf"^(\*|{_WORD}(:{_WORD})*(:\*)?)$"},
    ),
]

_KEY = {
    "id": SOME_ID,
    "name": "CI/CD Pipeline",
    "prefix": "sk_live_4Tq8",
    "scopes": ["deployments:write"],
    "user_id": OTHER_ID,
    "workspace_id": None,
    "created_at": SOME_INSTANT,
    "expires_at": LATER_INSTANT,
    "last_used_at": None,
    "revoked_at": None,
    "replaced_by": None,
}


class _Input(BaseModel):
    # A mistyped `scope` or `expires_in` would make a key that may do everything, for ever.
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class CreateRequest(_Input):
    """A new key."""

    model_config = example(name="CI/CD Pipeline", scopes=["deployments:write"], expires_in_days=90)

    name: Name
    scopes: Annotated[list[Scope], Field(max_length=MAX_SCOPES)] | None = Field(
        default=None,
        description="What it may do, with wildcards; left out: all that its owner may do. Empty: nothing.",
        examples=[["deployments:write"]],
    )
    workspace_id: Annotated[str, Field(min_length=1, max_length=191)] | None = None
    expires_in_days: Annotated[int, Field(ge=1, le=MAX_DAYS)] | None = Field(
        default=None, description="Days of 24 hours for which it is accepted; left out: until it is revoked."
    )


class RenameRequest(_Input):
    """Another name."""

    model_config = example(name="CI/CD Pipeline")

    name: Name


class RotateRequest(_Input):
    """How long the old key is accepted beside the new one."""

    model_config = example(overlap_hours=24)

    overlap_hours: Annotated[int, Field(ge=0, le=MAX_OVERLAP_HOURS)] = 24


class ApiKeyAnswer(BaseModel):
    """A key, without what it is used with."""

    model_config = example(**_KEY)

    id: str
    name: str
    prefix: str = Field(description="The public part of the key, to recognise it by.")
    scopes: list[str] | None = Field(description="null: all that its owner may do.")
    user_id: str
    workspace_id: str | None
    created_at: datetime
    expires_at: datetime | None = Field(description="It is refused from this instant on.")
    last_used_at: datetime | None = Field(description="At most a minute older than its last use.")
    revoked_at: datetime | None
    replaced_by: str | None = Field(description="The key that took its place when it was rotated.")


class NewApiKeyAnswer(ApiKeyAnswer):
    """A new key. `key` is the only time that it is shown."""

    model_config = example(**_KEY, key="sk_live_...")

    key: str = Field(examples=["sk_live_..."])
