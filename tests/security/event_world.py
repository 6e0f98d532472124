"""A service with everything that has security events, a feature that records them, and ways to look at its rows."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import orjson
from fastapi import APIRouter, Depends

from app_kernel import FEATURES, Feature, ServiceConfig, create_service, get_current_user
from app_kernel.api_keys import create_combined_auth
from app_kernel.auth import create_user, deactivate_user
from app_kernel.auth.issuer import Issuer, SignedIn
from app_kernel.auth.store import get_user_row
from app_kernel.core import clock
from app_kernel.core.context import Context, current_context, in_context
from app_kernel.core.current import current_kernel
from app_kernel.core.events import SecurityEvent
from app_kernel.core.identity import UserIdentity
from app_kernel.core.kernel import Kernel
from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore
from app_kernel.db import get_db_connection
from app_kernel.flags import set_flag
from app_kernel.oauth.flow import OAuth
from app_kernel.oauth.providers import ProviderIdentity
from app_kernel.testing import KernelClient, kernel_client
from tests.redis_beside import redis_beside

SECRET = "secret-of-the-event-tests-0123456789abcdef"
PASSWORD = "plum tree over water"
TOPIC = "test:security"
"""Nobody has a sink for it, so what was recorded stays where it can be looked at."""
ADDRESS = "192.0.2.77"
_OUTBOX = f"SELECT [body] FROM [kernel_outbox] WHERE [topic] = '{TOPIC}' ORDER BY [seq]"

Recorded = dict[str, Any]


class RecorderBroke(Exception):
    pass


class Recorder:
    """Says of every security event what a recorder knows of it."""

    def __init__(self) -> None:
        self.is_broken = False

    def __call__(self, kernel: Kernel, event: SecurityEvent) -> Iterable[Message]:
        if self.is_broken:
            raise RecorderBroke
        context = current_context()
        body = {
            "name": event.name,
            "user_id": event.user_id,
            "actor_id": event.actor_id,
            "api_key_id": context.api_key_id,
            "job_id": context.job_id,
            "command": context.command,
            "detail": dict(event.detail),
        }
        return [Message(TOPIC, body)]


class World:
    """The running service."""

    def __init__(self, client: KernelClient, recorder: Recorder, heard: list[SecurityEvent]) -> None:
        self.client = client
        self.kernel: Kernel = client.kernel
        self.db = client.db
        self.recorder = recorder
        self.heard = heard
        self.issuer = self.kernel.port(Issuer)
        self.linking = self.kernel.port(OAuth).linking

    async def person(self, password: str | None = None, *, verified: bool = True, role: str = "user") -> UserIdentity:
        email = f"{clock.new_id()}@example.com"
        return await create_user(self.db, email, password, role=role, email_verified=verified)

    async def row(self, user: UserIdentity) -> dict[str, Any]:
        row = await get_user_row(self.db, user.id)
        assert row is not None
        return row

    async def session(self, user: UserIdentity) -> SignedIn:
        return await self.issuer.start(self.db, await self.row(user), None)

    def identity(self, user: UserIdentity) -> ProviderIdentity:
        return ProviderIdentity("stub", "http://127.0.0.1:1", clock.new_id(), user.email, email_verified=True)

    @contextmanager
    def here(self, **known: Any) -> Any:
        """Code of the service, as in a request or a job."""
        with in_context(Context(kernel=self.kernel, address=ADDRESS, **known)):
            yield

    @contextmanager
    def broken_recorder(self) -> Any:
        self.recorder.is_broken = True
        try:
            yield
        finally:
            self.recorder.is_broken = False

    async def recorded(self) -> list[Recorded]:
        rows = await self.kernel.db.statements.fetch(_OUTBOX)
        return [orjson.loads(row[0]) for row in rows]

    async def names(self) -> list[str]:
        return [each["name"] for each in await self.recorded()]

    async def contents(self) -> dict[str, list[str]]:
        """Every row of every table of the features."""
        tables = sorted({table.name for feature in self.kernel.features for table in feature.tables})
        privileged = self.db.privileged
        return {
            table: sorted(str(dict(row)) for row in await privileged.execute(f"SELECT * FROM [{table}]"))
            for table in tables
            # When something was used last, and what waits its turn, is written beside.
            if not table.endswith("_uses")
        }


def _router() -> APIRouter:
    router = APIRouter()
    get_auth = create_combined_auth(get_db_connection, get_current_user)

    @router.get("/key", dependencies=[Depends(get_auth)])
    async def key() -> None:
        return None

    @router.post("/flags-by-key/{name}", dependencies=[Depends(get_auth)])
    async def set_by_key(name: str) -> None:
        await set_flag(_db(), name, enabled=True)

    return router


def _db() -> EntityStore:
    return current_kernel().db.connection()


async def _shut_out(payload: dict[str, str]) -> None:
    await deactivate_user(_db(), payload["user_id"])


@asynccontextmanager
async def running(database: str, *features: Feature, **settings: Any) -> AsyncIterator[World]:
    recorder, heard = Recorder(), list[SecurityEvent]()
    probe = Feature(
        name="probe",
        event_recorders={SecurityEvent: recorder},
        listeners={SecurityEvent: lambda _, event: heard.append(event)},
    )
    options = {
        "jwt_secret": SECRET,
        "allow_self_signup": True,
        "rate_limit_enabled": False,
        "saas_enabled": True,
        "oauth_providers": {"stub": {"issuer": "http://127.0.0.1:1", "client_id": "a", "client_secret": "b"}},
    }
    redis = redis_beside(database)
    config = ServiceConfig(**{**options, **redis, **settings})
    app = create_service(
        "events",
        config=config,
        features=[*FEATURES, *features, probe],
        routers=[_router()],
        tasks={"shut_out": _shut_out},
    )
    async with kernel_client(app, database=database, **redis) as client:
        yield World(client, recorder, heard)
