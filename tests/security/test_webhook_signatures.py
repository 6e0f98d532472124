"""What is sent verifies with another implementation of Standard Webhooks, and nothing else is accepted."""

import base64
import hmac
import json
import os
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import APIRouter, Depends, Request
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.datastructures import Headers

from app_kernel import webhooks
from app_kernel.core import clock
from app_kernel.core.errors import InvalidSignature, InvalidWebhook, SealBroken
from app_kernel.encryption import KeyRing
from app_kernel.testing import kernel_client
from app_kernel.webhooks import WebhookEvent, create_webhook, require_webhook, trigger_webhook_event, verify_webhook
from app_kernel.webhooks.sealing import signing_keys
from app_kernel.webhooks.signing import headers_for, key_of, make_secret
from tests.webhooks.serving import URL, make_app, serving

SECRET, OTHER = make_secret(), make_secret()
BODY = json.dumps({"type": "a.b", "timestamp": "2026-01-01T00:00:00Z", "data": {"name": "Zoë"}}).encode()


def signed(*secrets: str, at: float | None = None, body: bytes = BODY, event_id: str = "evt_1") -> dict[str, str]:
    return headers_for([key_of(secret) for secret in secrets], event_id, int(at or clock.epoch()), body)


def accepts(headers: Any, body: bytes | str = BODY, secrets: Any = SECRET, **options: Any) -> bool:
    try:
        verify_webhook(secrets, headers, body, **options)
    except InvalidSignature:
        return False
    return True


def oracle_accepts(headers: dict[str, str], body: bytes = BODY, secret: str = SECRET) -> bool:
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


@pytest.mark.acceptance("WH2")
def test_both_implementations_accept_what_the_other_one_signs():
    headers = signed(SECRET)
    assert Webhook(SECRET).verify(BODY, headers) == json.loads(BODY)
    theirs = {**headers, "webhook-signature": Webhook(SECRET).sign("evt_1", datetime.now(tz=UTC), BODY.decode())}
    theirs["webhook-timestamp"] = str(int(time.time()))
    event = verify_webhook(SECRET, theirs, BODY)
    assert (event.id, event.type, event.data) == ("evt_1", "a.b", {"name": "Zoë"})
    expected = hmac.new(
        base64.b64decode(SECRET[6:]), f"evt_1.{headers['webhook-timestamp']}.".encode() + BODY, "sha256"
    )
    assert headers["webhook-signature"] == "v1," + base64.b64encode(expected.digest()).decode()


@pytest.mark.acceptance("WH2")
def test_whatever_is_altered_is_refused_as_the_other_implementation_refuses_it():
    good = signed(SECRET)
    stamp, signature = good["webhook-timestamp"], good["webhook-signature"]
    now = int(clock.epoch())
    altered: list[tuple[dict[str, str], bytes]] = [
        (good, BODY + b" "),
        (good, BODY[:-1]),
        (good, b""),
        ({**good, "webhook-id": "evt_2"}, BODY),
        ({**good, "webhook-timestamp": str(int(stamp) + 1)}, BODY),
        ({**good, "webhook-timestamp": str(int(stamp) - 1)}, BODY),
        ({**good, "webhook-signature": signed(OTHER)["webhook-signature"]}, BODY),
        ({**good, "webhook-signature": signature.replace("v1,", "v2,")}, BODY),
        ({**good, "webhook-signature": "v1," + base64.b64encode(bytes(32)).decode()}, BODY),
        (signed(SECRET, at=now - 301), BODY),
        (signed(SECRET, at=now + 302), BODY),
        (signed(SECRET, at=1), BODY),
    ]
    altered += [({field: value for field, value in good.items() if field != name}, BODY) for name in good]
    for headers, body in altered:
        assert not accepts(headers, body), headers
        assert not oracle_accepts(headers, body), headers
    for at in (now - 295, now + 295):
        assert accepts(signed(SECRET, at=at))
        assert oracle_accepts(signed(SECRET, at=at))
    assert accepts(signed(SECRET, at=now - 3000), tolerance=3600)


@pytest.mark.acceptance("WH2")
def test_one_of_several_secrets_and_one_of_several_signatures_is_enough():
    assert accepts(signed(SECRET), secrets=[OTHER, SECRET])
    assert accepts(signed(OTHER, SECRET))
    assert accepts(signed(OTHER, SECRET), secrets=(SECRET, make_secret()))
    assert oracle_accepts(signed(OTHER, SECRET))
    assert not accepts(signed(SECRET), secrets=[OTHER])
    assert not accepts(signed(SECRET), secrets=[])
    headers = signed(SECRET)
    many = " ".join(["v1,AAAA"] * 31 + [headers["webhook-signature"]])
    assert accepts({**headers, "webhook-signature": many})
    assert not accepts({**headers, "webhook-signature": f"v1,AAAA {many}"})


@pytest.mark.acceptance("WH2")
def test_odd_headers_are_refused_and_never_an_error_of_another_kind():
    good = signed(SECRET)
    odd = [
        "",
        " ",
        "é",
        "\x00",
        "v1",
        "v1,",
        ",",
        "v1,é",
        "1e3",
        "-1",
        "+5",
        "0x10",
        "٣",
        "9" * 400,
        "inf",
        "nan",
        "\ud800",
    ]
    for name in good:
        for value in (*odd, None, 7, [], b"\xff\xfe", good[name] + "é", [good[name]]):
            assert not accepts({**good, name: value}), (name, value)
        assert not accepts([*good.items(), (name, good[name])]), "repeated"
        assert not accepts([*good.items(), (name.upper(), good[name])]), "repeated"
    for headers in ({}, [], {None: None}, {7: 7}, Headers({})):
        assert not accepts(headers)
    assert accepts({name.upper(): value for name, value in good.items()})
    assert accepts({name.encode(): value.encode() for name, value in good.items()})
    assert accepts([(name.encode(), value.encode()) for name, value in good.items()])
    assert accepts(good, BODY.decode())
    assert accepts(Headers(good), bytearray(BODY))
    with pytest.raises(InvalidWebhook):
        verify_webhook(SECRET, signed(SECRET, body=b"\xff"), b"\xff")
    for secret in ("", "whsec_", "x", None, 7):
        with pytest.raises(InvalidWebhook):
            verify_webhook([secret], good, BODY)  # type: ignore[list-item]
    assert verify_webhook(SECRET, signed(SECRET, body=b"[1]"), b"[1]").type == ""


