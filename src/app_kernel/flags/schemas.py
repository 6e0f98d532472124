"""What the routes of feature flags take and give."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app_kernel.core.model_docs import OTHER_ID, SOME_ID, SOME_INSTANT, example
from app_kernel.flags.values import MAX_DESCRIPTION, MAX_ID, MAX_LISTED

Percent = Annotated[float, Field(ge=0, le=100, examples=[10], description="0 to 100, with two decimals at most.")]
Ids = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=MAX_ID)]],
    Field(max_length=MAX_LISTED),
]
Description = Annotated[str, Field(max_length=MAX_DESCRIPTION)]


class _Input(BaseModel):
    # A mistyped `percent` or `user` would turn a flag on for everybody.
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)

    def given(self) -> dict[str, Any]:
        """The parts that were given."""
        return self.model_dump(exclude_unset=True)


class PutFlagRequest(_Input):
    """A whole flag: what is left out gets its default, also where the flag had something else."""

    model_config = example(enabled=True, rollout_percent=10, users=[SOME_ID], description="The dashboard of 2026")

    enabled: bool
    rollout_percent: Percent | None = Field(
        default=None, description="In steps of 0.01. Left out: 100 without lists, 0 with lists."
    )
    workspaces: Ids = []
    users: Ids = []
    description: Description = ""


class PatchFlagRequest(_Input):
    """What changes of a flag; the rest stays. A list takes the place of the one before."""

    model_config = example(rollout_percent=50)

    # No part can be null: each is either given or left out.
    enabled: bool = Field(default=False, description="Left out: stays.")
    rollout_percent: Percent = Field(default=0, description="In steps of 0.01. Left out: stays.")
    workspaces: Ids = Field(default=[], description="Left out: stays.")
    users: Ids = Field(default=[], description="Left out: stays.")
    description: Description = Field(default="", description="Left out: stays.")


class FlagAnswer(BaseModel):
    """A flag."""

    model_config = example(
        name="new_dashboard",
        enabled=True,
        rollout_percent=10,
        workspaces=[],
        users=[SOME_ID],
        description="The dashboard of 2026",
        created_at=SOME_INSTANT,
        updated_at=SOME_INSTANT,
        created_by=OTHER_ID,
        updated_by=OTHER_ID,
        last_evaluated_at=None,
    )

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

    model_config = {
        **ConfigDict(from_attributes=True),
        **example(name="new_dashboard", enabled=True, reason="rollout", percent=10, bucket=4.2, bucketed_by="user"),
    }

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

    model_config = example(
        version=2, action="update", at=SOME_INSTANT, actor=OTHER_ID, changes={"rollout_percent": [10, 50]}
    )

    version: int
    action: str = Field(description="create, update, or purge: it was deleted.")
    at: datetime
    actor: str | None = Field(description="Who changed it; null: code without a user.")
    changes: dict[str, list[Any]] = Field(description="Field to [old, new].")
