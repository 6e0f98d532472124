"""The outermost layer: ids, addresses, contexts and the access line."""

import re
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from app_kernel import FEATURES, Feature
from app_kernel.core.context import current_context
from app_kernel.core.events import RequestFinished
from app_kernel.core.transaction import OpenTransaction, enter_transaction, innermost_transaction
from app_kernel.request_log import ClientAddress
from tests.small_service import call, events, http_scope, log_lines, serving, small_app

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")

router = APIRouter(prefix="/things")


@router.get("/context")
async def show_context() -> dict[str, Any]:
    context = current_context()
    return {"request_id": context.request_id, "address": context.address, "actor": context.actor_id}


@router.get("/leak")
async def leak() -> dict[str, Any]:
    context = current_context()
    before = context.actor_id
    context.actor_id = context.workspace_id = "somebody"
    return {"before": before}


@router.get("/header")
async def header(value: str) -> Response:
    return PlainTextResponse("x", headers={"X-Echo": value})


@router.get("/items/{id}")
async def item(id: str) -> dict[str, str]:
    return {"id": id}


@pytest.mark.parametrize("wanted", ["a", "A-b_c.9", "x" * 64, "0190c0de-1111-7222-8333-444455556666"])
async def test_a_good_request_id_is_kept(wanted: str) -> None:
    async with serving(router) as client:
        answer = await client.get("/things/context", headers={"X-Request-ID": wanted})
    assert answer.headers["x-request-id"] == wanted
    assert answer.json()["request_id"] == wanted


@pytest.mark.acceptance("OP4")
@pytest.mark.parametrize(
    "wanted",
    [b"", b"x" * 65, b"x" * 5000, b"a b", b"a\r\nSet-Cookie: x=1", b"\x1b[31m", "a\u2028b".encode(), b'{"level":"x"}'],
)
async def test_a_bad_request_id_is_replaced(wanted: bytes) -> None:
    async with serving(router) as client:
        answer = await call(client.app, http_scope(headers=[(b"x-request-id", wanted)]))
    assert UUID.fullmatch(answer.header("x-request-id") or "")


async def test_every_answer_has_one_request_id_also_those_that_no_route_gives() -> None:
    async with serving(router) as client:
        for method, path in [("GET", "/nowhere"), ("PUT", "/things/context"), ("GET", "/healthz"), ("GET", "/docs")]:
            answer = await client.request(method, path)
            assert len(answer.headers.get_list("x-request-id")) == 1


async def test_nothing_that_one_request_sets_is_seen_by_the_next_one_of_the_same_task() -> None:
    async with serving(router) as client:
        for _ in range(2):
            answer = await call(client.app, http_scope(path="/things/leak"))
            assert answer.json() == {"before": None}


class LeftOpen(OpenTransaction):
    def after_commit(self, callback: Any) -> None:
        raise AssertionError("nobody commits it")


@pytest.mark.acceptance("DB12")
async def test_a_transaction_that_a_dependency_left_open_is_not_joined_by_the_next_request_of_the_same_task() -> None:
    async def leave_open() -> None:
        enter_transaction(LeftOpen(object(), None))

    left = APIRouter()

    @left.post("/left", dependencies=[Depends(leave_open)])
    async def is_inside() -> bool:
        return innermost_transaction() is not None

    @left.get("/left")
    async def is_still_inside() -> bool:
        return innermost_transaction() is not None

    async with serving(left) as client:
        assert (await call(client.app, http_scope("POST", "/left"))).json() is True
        assert innermost_transaction() is not None
        assert (await call(client.app, http_scope(path="/left"))).json() is False


async def test_the_access_line_says_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(router) as client:
        ada = await client.log_in_as("ada@example.com")
        capsys.readouterr()
        answer = await ada.get("/things/items/7?token=hunter2")
        lines = log_lines(capsys)
    assert len(lines) == 1
    line = lines[0]
    duration = line.pop("duration_ms")
    assert 0 < duration < 5000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", line.pop("timestamp"))
    assert line == {
        "level": "info",
        "event": "request",
        "logger": "app_kernel.request",
        "request_id": answer.headers["x-request-id"],
        "method": "GET",
        "path": "/things/items/7",
        "route": "/things/items/{id}",
        "status": 200,
        "bytes": len(answer.content),
        "address": "127.0.0.1",
        "user_id": ada.user.id,
    }


