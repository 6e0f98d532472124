"""Who acts: the user in context, from the one authenticator."""

from typing import Any

import pytest
from fastapi import APIRouter, Depends, WebSocket
from starlette.types import Scope

from app_kernel import (
    FEATURES,
    Feature,
    UserIdentity,
    api_keys,
    auth,
    get_current_user,
    get_current_user_optional,
    require_admin,
    require_role,
)
from app_kernel.core.context import current_context
from app_kernel.core.errors import InvalidToken, Unavailable
from app_kernel.core.kernel import Kernel
from app_kernel.db import db_connection
from tests.small_service import events, http_scope, log_lines, serving

ADA = UserIdentity("u-1", "ada@example.com", "editor")

require_editor = require_role("editor", "admin")

router = APIRouter()


@router.get("/public")
async def public(db: Any = Depends(db_connection)) -> Any:
    saved = await db.save_entity("visits", {"n": 1})
    return {"actor": current_context().actor_id, "created_by": saved["created_by"]}


@router.get("/user")
async def user(user: UserIdentity = Depends(get_current_user)) -> Any:
    return user.id


@router.get("/optional")
async def optional(user: UserIdentity | None = Depends(get_current_user_optional)) -> Any:
    return user and user.id


@router.get("/admin")
async def admin(user: UserIdentity = Depends(require_admin)) -> Any:
    return user.id


@router.get("/editors")
async def editors(user: UserIdentity = Depends(require_editor)) -> Any:
    return user.id


async def authenticate(kernel: Kernel, scope: Scope) -> UserIdentity | None:
    match dict(scope["headers"]).get(b"authorization"):
        case None:
            return None
        case b"Bearer good":
            return ADA
        case b"Bearer down":
            raise Unavailable("the database at /srv/x is down")
        case b"Bearer bug":
            raise ZeroDivisionError
        case _:
            raise InvalidToken("The token has expired.")


# API keys belong to accounts, so they go with them.
WITHOUT_ACCOUNTS = [feature for feature in FEATURES if feature not in (auth.create_feature, api_keys.create_feature)]
STAND_IN = [*WITHOUT_ACCOUNTS, Feature(name="stand_in", authenticator=authenticate)]


async def get(path: str, token: str | None) -> Any:
    async with serving(router, features=STAND_IN) as client:
        return await client.get(path, headers={"Authorization": f"Bearer {token}"} if token else {})


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("/public", None, 200),
        ("/public", "good", 200),
        ("/public", "expired", 200),
        ("/public", "down", 200),
        ("/public", "bug", 500),
        ("/user", None, 401),
        ("/user", "good", 200),
        ("/user", "expired", 401),
        ("/user", "down", 503),
        ("/optional", None, 200),
        ("/optional", "expired", 200),
        ("/optional", "down", 503),
        ("/admin", "good", 403),
        ("/admin", None, 401),
        ("/editors", "good", 200),
        ("/healthz", "down", 200),
    ],
)
async def test_a_token_fails_only_the_routes_that_ask(path: str, token: str | None, status: int) -> None:
    assert (await get(path, token)).status_code == status


async def test_a_good_token_sets_the_actor_of_rows_also_where_nobody_asks() -> None:
    assert (await get("/public", "good")).json() == {"actor": "u-1", "created_by": "u-1"}
    assert (await get("/public", "expired")).json() == {"actor": None, "created_by": None}


async def test_a_refused_token_says_so_as_rfc_6750_asks() -> None:
    missing, refused = await get("/user", None), await get("/user", "expired")
    assert missing.headers["www-authenticate"] == "Bearer"
    assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert refused.json()["detail"] == "The token has expired."


async def test_the_reason_why_nobody_can_tell_stays_in_the_log() -> None:
    assert "/srv/x" not in (await get("/user", "down")).text


async def test_the_log_knows_the_user(capsys: pytest.CaptureFixture[str]) -> None:
    await get("/user", "good")
    assert events(log_lines(capsys), "request")[0]["user_id"] == "u-1"


@pytest.mark.acceptance("AZ3")
@pytest.mark.parametrize("path", ["/user", "/admin", "/editors"])
async def test_without_an_authenticator_nobody_is_let_in(path: str) -> None:
    async with serving(router, auth_enabled=False) as client:
        answer = await client.get(path, headers={"Authorization": "Bearer good"})
        optional = await client.get("/optional", headers={"Authorization": "Bearer good"})
    assert answer.status_code == 401
    assert optional.json() is None


async def test_a_user_is_not_remembered_for_the_next_request() -> None:
    async with serving(router, features=STAND_IN) as client:
        assert (await client.get("/user", headers={"Authorization": "Bearer good"})).status_code == 200
        assert (await client.get("/user")).status_code == 401


async def test_a_websocket_asks_for_its_user_as_a_route_does() -> None:
    ws = APIRouter()

    @ws.websocket("/ws")
    async def hello(websocket: WebSocket, user: UserIdentity | None = Depends(get_current_user_optional)) -> None:
        await websocket.accept()
        await websocket.send_text(user.id if user else "nobody")
        await websocket.close()

    ada = Feature(name="ada", authenticator=always_ada)
    features = [*WITHOUT_ACCOUNTS, ada]
    async with serving(ws, features=features) as client:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await client.app({**http_scope(path="/ws"), "type": "websocket"}, receive, send)
    assert [message.get("text") for message in sent if message["type"] == "websocket.send"] == [ADA.id]


async def always_ada(kernel: Kernel, scope: Scope) -> UserIdentity | None:
    return ADA
