"""A service with every feature on and routes of an application's own, whose document the fuzzing goes through.

Limits of requests and of guesses are set high, not off: their layers stand in every request's way all the same.
"""

import asyncio
import importlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pytest
from fastapi import APIRouter, Depends, FastAPI, File, Form, HTTPException, UploadFile
from pydantic import BaseModel, Field

from app_kernel import DoNotRetry, ServiceConfig, create_service, get_current_user, require_workspace_member
from app_kernel.api_keys import Auth, require_scope
from app_kernel.core.identity import UserIdentity
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Accounts, EntityStore, JobQueue
from app_kernel.core.workspaces import Membership
from app_kernel.db import db_connection
from app_kernel.flags import set_flag
from app_kernel.idempotency import idempotent
from app_kernel.rate_limit import rate_limit
from app_kernel.saas import create_workspace
from app_kernel.saas.workspaces import choose_workspace

T = TypeVar("T")

SECRET = "secret-of-the-fuzzed-service-0123456789abcdef"
PASSWORD = "correct-horse-battery-staple-42"
PLENTY = 1_000_000
PATIENCE = 60.0
"""Seconds within which anything that is asked of the running service is done."""

User = Annotated[UserIdentity, Depends(get_current_user)]
Store = Annotated[EntityStore, Depends(db_connection)]
Member = Annotated[Membership, Depends(require_workspace_member)]

own = APIRouter(prefix="/own", tags=["own"])


class Part(BaseModel):
    """A part of an order."""

    sku: Annotated[str, Field(pattern=r"^[A-Z]{3}-[0-9]{4}$")]
    count: Annotated[int, Field(ge=1, le=1000)] = 1


class Order(BaseModel):
    """What is ordered."""

    parts: Annotated[list[Part], Field(min_length=1, max_length=20)]
    note: Annotated[str, Field(max_length=200)] | None = None


class Placed(BaseModel):
    """An order that was taken."""

    id: str
    parts: list[Part]
    note: str | None


@own.post("/orders", status_code=201, summary="Order parts")
@idempotent
async def post_order(data: Order, user: User, db: Store) -> Placed:
    """Takes an order: a body of JSON with lists in it, in one commit with the answer."""
    return Placed.model_validate(await db.save_entity("orders", data.model_dump()))


@own.get("/orders/{id}", summary="Look at an order", responses={404: {"description": "There is no such order."}})
async def get_order(id: str, user: User, db: Store) -> Placed:
    """One of the caller's orders."""
    row = await db.get_entity("orders", id)
    if row is None or row["created_by"] != user.id:
        raise HTTPException(404)
    return Placed.model_validate(row)


@own.delete("/orders/{id}", status_code=204, summary="Cancel an order")
async def delete_order(id: str, user: User, db: Store) -> None:
    """Takes back one of the caller's orders."""
    row = await db.get_entity("orders", id)
    if row is None or row["created_by"] != user.id:
        raise HTTPException(404)
    await db.delete_entity("orders", id)


@own.post("/forms", summary="Send a form")
@rate_limit(requests=PLENTY)
async def post_form(
    user: User, name: Annotated[str, Form(min_length=1, max_length=50)], count: Annotated[int, Form(ge=0)] = 0
) -> dict[str, int]:
    """A body as browsers send forms, and a limit of the route's own."""
    return {"length": len(name), "count": count}


@own.post("/files", summary="Send a file")
async def post_file(user: User, file: Annotated[UploadFile, File()], label: Annotated[str, Form()] = "") -> int:
    """A body of several parts, one of them a file."""
    return len(await file.read()) + len(label)


@own.put("/lists/{name}", summary="Keep a list")
async def put_list(
    name: str, data: list[float], member: Annotated[Membership, Depends(require_workspace_member)]
) -> float:
    """A body that is a list, for members of a workspace."""
    return max(data, default=0.0)


@own.get("/report", summary="Read a report")
async def get_report(auth: Annotated[Auth, Depends(require_scope("reports:read"))]) -> str:
    """For a user, or a key with a scope."""
    return auth.user_id or ""


async def nothing() -> None:
    """A job that waits."""


async def failing() -> None:
    """A job that is dead after its first attempt."""
    raise DoNotRetry("this one fails")


def widgets_router() -> APIRouter:
    """The routes of the README's service, which builds itself when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JWT_SECRET", SECRET)
        return importlib.import_module("examples.widgets.main").router  # type: ignore[no-any-return]


class FullService:
    """The application, and what a test needs of it while it runs in a thread of the fuzzer's."""

    def __init__(self, database: str, **settings: Any) -> None:
        self.app = _create(database, self._remember_loop, settings)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._accounts = 0

    async def _remember_loop(self) -> None:
        self._loop = asyncio.get_running_loop()

    @property
    def kernel(self) -> Kernel:
        kernel: Kernel = self.app.state.kernel
        return kernel

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns, run where the service runs."""
        assert self._loop is not None, "the service has not started"
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def make_account(self, role: str) -> str:
        """The email of a new account, which has something of everything: a workspace, jobs, a webhook, a key."""
        self._accounts += 1
        email = f"{role}-{self._accounts}@example.com"
        self.run(self._furnish(email, role))
        return email

    async def _furnish(self, email: str, role: str) -> None:
        db = self.kernel.db.connection()
        accounts = self.kernel.port(Accounts)  # type: ignore[type-abstract]
        user = await accounts.create_user(db, email, PASSWORD, role=role, email_verified=True)
        workspace = await create_workspace(db, f"Of {email}", user.id)
        await choose_workspace(db, user.id, workspace["id"])
        jobs = self.kernel.port(JobQueue)  # type: ignore[type-abstract]
        await jobs.enqueue("nothing", {}, user_id=user.id, delay_seconds=3600)
        await jobs.enqueue("failing", {}, user_id=user.id, max_attempts=1)
        await set_flag(db, "beta", enabled=True)


def _create(database: str, on_startup: Any, settings: dict[str, Any]) -> FastAPI:
    config = ServiceConfig(
        **{
            "jwt_secret": SECRET,
            "database_name": database,
            "allow_self_signup": True,
            "saas_enabled": True,
            "personal_workspaces": True,
            "webhook_allow_private": True,
            "webhook_entity_events": ["*"],
            "audit_retention_days": 30,
            "oauth_providers": {"github": {"client_id": "invented", "client_secret": "invented"}},
            "rate_limit_requests": PLENTY,
            "rate_limit_anonymous": PLENTY,
            "rate_limit_auth_requests": PLENTY,
            "log_level": "ERROR",
            **settings,
        }
    )
    return create_service(
        "full",
        config=config,
        routers=[widgets_router(), own],
        tasks={"nothing": nothing, "failing": failing},
        on_startup=on_startup,
    )


def sqlite_place(folder: Path) -> str:
    """The address of a database in a file."""
    return f"sqlite:///{folder / 'app.db'}"
