"""How a request shows its credential, and what the route gets."""

from contextlib import asynccontextmanager

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient

from app_kernel import ServiceConfig, UserIdentity, create_service, get_current_user
from app_kernel.api_keys import Auth, create_api_key, create_combined_auth, require_scope
from app_kernel.core.context import Context, actor_id, current_context, in_context
from app_kernel.core.errors import ConfigurationError, InvalidToken, NoRunningKernel
from app_kernel.db import connect, get_db_connection
from app_kernel.rate_limit import no_rate_limit
from tests.api_keys.serving import get_auth, may_deploy, serving
from tests.small_service import SECRET

CONTRACT = """
# Create key (returns plaintext only once)
from app_kernel.api_keys import create_api_key

key = await create_api_key(db, user_id, workspace_id,
    name="CI/CD Pipeline",
    scopes=["deployments:write"],
    expires_in_days=90,
)
# key = {"id": "...", "key": "sk_live_a1b2c3...", ...}
"""

CONTRACT_ROUTE = """
# In routes - accept API key OR JWT
from app_kernel.api_keys import create_combined_auth

get_auth = create_combined_auth(get_db_connection, get_current_user)

@router.post("/deployments")
async def deploy(auth=Depends(get_auth)):
    # auth.type = "api_key" or "user"
    # auth.has_scope("deployments:write")
"""


async def test_the_contracts_snippets_work_as_written(database):
    router = APIRouter(prefix="/contract")
    names = {"router": router, "Depends": Depends}
    names |= {"get_db_connection": get_db_connection, "get_current_user": get_current_user}
    body = '    return [auth.type, auth.has_scope("deployments:write"), auth.has_scope("other:read")]\n'
    exec(CONTRACT_ROUTE + body, names)
    async with serving(database, routers=[router]) as service:
        ada = await service.user()
        service.workspaces.members["w1", ada.id] = "owner"
        code = "async def make(db, user_id, workspace_id):\n"
        code += "".join(f"    {line}\n" for line in CONTRACT.splitlines()) + "    return key\n"
        exec(code, names)
        key = await names["make"](service.db, ada.id, "w1")
        assert key["key"].startswith("sk_live_")
        by_key = await service.call("POST", "/contract/deployments", key["key"])
        assert by_key.json() == ["api_key", True, False]
        by_user = await service.call("POST", "/contract/deployments", await service.token())
        assert by_user.json() == ["user", True, True]


async def test_a_key_comes_as_a_bearer_token_or_in_a_header_of_its_own(small_service):
    service = small_service
    ada = await service.user()
    key = (await create_api_key(service.db, ada.id, name="CI"))["key"]
    for fields in (
        [("Authorization", f"Bearer {key}")],
        [("authorization", f"bearer   {key} ")],
        [("X-API-Key", key)],
        [("x-api-key", f" {key} ")],
    ):
        answer = await service.call("GET", "/whoami", headers=fields)
        assert (answer.status_code, answer.json()["type"]) == (200, "api_key"), fields


async def test_two_credentials_are_refused_whatever_they_are(small_service):
    service = small_service
    ada = await service.user()
    key = (await create_api_key(service.db, ada.id, name="CI"))["key"]
    token = await service.token()
    bearer, of_user, own = ("Authorization", f"Bearer {key}"), ("Authorization", f"Bearer {token}"), ("X-API-Key", key)
    for fields in ([bearer, own], [of_user, own], [bearer, bearer], [of_user, bearer], [bearer, of_user], [own, own]):
        assert (await service.call("GET", "/whoami", headers=fields)).status_code == 401, fields


async def test_a_key_beside_a_signed_in_browser_is_refused(small_service):
    service = small_service
    ada = await service.user()
    key = await create_api_key(service.db, ada.id, name="CI")
    scope = {"type": "http", "headers": [(b"x-api-key", key["key"].encode())], "endpoint": None}
    with in_context(Context(kernel=service.kernel)):
        current_context().user = UserIdentity("somebody", "else@example.com")
        with pytest.raises(InvalidToken, match="more than one"):
            await get_auth(HTTPConnection(scope))