async def test_the_access_line_can_be_switched_off_by_the_log_level(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(router, log_level="WARNING") as client:
        await client.get("/things/context")
    assert log_lines(capsys) == []


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/api/things/items/1", "/api/things/items/{id}"),
        ("/own/5", "/own/{n}"),
        ("/plain/5", "/plain/{n}"),
        ("/files/a/b.txt", "/files/{path}"),
        ("/sub/deep/9", "/sub/deep/{n}"),
        ("/tenants/ten0/deep/9", "/tenants/{tenant}/deep/{n}"),
        ("/docs", "/docs"),
        ("/healthz", "/healthz"),
        ("/api/auth/me", "/api/auth/me"),
        ("/nowhere", ""),
    ],
)
async def test_the_route_is_its_template_with_every_prefix(
    path: str, template: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    app = small_app(router, api_prefix="/api")
    sub = FastAPI()

    @app.get("/own/{n}")
    @sub.get("/deep/{n}")
    async def own(n: str) -> str:
        return n

    async def plain(request: Any) -> Response:
        return PlainTextResponse("plain")

    app.add_route("/plain/{n}", plain)
    app.mount("/files", StaticFiles(directory=tmp_path))
    app.mount("/sub", sub)
    app.mount("/tenants/{tenant}", sub)
    async with app.router.lifespan_context(app):
        await call(app, http_scope(path=path))
    assert [line["route"] for line in events(log_lines(capsys), "request")] == [template]


async def test_a_client_that_leaves_before_the_answer_counts_as_499(capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[RequestFinished] = []
    probe = Feature(name="probe", listeners={RequestFinished: lambda kernel, event: heard.append(event)})
    async with serving(router, features=[*FEATURES, probe]) as client:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"100")]
        answer = await call(client.app, http_scope("POST", "/things/context", headers=headers), [])
    assert answer.status is None
    assert [event.status for event in heard] == [499]
    assert events(log_lines(capsys), "request")[-1]["status"] == 499


@pytest.mark.acceptance("OP4")
@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: admin=1", "a\nb", "a\rb", "a\0b"])
async def test_a_line_end_in_a_response_header_becomes_a_500_instead_of_another_header(value: str) -> None:
    async with serving(router) as client:
        answer = await client.get("/things/header", params={"value": value})
    assert answer.status_code == 500
    assert "set-cookie" not in answer.headers


async def test_a_response_object_that_is_used_again_does_not_collect_headers() -> None:
    shared = PlainTextResponse("x")
    again = APIRouter()

    @again.get("/again")
    async def same() -> Response:
        return shared

    async with serving(again) as client:
        first = await client.get("/again")
        second = await client.get("/again")
    assert len(first.headers.raw) == len(second.headers.raw)


NO_PROXY, ONE, NETWORK = [], ["10.0.0.1"], ["10.0.0.0/8", "fd00::/8"]


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "address"),
    [
        (NO_PROXY, "10.0.0.1", [], "10.0.0.1"),
        (NO_PROXY, "10.0.0.1", [b"203.0.113.9"], "10.0.0.1"),
        (ONE, "10.0.0.1", [b"203.0.113.9"], "203.0.113.9"),
        (ONE, "10.0.0.2", [b"203.0.113.9"], "10.0.0.2"),
        (ONE, "10.0.0.1", [b"1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        (ONE, "10.0.0.1", [b"1.1.1.1", b"203.0.113.9"], "203.0.113.9"),
        (NETWORK, "10.0.0.1", [b"1.1.1.1, 203.0.113.9, 10.2.3.4"], "203.0.113.9"),
        (NETWORK, "10.0.0.1", [b"10.9.9.9, 10.2.3.4"], "10.9.9.9"),
        (NETWORK, "10.0.0.1", [b"spoof, 10.2.3.4"], "10.2.3.4"),
        (NETWORK, "10.0.0.1", [b""], "10.0.0.1"),
        (NETWORK, "10.0.0.1", [b"203.0.113.9:4711"], "203.0.113.9"),
        (NETWORK, "fd00::1", [b"[2001:db8::7]:4711"], "2001:db8::7"),
        (NETWORK, "::ffff:10.0.0.1", [b"2001:db8::7"], "2001:db8::7"),
        (NETWORK, "10.0.0.1", [b"\xff\xfe, 203.0.113.9"], "203.0.113.9"),
        (ONE, None, [b"203.0.113.9"], None),
        (ONE, "testclient", [b"203.0.113.9"], "testclient"),
    ],
)
def test_the_address_is_the_last_that_no_trusted_proxy_has(
    trusted: list[str], peer: str | None, forwarded: list[bytes], address: str | None
) -> None:
    scope = http_scope(client=(peer, 1) if peer else None, headers=[(b"x-forwarded-for", value) for value in forwarded])
    assert ClientAddress(trusted).find(scope) == address


async def test_a_websocket_has_a_context_and_leaves_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    ws = APIRouter()

    @ws.websocket("/ws")
    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(str(current_context().request_id))
        await websocket.close()

    app = small_app(ws)
    sent: list[dict[str, Any]] = []
    scope = {**http_scope(path="/ws", headers=[(b"x-request-id", b"ws-1")]), "type": "websocket", "scheme": "ws"}

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    assert sent[1]["text"] == "ws-1"
    assert events(log_lines(capsys), "websocket")[0]["request_id"] == "ws-1"
