"""A shop whose routes count how often they run, on a fresh database of each backend, and customers with tokens."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx2
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel
from starlette.types import Scope

from app_kernel import (
    FEATURES,
    Feature,
    UserIdentity,
    create_service,
    get_current_user,
    get_current_user_optional,
    require_role,
)
from app_kernel.api_keys import Auth, require_scope
from app_kernel.auth import create_user
from app_kernel.core.config import ServiceConfig
from app_kernel.core.context import current_context
from app_kernel.core.errors import InvalidToken, NotAuthenticated, RateLimited
from app_kernel.core.exchange import exchange_of
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import EntityStore
from app_kernel.db import db_connection
from app_kernel.idempotency import idempotent
from app_kernel.idempotency.tables import KEYS
from tests.redis_beside import redis_beside

SECRET = "a-secret-of-the-idempotency-tests-0123456789"
PASSWORD = "plum tree over water"

User = Annotated[UserIdentity, Depends(get_current_user)]
Db = Annotated[EntityStore, Depends(db_connection)]


class Order(BaseModel):
    """What is ordered."""

    item: str
    count: int = 1


class Shop:
    """What the routes did, and what they are told to do."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()
        self.keys = {"sk_good": "key-1", "sk_other": "key-2"}
        self.entered = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.after = ""

    async def owner(self, request: Request) -> None:
        """Accepts an API key as the feature does: it says in the context which one it was."""
        key_id = self.keys.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if key_id is None:
            raise NotAuthenticated
        current_context().api_key_id = key_id

    async def wait(self) -> None:
        """Stays in the handler until the test says so."""
        self.entered.set()
        async with asyncio.timeout(30):  # for a request that should not have come so far
            await self.may_go_on.wait()


def plain_routes(shop: Shop) -> APIRouter:  # noqa: C901 - one small function a route
    """Handlers without a transaction of their own."""
    router = APIRouter()

    @router.api_route("/orders", methods=["POST", "PUT", "PATCH", "DELETE"], status_code=201)
    async def order(order: Order, user: User, response: Response) -> dict[str, Any]:
        shop.ran["orders"] += 1
        response.headers.update({"Location": "/orders/7", "ETag": '"7"', "X-Request-ID": "first", "X-Own": "yes"})
        response.set_cookie("basket", "secret-cookie")
        return {"number": shop.ran["orders"], "item": order.item, "by": user.id}

    @router.get("/orders")
    async def orders(user: User) -> dict[str, int]:
        shop.ran["list"] += 1
        return {"times": shop.ran["list"]}

    @router.post("/payments")
    async def pay(user: User) -> dict[str, int]:
        shop.ran["payments"] += 1
        return {"number": shop.ran["payments"]}

    @router.post("/plain-function")
    def plain_function(user: User) -> dict[str, int]:
        shop.ran["plain-function"] += 1
        return {"number": shop.ran["plain-function"]}

    @router.post("/open")
    async def open_to_all(user: Annotated[UserIdentity | None, Depends(get_current_user_optional)]) -> dict[str, int]:
        shop.ran["open"] += 1
        return {"number": shop.ran["open"]}

    @router.post("/admin", dependencies=[Depends(require_role("admin"))])
    async def admin() -> dict[str, int]:
        shop.ran["admin"] += 1
        return {"number": shop.ran["admin"]}

    @router.post("/machine", dependencies=[Depends(shop.owner)])
    async def machine() -> dict[str, int]:
        shop.ran["machine"] += 1
        return {"number": shop.ran["machine"]}

    @router.post("/deployments")
    async def deploy(auth: Annotated[Auth, Depends(require_scope("deployments:write"))]) -> dict[str, Any]:
        shop.ran["deployments"] += 1
        return {"number": shop.ran["deployments"], "by": auth.user_id}

    @router.post("/workspaces/{workspace_id}/orders")
    async def order_in(workspace_id: str, user: User) -> dict[str, int]:
        shop.ran["workspace"] += 1
        return {"number": shop.ran["workspace"]}

    @router.post("/upload")
    async def upload(request: Request, user: User) -> dict[str, Any]:
        shop.ran["upload"] += 1
        async with request.form() as form:
            return {"number": shop.ran["upload"], "fields": sorted(form)}

    @router.post("/slow")
    async def slow(user: User) -> dict[str, int]:
        shop.ran["slow"] += 1
        await shop.wait()
        return {"number": shop.ran["slow"]}

    return router