@given(name=st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), value=st.text(max_size=60))
def test_no_text_in_a_header_is_accepted_or_raises_anything_else(name: str, value: str):
    good = signed(SECRET)
    assert accepts({**good, name: value}) == (value == good[name])


SECRETS_OF = {"acme": [OTHER, SECRET], "nobody": []}

router = APIRouter()


@router.post("/hooks")
async def receive(event: Annotated[WebhookEvent, Depends(require_webhook(SECRET))]) -> dict[str, Any]:
    return {"id": event.id, "type": event.type, "data": event.data}


async def secrets_of(request: Request) -> list[str] | None:
    return SECRETS_OF.get(request.path_params["sender"])


@router.post("/hooks/{sender}")
async def receive_of(event: Annotated[WebhookEvent, Depends(require_webhook(secrets_of))]) -> str:
    return event.id


@pytest.mark.acceptance("WH2")
async def test_a_route_with_the_dependency_gives_the_event_and_answers_401_to_everything_else():
    with pytest.raises(InvalidWebhook):
        require_webhook("whsec_wrong")
    async with kernel_client(make_app(None, [], [router])) as client:
        good = signed(SECRET)
        answer = await client.post("/hooks", content=BODY, headers=good)
        assert (answer.status_code, answer.json()) == (200, {"id": "evt_1", "type": "a.b", "data": {"name": "Zoë"}})
        assert (await client.post("/hooks/acme", content=BODY, headers=good)).json() == "evt_1"
        refused: list[tuple[str, bytes, Any]] = [
            ("/hooks", BODY, {}),
            ("/hooks", BODY + b" ", good),
            ("/hooks", BODY, signed(OTHER)),
            ("/hooks", BODY, signed(SECRET, at=clock.epoch() - 400)),
            ("/hooks", BODY, [*good.items(), ("webhook-id", "evt_1")]),
            ("/hooks/nobody", BODY, good),
            ("/hooks/unknown", BODY, good),
        ]
        for name in good:
            odd = [(field.encode(), value.encode()) for field, value in good.items() if field != name]
            refused += [("/hooks", BODY, [*odd, (name.encode(), value)]) for value in (b"\xff\xfe", b"\xc3\xa9", b"")]
        for path, body, headers in refused:
            answer = await client.post(path, content=body, headers=httpx2.Headers(headers))
            assert answer.status_code == 401, (path, headers, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
        answer = await client.post("/hooks", content=b"no json", headers=signed(SECRET, body=b"no json"))
        assert answer.status_code == 422


@pytest.mark.acceptance("WH2")
async def test_deliveries_are_signed_with_both_secrets_while_a_rotation_overlaps(monkeypatch: pytest.MonkeyPatch):
    async with serving(monkeypatch) as service:
        own = make_secret()
        made = await create_webhook(service.db, "w1", url=URL, events=["*"], secret=own)
        assert made["secret"] == own
        secrets = [own]

        async def signers() -> list[bool]:
            service.receivers.orders.clear()
            await trigger_webhook_event(service.db, "w1", event="a.b", data={"n": "é"})
            await service.drain()
            (order,) = service.receivers.orders
            return [accepts(order.headers, order.body, secret) for secret in secrets]

        assert await signers() == [True]
        secrets.append((await webhooks.rotate_webhook_secret(service.db, made["id"]))["secret"])
        assert await signers() == [True, True]
        assert service.receivers.orders[0].headers["webhook-signature"].count("v1,") == 2
        await service.advance(24 * 3600 - 1)
        assert await signers() == [True, True]
        await service.advance(2)
        assert await signers() == [False, True]
        secrets.append((await webhooks.rotate_webhook_secret(service.db, made["id"], overlap_hours=0))["secret"])
        assert await signers() == [False, False, True]
        assert service.security().count("webhook.secret_rotated") == 2


async def test_a_worker_without_the_key_fails_the_attempt_and_one_with_it_delivers(monkeypatch: pytest.MonkeyPatch):
    async with serving(monkeypatch) as service:
        hook = await create_webhook(service.db, "w1", url=URL, events=["*"])
        row = await webhooks.endpoints.store.get_webhook(service.db, hook["id"])
        courier = next(each for each in service.kernel.features if each.name == "webhooks").tasks["webhooks.deliver"]
        one = courier.handler.__self__
        ring, one._ring = one._ring, KeyRing(["another secret of 32 bytes or more!"])
        with pytest.raises(SealBroken):
            signing_keys(one._ring, row)
        await trigger_webhook_event(service.db, "w1", event="a.b")
        await service.drain()
        (delivery,) = await service.deliveries(hook["id"])
        assert (delivery["status"], delivery["outcome"], service.receivers.orders) == ("pending", "secret", [])
        one._ring = ring
        await service.advance(6)
        assert len(service.receivers.orders) == 1


def test_secrets_are_32_random_bytes():
    made = {make_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(len(key_of(secret)) == 32 for secret in made)
    padded = "whsec_" + base64.b64encode(os.urandom(25)).decode()
    assert key_of(padded.rstrip("=")) == key_of(padded)
