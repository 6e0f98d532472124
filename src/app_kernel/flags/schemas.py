"""What the routes of feature flags take and give."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app_kernel.flags.values import MAX_DESCRIPTION, MAX_ID, MAX_LISTED

Percent = Annotated[float, Field(ge=0, le=100, examples=[10])]
Ids = Annotated[list[Annotated[str, Field(min_length=1, max_length=MAX_ID)]], Field(max_length=MAX_LISTED)]
Description = Annotated[str, Field(max_length=MAX_DESCRIPTION)]


class _Input(BaseModel):
    # A mistyped `percent` or `user` would turn a flag on for everybody.
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)

    def given(self) -> dict[str, Any]:
        """The parts that were given."""
        return self.model_dump(exclude_unset=True)


class PutFlagRequest(_Input):
    """A whole flag: what is left out gets its default, also where the flag had something else."""

    enabled: bool
    rollout_percent: Percent | None = Field(
        default=None, description="In steps of 0.01. Left out: 100 without lists, 0 with lists."
    )
    workspaces: Ids = []
    users: Ids = []
    description: Description = ""


class PatchFlagRequest(_Input):
    """What changes of a flag; the rest stays. A list takes the place of the one before."""

    # No part can be null: each is either given or left out.
    enabled: bool = Field(default=False, description="Left out: stays.")
    rollout_percent: Percent = Field(default=0, description="In steps of 0.01. Left out: stays.")
    workspaces: Ids = Field(default=[], description="Left out: stays.")
    users: Ids = Field(default=[], description="Left out: stays.")
    description: Description = Field(default="", description="Left out: stays.")


class FlagAnswer(BaseModel):
    """A flag."""

    name: str
    enabled: bool
    rollout_percent: float
    workspaces: list[str]
    users: list[str]
    description: str
    created_at: datetime
    updated_at: datetime
    created_by: str | None
    updated_by: str | None
    last_evaluated_at: datetime | None = Field(description="Some minutes late; null: never.")


class ExplanationAnswer(BaseModel):
    """Why a flag is on or off for somebody."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    enabled: bool
    reason: str = Field(
        description="unknown, disabled, user_listed, workspace_listed, everybody, rollout, not_in_rollout, "
        "nobody_to_bucket."
    )
    percent: float | None
    bucket: float | None = Field(description="From 0 to 99.99; in the rollout when below the percentage.")
    bucketed_by: str | None = Field(description="user, workspace, or null.")


class FlagChangeAnswer(BaseModel):
    """One change of a flag."""

    version: int
    action: str = Field(description="create, update, or purge: it was deleted.")
    at: datetime
    actor: str | None = Field(description="Who changed it; null: code without a user.")
    changes: dict[str, list[Any]] = Field(description="Field to [old, new].")