def odd_routes(shop: Shop) -> APIRouter:  # noqa: C901 - one small function a route
    """Handlers whose answers are not simply kept."""
    router = APIRouter()

    @router.post("/broken")
    async def broken(user: User) -> None:
        shop.ran["broken"] += 1
        raise RuntimeError("the disk of the shop is full")

    @router.post("/crowded")
    async def crowded(user: User) -> None:
        shop.ran["crowded"] += 1
        raise RateLimited(1)

    @router.post("/teapot")
    async def teapot(user: User) -> None:
        shop.ran["teapot"] += 1
        raise HTTPException(418, f"tea number {shop.ran['teapot']}")

    @router.post("/stream")
    async def stream(user: User) -> StreamingResponse:
        shop.ran["stream"] += 1

        async def chunks() -> AsyncIterator[bytes]:
            yield b"one "
            yield b"two"

        return StreamingResponse(chunks())

    @router.post("/torn-stream")
    async def torn_stream(user: User) -> StreamingResponse:
        shop.ran["torn-stream"] += 1

        async def chunks() -> AsyncIterator[bytes]:
            yield b"one "
            raise RuntimeError("the line is cut")

        return StreamingResponse(chunks())

    @router.post("/generator")
    async def generator(user: User) -> AsyncIterator[dict[str, int]]:
        shop.ran["generator"] += 1
        yield {"number": 1}

    @router.post("/large")
    async def large(user: User, size: int) -> PlainTextResponse:
        shop.ran["large"] += 1
        return PlainTextResponse("x" * size)

    @router.post("/secret")
    async def secret(user: User) -> JSONResponse:
        shop.ran["secret"] += 1
        return JSONResponse({"token": "once-only"}, headers={"Cache-Control": "private, no-store"})

    @router.post("/secret-by-exchange")
    async def secret_by_exchange(request: Request, user: User) -> dict[str, str]:
        shop.ran["secret-by-exchange"] += 1
        exchange_of(request.scope).extra_headers.append((b"cache-control", b"no-store"))
        return {"token": "once-only"}

    @router.post("/empty", status_code=204)
    async def empty(user: User) -> None:
        shop.ran["empty"] += 1

    return router


def one_commit_routes(shop: Shop) -> APIRouter:  # noqa: C901 - one small function a route
    """Handlers that are one transaction with their answer."""
    router = APIRouter(prefix="/once")

    @router.post("", status_code=201)
    @idempotent
    async def once(order: Order, db: Db, user: User) -> dict[str, Any]:
        shop.ran["once"] += 1
        return await db.save_entity("orders", order.model_dump())

    @router.post("/then")
    @idempotent
    async def once_then(order: Order, db: Db, user: User, response: Response) -> Any:  # noqa: C901 - one line a way
        shop.ran["then"] += 1
        await db.save_entity("orders", order.model_dump())
        match shop.after:
            case "raise":
                raise RuntimeError("after the row")
            case "refuse":
                raise HTTPException(409, "sold out")
            case "answer 503":
                return JSONResponse({"try": "later"}, 503)
            case "say 503":
                response.status_code = 503
            case "answer 429":
                return JSONResponse({"try": "later"}, 429, {"Retry-After": "1"})
            case "raise 429":
                raise RateLimited(1)
            case "raise 409 for now":
                raise HTTPException(409, "somebody else is at it", {"Retry-After": "1"})
            case "stream 503":
                return StreamingResponse(iter([b"one ", b"two"]), 503)
            case "stream":
                return StreamingResponse(iter([b"one ", b"two"]))
            case "wait":
                await shop.wait()
            case "unserialisable":
                return {"value": object()}
        return {"number": shop.ran["then"]}

    @router.post("/valid")
    @idempotent
    async def once_valid(order: Order, db: Db, user: User) -> Order:
        shop.ran["valid"] += 1
        await db.save_entity("orders", order.model_dump())
        return {"item": None} if shop.after == "answer nonsense" else order  # type: ignore[return-value]

    @router.get("/read")
    @idempotent
    async def once_read(db: Db, user: Annotated[UserIdentity | None, Depends(get_current_user_optional)]) -> Any:
        await db.save_entity("orders", {"item": "gear"})
        return JSONResponse({}, 503) if shop.after == "answer 503" else {}

    return router


class Service:
    """A running shop."""

    def __init__(self, app: FastAPI, shop: Shop) -> None:
        self.app = app
        self.shop = shop
        self.kernel = app.state.kernel
        self.db = self.kernel.db.connection()

    async def token(self, email: str, role: str = "user") -> str:
        """An access token of a new account; only of a shop with real accounts."""
        await create_user(self.db, email, PASSWORD, role=role)
        answer = await self.post("/auth/login", json={"email": email, "password": PASSWORD})
        return str(answer.json()["access_token"])

    async def call(
        self, method: str, path: str, token: str | None = None, key: str | None = None, **options: Any
    ) -> httpx2.Response:
        """One request."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= {"Idempotency-Key": key} if key is not None else {}
        headers |= options.pop("headers", {})
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, headers=headers, **options)

    async def post(
        self, path: str, token: str | None = None, key: str | None = None, **options: Any
    ) -> httpx2.Response:
        """One POST."""
        return await self.call("POST", path, token, key, **options)

    async def keys(self) -> list[dict[str, Any]]:
        """What the table has."""
        return await self.db.privileged.find_entities(KEYS)


async def believe(kernel: Kernel, scope: Scope) -> UserIdentity | None:
    """Takes the caller's word for who they are: `Bearer user:ada` is Ada. Hashing passwords would take too long."""
    given = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
    if given.startswith("user:"):
        name = given.removeprefix("user:")
        return UserIdentity(name, f"{name}@example.com")
    if given:
        raise InvalidToken
    return None


@asynccontextmanager
async def serving(url: str, *, accounts: bool = False, **settings: Any) -> AsyncIterator[Service]:
    """A shop on this database, with real accounts or one that believes its callers."""
    shop = Shop()
    given = {
        "jwt_secret": SECRET,
        "database_name": url,
        "embedded_worker": False,
        "rate_limit_enabled": False,
        **redis_beside(url),
        **settings,
    }
    routers = [plain_routes(shop), odd_routes(shop), one_commit_routes(shop)]
    features = FEATURES if accounts else [*FEATURES, Feature(name="believing", authenticator=believe)]
    config = ServiceConfig(**given, auth_enabled=accounts)
    app = create_service("idempotency_tests", config=config, routers=routers, features=features)
    async with app.router.lifespan_context(app):
        yield Service(app, shop)