async def test_without_a_credential_that_is_accepted_the_answer_is_401(small_service):
    for credential in ("", "Basic YTpi", "Bearer", "Bearer ", "Bearer sk_live_", "sk_live_x"):
        headers = [("Authorization", credential)] if credential else []
        for path, method in (("/whoami", "GET"), ("/deployments", "POST")):
            answer = await small_service.call(method, path, headers=headers)
            assert answer.status_code == 401, credential
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"


async def test_keys_and_users_reach_a_route_that_asks_for_a_scope_if_they_have_it(service):
    ada = await service.user()
    good = await create_api_key(service.db, ada.id, name="good", scopes=["deployments:*"])
    bad = await create_api_key(service.db, ada.id, name="bad", scopes=["deployments:read"])
    assert (await service.call("POST", "/deployments", good["key"])).json()["by"] == "api_key"
    assert (await service.call("POST", "/deployments", await service.token())).json()["by"] == "user"
    refused = await service.call("POST", "/deployments", bad["key"])
    assert refused.status_code == 403
    assert "deployments:write" in refused.json()["detail"]
    assert refused.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="deployments:write"'


async def test_users_have_the_scopes_of_their_role():
    async with serving("sqlite://:memory:", role_scopes={"viewer": ["reports:*"], "nobody": []}) as service:
        for role, status in (("user", 200), ("admin", 200), ("viewer", 403), ("nobody", 403)):
            await service.user(f"{role}@example.com", role)
            token = await service.token(f"{role}@example.com")
            assert (await service.call("POST", "/deployments", token)).status_code == status, role
            said = (await service.call("GET", "/whoami", token)).json()
            assert said["administers"] == (role == "admin")


async def test_settings_with_scopes_that_are_none_do_not_start():
    with pytest.raises(ConfigurationError, match="ROLE_SCOPES"):
        create_service("keys", config=ServiceConfig(jwt_secret=SECRET, role_scopes={"user": ["admin:read"]}))


async def test_in_an_app_that_is_no_service_no_key_is_accepted_and_nobody_becomes_the_actor(small_service):
    service = small_service
    ada = await service.user()
    key = await create_api_key(service.db, ada.id, name="CI")
    bare = FastAPI()

    @bare.get("/who")
    async def who(auth: Auth = Depends(get_auth)) -> str:
        return auth.user_id

    transport = httpx2.ASGITransport(app=bare)
    async with httpx2.AsyncClient(transport=transport, base_url="http://bare") as client:
        with pytest.raises(NoRunningKernel):
            await client.get("/who", headers={"X-API-Key": key["key"]})
    assert current_context().actor_id is None


@pytest.mark.parametrize("scope", ["", "*", "a b", "a::b"])
def test_a_route_cannot_ask_for_what_is_no_scope(scope):
    with pytest.raises(ValueError, match="no scope"):
        require_scope(scope)


async def test_the_context_says_whose_key_it_is_and_for_which_workspace():
    router = APIRouter()

    @router.get("/context")
    async def context(auth: Auth = Depends(get_auth), again: Auth = Depends(may_deploy)) -> list[object]:
        here = current_context()
        return [
            actor_id(),
            here.api_key_id,
            here.workspace_id,
            auth.workspace_id,
            auth.user.workspace_id,
            auth == again,
        ]

    async with serving("sqlite://:memory:", routers=[router], rate_limit_requests=3) as service:
        ada = await service.user()
        service.workspaces.members["w1", ada.id] = "member"
        key = await create_api_key(service.db, ada.id, "w1", name="CI")
        for left in (2, 1, 0):
            answer = await service.call("GET", "/context", key["key"])
            assert answer.json() == [ada.id, key["id"], "w1", "w1", "w1", True]
            # Two dependencies of one route count once, under the owner.
            assert f"r={left};" in answer.headers["ratelimit"]
        limited = await service.call("GET", "/context", key["key"])
        assert (limited.status_code, int(limited.headers["retry-after"]) > 0) == (429, True)
        other = await create_api_key(service.db, ada.id, name="another key of the same owner")
        assert await service.status(other["key"]) == 429


