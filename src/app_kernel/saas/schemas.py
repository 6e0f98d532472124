"""What the routes of workspaces take and give. Other fields in a body are refused: owner and dates are the kernel's."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app_kernel.core.model_docs import (
    LATER_INSTANT,
    OTHER_ID,
    SOME_ID,
    SOME_INSTANT,
    example,
    example_of_one,
)
from app_kernel.saas.slugs import MAX_NAME, MAX_SLUG

MAX_ID = 191
MAX_EMAIL = 320

Id = Annotated[str, Field(min_length=1, max_length=MAX_ID)]
Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_NAME,
        examples=["Analytical Engines"],
    ),
]
Slug = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_SLUG,
        examples=["analytical-engines"],
        json_schema_extra={"pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"},
        description="Lower-case letters, digits and dashes; no other workspace has it.",
    ),
]
Role = Annotated[
    str,
    Field(
        min_length=1,
        max_length=20,
        description="viewer, member, admin or owner.",
        json_schema_extra={"enum": ["viewer", "member", "admin", "owner"]},
    ),
]

_INVITE = {
    "id": SOME_ID,
    "workspace_id": OTHER_ID,
    "email": "ada@example.com",
    "role": "member",
    "invited_by": SOME_ID,
    "sent_at": SOME_INSTANT,
    "expires_at": LATER_INSTANT,
}


class _Input(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class CreateWorkspaceRequest(_Input):
    """A new workspace."""

    model_config = example(name="Analytical Engines", slug="analytical-engines")

    name: Name
    slug: Slug | None = Field(default=None, description="Left out: it is made of the name.")


class ChangeWorkspaceRequest(_Input):
    """What is left out stays."""

    model_config = example(name="Difference Engines")

    name: Name | None = None
    slug: Slug | None = None


class ChangeMemberRequest(_Input):
    """Another role."""

    model_config = example(role="admin")

    role: Role


class TransferRequest(_Input):
    """Who is to own the workspace."""

    model_config = example(user_id=OTHER_ID)

    user_id: Id


class InviteRequest(_Input):
    """Who is invited, and as what."""

    model_config = example(email="ada@example.com", role="member")

    email: Annotated[
        str,
        Field(min_length=1, max_length=MAX_EMAIL, examples=["ada@example.com"], json_schema_extra={"format": "email"}),
    ]
    role: Annotated[
        str,
        Field(
            min_length=1,
            max_length=20,
            description="viewer, member or admin.",
            json_schema_extra={"enum": ["viewer", "member", "admin"]},
        ),
    ] = "member"


class InviteAnswerRequest(_Input):
    """An invite: by its token, or by its id for one of those that GET /invites lists."""

    model_config = example_of_one(("token", "invite_id"), token="wi_...")

    token: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    invite_id: Id | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.token is None) == (self.invite_id is None):
            raise ValueError("give either token or invite_id")
        return self


class ChooseWorkspaceRequest(_Input):
    """The workspace to work in; null for none."""

    model_config = example(workspace_id=SOME_ID)

    workspace_id: Id | None


class WorkspaceAnswer(BaseModel):
    """A workspace."""

    model_config = example(
        id=SOME_ID,
        name="Analytical Engines",
        slug="analytical-engines",
        role="owner",
        created_at=SOME_INSTANT,
        deleted_at=None,
    )

    id: str
    name: str
    slug: str
    role: str = Field(description="The caller's in it.")
    created_at: datetime
    deleted_at: datetime | None


class MemberAnswer(BaseModel):
    """Somebody in a workspace."""

    model_config = example(
        user_id=OTHER_ID, role="member", email="ada@example.com", name="Ada Lovelace", joined_at=SOME_INSTANT
    )

    user_id: str
    role: str
    email: str | None = Field(description="null when the account is gone.")
    name: str | None
    joined_at: datetime


class MembershipAnswer(BaseModel):
    """That the caller is in a workspace."""

    model_config = example(workspace_id=SOME_ID, user_id=OTHER_ID, role="member")

    workspace_id: str
    user_id: str
    role: str


class InviteAnswer(BaseModel):
    """An invite, without what it is accepted with."""

    model_config = example(**_INVITE)

    id: str
    workspace_id: str
    email: str
    role: str
    invited_by: str | None = Field(description="The user on whose right to invite it stands.")
    sent_at: datetime
    expires_at: datetime = Field(description="It is refused from this instant on.")


class NewInviteAnswer(InviteAnswer):
    """A new invite. `token` is the only time that it is shown."""

    model_config = example(**_INVITE, token="wi_...", link="https://app.example.com/invite#wi_...", mailed=True)

    token: str = Field(examples=["wi_..."])
    link: str | None = Field(
        description="To the page that is set as accept_invite_url, with the token in its fragment."
    )
    mailed: bool = Field(description="Whether a mail is on its way; if not, give the token or link to who is invited.")


class PendingInviteAnswer(BaseModel):
    """An invite that the caller can accept."""

    model_config = example(
        id=SOME_ID, workspace_id=OTHER_ID, workspace_name="Analytical Engines", role="member", expires_at=LATER_INSTANT
    )

    id: str
    workspace_id: str
    workspace_name: str
    role: str
    expires_at: datetime


class CurrentWorkspaceAnswer(BaseModel):
    """Where the caller works when a request names no workspace."""

    model_config = example(workspace_id=SOME_ID, role="owner")

    workspace_id: str | None
    role: str | None
