"""What a repeat gets: the same answer, or word that it is not a repeat."""

from datetime import timedelta

import httpx2
import pytest

from app_kernel.core import clock
from tests.idempotency.serving import Service, serving

ORDER = {"item": "gear"}


@pytest.mark.acceptance("RL4")
async def test_a_repeat_gets_the_same_bytes_and_status_and_runs_nothing(service: Service, token: str) -> None:
    first = await service.post("/orders", token, "k", json=ORDER)
    second = await service.post("/orders", token, "k", json=ORDER)
    assert (first.status_code, first.json()["number"]) == (201, 1)
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert second.headers["content-type"] == first.headers["content-type"]
    assert (second.headers["location"], second.headers["etag"]) == ("/orders/7", '"7"')
    assert (first.headers.get("idempotency-replayed"), second.headers["idempotency-replayed"]) == (None, "true")
    assert service.shop.ran["orders"] == 1


@pytest.mark.acceptance("RL4")
async def test_the_same_key_of_another_user_is_another_key(service: Service, token: str) -> None:
    other = "user:bob"
    first = await service.post("/orders", token, "k", json=ORDER)
    second = await service.post("/orders", other, "k", json=ORDER)
    assert first.json()["by"] != second.json()["by"]
    assert [first.json()["number"], second.json()["number"]] == [1, 2]


@pytest.mark.acceptance("RL4")
async def test_the_same_key_in_another_workspace_is_another_key(service: Service, token: str) -> None:
    numbers = [
        (await service.post(f"/workspaces/{workspace}/orders", token, "k")).json()["number"]
        for workspace in ("one", "two", "one")
    ]
    assert numbers == [1, 2, 1]
    for workspace, number in (("one", 1), ("two", 2), ("one", 1)):
        answer = await service.post("/orders", token, "h", json=ORDER, headers={"X-Workspace-ID": workspace})
        assert answer.json()["number"] == number


@pytest.mark.acceptance("RL4")
async def test_the_same_key_on_another_route_or_method_is_422(service: Service, token: str) -> None:
    await service.post("/orders", token, "k", json=ORDER)
    for method, path in (("POST", "/payments"), ("PUT", "/orders"), ("POST", "/orders?gift=1")):
        answer = await service.call(method, path, token, "k", json=ORDER)
        assert answer.status_code == 422, (method, path)
        assert "used for another request" in answer.json()["detail"]
    assert service.shop.ran == {"orders": 1}


@pytest.mark.acceptance("RL4")
async def test_the_same_key_with_another_body_is_422(service: Service, token: str) -> None:
    await service.post("/orders", token, "k", json=ORDER)
    answer = await service.post("/orders", token, "k", json={"item": "wheel"})
    assert answer.status_code == 422
    assert (await service.post("/orders", token, "k", json=ORDER)).json()["number"] == 1
    assert service.shop.ran["orders"] == 1


@pytest.mark.acceptance("RL4")
async def test_the_key_of_an_anonymous_caller_is_ignored(service: Service) -> None:
    numbers = [(await service.post("/open", None, "k")).json()["number"] for _ in range(2)]
    assert numbers == [1, 2]
    assert await service.keys() == []


async def test_an_api_key_that_the_route_accepted_has_keys_of_its_own(service: Service) -> None:
    numbers = [(await service.post("/machine", of, "k")).json()["number"] for of in ("sk_good", "sk_other", "sk_good")]
    assert numbers == [1, 2, 1]


async def test_every_method_that_writes_takes_a_key(service: Service, token: str) -> None:
    for number, method in enumerate(("PUT", "PATCH", "DELETE"), 1):
        for _ in range(2):
            assert (await service.call(method, "/orders", token, method, json=ORDER)).json()["number"] == number


async def test_a_key_on_a_read_is_ignored(service: Service, token: str) -> None:
    times = [(await service.call("GET", "/orders", token, "k")).json()["times"] for _ in range(2)]
    assert times == [1, 2]


async def test_a_key_that_is_no_key_is_400(service: Service, token: str) -> None:
    for key in ("", " ", "a b", "x" * 256, "tab\there", b"\xc3\xa9"):
        answer = await service.post("/orders", token, json=ORDER, headers={"Idempotency-Key": key})
        assert answer.status_code == 400, key
    assert service.shop.ran["orders"] == 0


async def test_two_keys_are_400(service: Service, token: str) -> None:
    headers = [("Authorization", f"Bearer {token}"), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    transport = httpx2.ASGITransport(app=service.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
        answer = await client.post("/orders", json=ORDER, headers=headers)
    assert answer.status_code == 400


async def test_a_key_of_the_draft_spelling_and_of_the_longest_length_is_taken(service: Service, token: str) -> None:
    for key in ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "x" * 255):
        first = await service.post("/payments", token, key)
        assert (await service.post("/payments", token, key)).content == first.content


async def test_a_plain_function_runs_once_too(service: Service, token: str) -> None:
    for _ in range(2):
        assert (await service.post("/plain-function", token, "k")).json() == {"number": 1}


async def test_an_empty_answer_is_kept(service: Service, token: str) -> None:
    for _ in range(2):
        answer = await service.post("/empty", token, "k")
        assert (answer.status_code, answer.content) == (204, b"")
    assert service.shop.ran["empty"] == 1


async def test_a_form_sent_again_with_another_boundary_is_the_same_request(service: Service, token: str) -> None:
    answers = [
        await service.post("/upload", token, "k", files={"file": ("a.txt", text)}) for text in (b"one", b"one", b"two")
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 422]
    sent = {answer.request.headers["content-type"] for answer in answers}
    assert len(sent) == 3


async def test_a_request_that_is_refused_before_its_handler_uses_no_key_up(service: Service, token: str) -> None:
    assert (await service.post("/orders", token, "k", json={"count": 2})).status_code == 422
    assert (await service.post("/orders", "nonsense", "k", json=ORDER)).status_code == 401
    assert await service.keys() == []
    assert (await service.post("/orders", token, "k", json=ORDER)).status_code == 201


async def test_a_refusal_of_the_handler_is_an_answer_like_any_other(service: Service, token: str) -> None:
    first = await service.post("/teapot", token, "k")
    second = await service.post("/teapot", token, "k")
    assert (first.status_code, second.status_code) == (418, 418)
    assert second.content == first.content
    assert service.shop.ran["teapot"] == 1


async def test_an_answer_is_kept_as_long_as_the_setting_says_and_then_pruned(service: Service, token: str) -> None:
    with clock.frozen() as frozen:
        await service.post("/payments", token, "old")
        await service.post("/payments", token, "k")
        frozen.advance(timedelta(hours=23, minutes=59).total_seconds())
        assert (await service.post("/payments", token, "k")).json() == {"number": 2}
        frozen.advance(120)
        assert (await service.post("/payments", token, "k")).json() == {"number": 3}
        await service.post("/payments", token, "new")
        assert len(await service.keys()) == 2


async def test_a_service_without_a_secret_keeps_answers_too(url: str, token: str) -> None:
    async with serving(url, jwt_secret=None) as service:
        answers = [await service.post("/orders", token, "k", json=ORDER) for _ in range(2)]
        assert answers[0].content == answers[1].content
        assert service.shop.ran["orders"] == 1