async def test_a_route_without_a_limit_has_none_for_keys_either():
    router = APIRouter()

    @router.get("/free")
    @no_rate_limit
    async def free(auth: Auth = Depends(get_auth)) -> str:
        return auth.type

    async with serving("sqlite://:memory:", routers=[router], rate_limit_requests=1) as service:
        ada = await service.user()
        key = await create_api_key(service.db, ada.id, name="CI")
        assert [await service.status(key["key"], "/free") for _ in range(3)] == [200] * 3


async def test_the_callables_that_are_passed_are_the_ones_that_are_asked(tmp_path):
    asked = []
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere.db'}"

    @asynccontextmanager
    async def open_elsewhere():
        asked.append("database")
        async with connect(elsewhere) as db:
            yield db

    def somebody(request):
        asked.append(request.headers["x-name"])
        return UserIdentity("u1", "u1@example.com", is_active=request.headers["x-name"] != "inactive")

    router = APIRouter()

    @router.get("/elsewhere")
    async def route(auth: Auth = Depends(create_combined_auth(open_elsewhere, somebody))) -> list[str]:  # noqa: B008
        return [auth.type, auth.user_id]

    async with serving("sqlite://:memory:", routers=[router]) as service:
        ada = await service.user()
        here = await create_api_key(service.db, ada.id, name="kept here")
        assert await service.status(here["key"]) == 200
        assert await service.status(here["key"], "/elsewhere") == 401
        assert asked == ["database"]
        named = [("X-Name", "me")]
        assert (await service.call("GET", "/elsewhere", headers=named)).json() == ["user", "u1"]
        assert (await service.call("GET", "/elsewhere", headers=[("X-Name", "inactive")])).status_code == 401


async def test_without_accounts_there_are_no_keys(tmp_path):
    router = APIRouter()

    @router.get("/who")
    async def who(auth: Auth = Depends(get_auth)) -> str:
        return auth.type

    config = ServiceConfig(auth_enabled=False, database_name="sqlite://:memory:")
    app = create_service("open", config=config, routers=[router])
    with TestClient(app) as client:
        key = "sk_live_" + "a" * 50
        assert client.get("/who", headers={"X-API-Key": key}).status_code == 401
        assert client.get("/who").status_code == 401
        assert client.get("/api-keys").status_code == 404


async def test_a_websocket_takes_a_key_too(tmp_path):
    router = APIRouter()

    @router.websocket("/live")
    async def live(socket: WebSocket, auth: Auth = Depends(get_auth)) -> None:
        await socket.accept()
        await socket.send_json([auth.type, auth.user_id])
        await socket.close()

    async with serving(f"sqlite:///{tmp_path / 'app.db'}", routers=[router]) as service:
        ada = await service.user()
        key = await create_api_key(service.db, ada.id, name="CI")
        sent = []

        async def receive():
            return {"type": "websocket.connect"}

        async def send(message):
            sent.append(message)

        scope = {
            "type": "websocket",
            "path": "/live",
            "raw_path": b"/live",
            "query_string": b"",
            "root_path": "",
            "scheme": "ws",
            "headers": [(b"x-api-key", key["key"].encode())],
            "client": ("192.0.2.1", 1),
            "server": ("service", 80),
            "subprotocols": [],
            "state": {},
        }
        await service.app(scope, receive, send)
        assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
        assert ada.id in sent[1]["text"]


async def test_the_document_shows_how_to_send_a_key(small_service):
    document = (await small_service.call("GET", "/openapi.json")).json()
    scheme = document["components"]["securitySchemes"]["user_or_api_key"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert "X-API-Key" in scheme["description"]
    assert document["components"]["securitySchemes"]["api_key"]["name"] == "X-API-Key"
    by_key = [{"user_or_api_key": []}, {"api_key": []}, {"session_cookie": []}]
    assert document["paths"]["/whoami"]["get"]["security"] == by_key
    by_user = [{"user": []}, {"bearer": []}, {"session_cookie": [], "csrf_token": []}]
    assert document["paths"]["/api-keys"]["post"]["security"] == by_user
    assert "key_hash" not in str(document)
