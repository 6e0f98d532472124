"""Everybody who might call a service with two workspaces, with real credentials, and made anew when one was used up."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson
from starlette.requests import Request

from app_kernel.api_keys import create_api_key, revoke_api_key
from app_kernel.core import clock
from app_kernel.core.context import Context, in_context
from app_kernel.core.identity import UserIdentity
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Accounts, Memberships
from app_kernel.saas import add_member, create_workspace
from app_kernel.testing.client import PASSWORD
from app_kernel.testing.rows import Belongings, Snapshot

A, B = "A", "B"
MEMBERS = {"viewer": "viewer", "member": "member", "admin": "admin", "owner": "owner"}
"""Callers who are in workspace A, and their roles there."""
KEYS = ("key_without_scopes", "key_of_workspace", "key")
REFUSED = ("anonymous", "revoked_key", "expired_token")
"""Callers who are nobody, whatever they send."""
CALLERS = ("anonymous", "user", *MEMBERS, "other_owner", "platform_admin", *KEYS, "revoked_key", "expired_token")
"""In the order in which they call: who may do least comes first."""


@dataclass(slots=True)
class Caller:
    """Somebody with a credential, or nobody with none."""

    name: str
    credentials: Mapping[str, str] = field(default_factory=dict)
    user: UserIdentity | None = None
    side: str = ""
    """The workspace that the caller is in: A, B, or neither."""
    user_id: str = ""
    session_id: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    """What a form asks of them, by the name of its field."""
    key_id: str = ""


@dataclass(slots=True)
class Side:
    """A workspace with everything in it."""

    name: str
    belongings: Belongings
    probe: str
    """The marker of rows whose texts are no secret."""
    role_of: dict[str, str] = field(default_factory=dict)
    """The role that each of its callers has by user id."""
    owner: Caller = field(default_factory=lambda: Caller("owner"))
    """Who fills it; of B nobody else calls with this account, so that it stays as it is."""
    spare_ids: list[str] = field(default_factory=list)
    """Members whom nobody calls as: they may be removed and demoted."""
    rows: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    """Its live rows, by table."""
    answered_ids: dict[str, str] = field(default_factory=dict)
    """Ids in the answers to those who filled it, of rows or not, with the name of the field they were in."""
    given: dict[str, Any] = field(default_factory=dict)
    """Ids that the application's own `seed` has named."""

    @property
    def workspace_id(self) -> str:
        """The id of the workspace."""
        return self.belongings.workspace_id


class Registry:
    """Makes accounts, sessions, workspaces and keys, past the routes, and says which of them still stand."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._db = kernel.db.connection()
        self._accounts = kernel.port(Accounts)  # type: ignore[type-abstract]  # a port is asked for by its protocol
        self._memberships = kernel.port(Memberships)  # type: ignore[type-abstract]  # as above
        self._count = 0

    async def person(self, name: str, side: Side | None, role: str = "user", *, can_sign_in: bool = True) -> Caller:
        """A new account with a session; its address has the side's marker in it."""
        self._count += 1
        marker = side.belongings.marker if side is not None else "nobody"
        email = f"{name.replace('_', '-')}-{self._count}-{marker}@example.com"
        with in_context(Context(kernel=self._kernel)):
            password = PASSWORD if can_sign_in else None
            user = await self._accounts.create_user(self._db, email, password, role=role, email_verified=True)
        caller = Caller(name, user=user, side=side.name if side is not None else "", user_id=user.id)
        if side is not None:
            side.belongings.user_ids.add(user.id)
        caller.values = {"password": PASSWORD, "current_password": PASSWORD, "email": email, "username": email}
        if can_sign_in:
            await self.sign_in(caller)
        return caller

    async def sign_in(self, caller: Caller) -> None:
        """Gives a caller a new session."""
        scope = {
            "type": "http", "method": "POST", "path": "/auth/login", "headers": [], "query_string": b"",
            "scheme": "http", "server": ("testserver", 80), "client": ("127.0.0.1", 40000), "root_path": "",
        }  # fmt: skip
        with in_context(Context(kernel=self._kernel, address="127.0.0.1")):
            response = await self._accounts.sign_in(Request(scope), self._db, caller.user_id, method="test")
        tokens = orjson.loads(response.body)
        caller.credentials = {"authorization": f"Bearer {tokens['access_token']}"}
        caller.session_id = _claims(tokens["access_token"])["sid"]
        caller.values = {**caller.values, "refresh_token": tokens["refresh_token"]}

    async def workspace(self, side: Side) -> None:
        """Makes the side's workspace; its owner is in it."""
        with in_context(Context(kernel=self._kernel, actor_id=side.owner.user_id)):
            row = await create_workspace(self._db, f"Workspace {side.belongings.marker}", side.owner.user_id)
        side.belongings.workspace_id = row["id"]
        side.role_of[side.owner.user_id] = "owner"

    async def join(self, side: Side, user_id: str, role: str) -> None:
        """Makes a user a member."""
        with in_context(Context(kernel=self._kernel)):
            await add_member(self._db, side.workspace_id, user_id, role)
        side.role_of[user_id] = role

    async def spare(self, side: Side) -> None:
        """One more member whom nobody calls as."""
        person = await self.person("spare", side, can_sign_in=False)
        await self.join(side, person.user_id, "member")
        side.spare_ids.append(person.user_id)

    async def key(self, name: str, side: Side) -> Caller:
        """An API key of the side's owner: for one workspace or for all, with every scope or none, or a revoked one."""
        with in_context(Context(kernel=self._kernel, actor_id=side.owner.user_id)):
            made = await create_api_key(
                self._db,
                side.owner.user_id,
                side.workspace_id if name == "key_of_workspace" else None,
                name=f"{name} {side.belongings.marker}",
                scopes=[] if name == "key_without_scopes" else None,
            )
            if name == "revoked_key":
                await revoke_api_key(self._db, made["id"])
        return Caller(
            name,
            {"authorization": f"Bearer {made['key']}"},
            side=side.name,
            user_id=side.owner.user_id,
            key_id=made["id"],
        )

    async def expired(self, side: Side) -> Caller:
        """A token of the side's owner whose time is over."""
        past = clock.now() - timedelta(hours=self._kernel.config.jwt_expiry_hours + 1)
        caller = Caller("expired_token", side=side.name, user_id=side.owner.user_id)
        with clock.frozen(past):
            await self.sign_in(caller)
        caller.values = {}
        return caller

    async def stands(self, caller: Caller, side: Side | None, seen: Snapshot) -> bool:
        """Whether a caller is as they were made: their account, session, role and key."""
        if caller.name in REFUSED:
            return True
        user = seen.find(caller.user_id)
        if user is None or not user["is_active"]:
            return False
        if (user["role"] == "admin") != (caller.name == "platform_admin"):
            return False
        if caller.key_id:
            key = seen.find(caller.key_id)
            return key is not None and key["revoked_at"] is None and key["replaced_by"] is None
        session = seen.find(caller.session_id)
        if session is None or session["revoked_at"] is not None:
            return False
        return side is None or await self.role(side, caller.user_id) == side.role_of.get(caller.user_id)

    async def exists(self, side: Side) -> bool:
        """Whether a side's workspace is still there: somebody is in it, and there always is an owner."""
        for user_id in reversed(side.role_of):
            if await self.role(side, user_id) is not None:
                return True
        return False

    async def role(self, side: Side, user_id: str) -> str | None:
        """A user's role in a side's workspace, read anew."""
        return await self._memberships.role_in(self._db, side.workspace_id, user_id)


def _claims(token: str) -> Mapping[str, Any]:
    part = token.split(".")[1]
    claims: Mapping[str, Any] = orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims
