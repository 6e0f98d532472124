"""Webhooks go to public addresses and nowhere else: not when they are made, not when changed, not when sent."""

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpcore2
import pytest

from app_kernel import webhooks
from app_kernel.core.errors import InvalidWebhook, WebhookAddressRefused
from app_kernel.testing import kernel_client
from app_kernel.webhooks import create_webhook, network, sending, store, trigger_webhook_event
from app_kernel.webhooks.addresses import is_public
from app_kernel.webhooks.attempts import Answer
from app_kernel.webhooks.sending import Order
from app_kernel.webhooks.urls import check_url
from tests.mail.certificates import certificate
from tests.security.webhook_address_corpus import ADDRESSES, GOOD, NUMBERS, PUBLIC, REFUSED, host_in_url
from tests.webhooks.serving import SECRET, Service, make_app, serving

URL = "https://hooks.example.com/in"


class Wire:
    """Stands where connections are opened: whom they would have gone to. Nothing leaves the machine."""

    def __init__(self) -> None:
        self.connected: list[tuple[str, int]] = []
        self.names: dict[str, list[list[str]]] = {}
        self.looked_up: list[str] = []

    async def connect(self, host: str, port: int, *args: object) -> httpcore2.AsyncNetworkStream:
        self.connected.append((host, port))
        raise httpcore2.ConnectError("nobody is there")

    def resolve(self, host: str, port: int) -> list[str]:
        self.looked_up.append(host)
        answers = self.names[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    wire = Wire()
    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", lambda self, *args: wire.connect(*args))
    monkeypatch.setattr(network, "resolve", wire.resolve)
    return wire


async def send(url: str, *, allow_private: bool = False, seconds: float = 5.0) -> Answer:
    target = check_url(url, https_only=False, allow_private=True)
    return await sending.send(Order(target, b"{}", {}, seconds, allow_private))


@pytest.mark.acceptance("WH1")
def test_the_corpus_is_large_enough_and_says_nothing_twice():
    assert len(REFUSED) >= 150
    assert len(set(REFUSED)) == len(REFUSED)


@pytest.mark.acceptance("WH1")
async def test_no_url_of_the_corpus_makes_or_becomes_a_webhook_and_none_is_sent_to(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
):
    app = make_app(None, [])
    async with kernel_client(app, webhooks="send") as client:
        hook = await create_webhook(client.db, "w1", url=URL, events=["*"])
        row = await store.get_webhook(client.db, hook["id"])
        assert row is not None
        courier = next(each for each in client.kernel.features if each.name == "webhooks").tasks["webhooks.deliver"]
        attempt = courier.handler.__self__.attempt
        event = {"id": "evt_1", "body": "{}"}
        for url in REFUSED:
            with pytest.raises(InvalidWebhook):
                await create_webhook(client.db, "w1", url=url, events=["*"])
            with pytest.raises(InvalidWebhook):
                await webhooks.update_webhook(client.db, hook["id"], url=url)
            # As if it had come into the table another way, or rules had changed since.
            answer = await attempt({**row, "url": url}, event)
            assert answer.outcome == "refused", url
        for url in ("https://u:hidden@a.example/hidden", "https://a.example/ hidden", "ftp://a.example/hidden"):
            with pytest.raises(InvalidWebhook) as refused:
                await create_webhook(client.db, "w1", url=url, events=["*"])
            assert "hidden" not in str(refused.value)
        for url in GOOD:
            await webhooks.update_webhook(client.db, hook["id"], url=url)
    assert wire.connected == []
    assert wire.looked_up == []


@pytest.mark.acceptance("WH1")
async def test_no_address_of_the_corpus_is_connected_to_whatever_name_leads_to_it(wire: Wire):
    for number, address in enumerate(ADDRESSES):
        assert not is_public(address), address
        for answers in ([address], ["93.184.215.14", address], [address, "93.184.215.14"]):
            wire.names["rebound.example.com"] = [answers]
            answer = await send("https://rebound.example.com/in")
            assert answer.outcome == "refused", (number, answers)
        if "%" not in address:
            answer = await send(f"https://{host_in_url(address)}/in")
            assert answer.outcome == "refused", address
    assert wire.connected == []


def _is_number(host: str) -> bool:
    try:
        return bool(socket.inet_aton(host))
    except OSError:
        return False


@pytest.mark.acceptance("WH1")
async def test_the_connection_itself_refuses_what_the_c_library_takes_for_an_address(monkeypatch: pytest.MonkeyPatch):
    wire = Wire()
    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", lambda self, *args: wire.connect(*args))
    gate = network.Gate(allow_private=False)
    # Those that it looks up nowhere.
    for host in ("localhost", *filter(_is_number, NUMBERS)):
        with pytest.raises(network.AddressRefused):
            await gate.connect_tcp(host, 80)
    assert sum(map(_is_number, NUMBERS)) >= 15
    with pytest.raises(network.AddressRefused):
        await gate.connect_unix_socket("/var/run/docker.sock")
    assert wire.connected == []


@pytest.mark.acceptance("WH1")
async def test_a_name_that_changes_its_address_is_connected_at_the_one_that_was_checked(wire: Wire):
    wire.names["rebinding.example.com"] = [["93.184.215.14"], ["127.0.0.1"]]
    first = await send("https://rebinding.example.com/in")
    second = await send("https://rebinding.example.com/in")
    assert (first.outcome, second.outcome) == ("connection", "refused")
    assert wire.looked_up == ["rebinding.example.com"] * 2
    assert wire.connected == [("93.184.215.14", 443)]


async def test_names_that_no_name_server_answers_for_take_a_bounded_number_of_threads(monkeypatch: pytest.MonkeyPatch):
    answering = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        answering.wait(10)
        return ["93.184.215.14"]

    monkeypatch.setattr(network, "resolve", resolve)
    monkeypatch.setattr(network, "_look_ups", threading.BoundedSemaphore(3))
    before = threading.active_count()
    answers = await asyncio.gather(*(send(f"https://slow{n}.example.com/", seconds=0.1) for n in range(20)))
    assert sorted(answer.outcome for answer in answers) == ["dns"] * 17 + ["timeout"] * 3
    assert threading.active_count() <= before + 3
    answering.set()
    for thread in threading.enumerate():
        if thread.name == "webhook-look-up":
            await asyncio.to_thread(thread.join, 10)
    assert await network.look_up("quick.example.com", 443) == ["93.184.215.14"]


async def test_public_addresses_are_tried_one_after_another(wire: Wire):
    assert [address for address in PUBLIC if not is_public(address)] == []
    wire.names["many.example.com"] = [["93.184.215.14", "2606:4700:4700::1111", "1.1.1.1", "8.8.8.8"]]
    assert (await send("https://many.example.com:8443/in")).outcome == "connection"
    tried = [("93.184.215.14", 8443), ("2606:4700:4700::1111", 8443), ("1.1.1.1", 8443)]
    assert wire.connected == tried


@pytest.mark.acceptance("WH1")
async def test_a_public_address_of_this_machine_itself_is_refused(wire: Wire, monkeypatch: pytest.MonkeyPatch):
    assert network.is_own("127.0.0.1")
    assert not network.is_own("no address")
    monkeypatch.setattr(network, "is_own", lambda address: address == "93.184.215.14")
    wire.names["me.example.com"] = [["93.184.215.14"]]
    assert (await send("https://me.example.com/in")).outcome == "refused"
    assert wire.connected == []


@asynccontextmanager
async def canary() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A port on this machine, and what anybody sent to it."""
    seen: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(65536))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], seen


@pytest.mark.acceptance("WH1")
async def test_a_canary_on_this_machine_hears_nothing_without_leave_and_is_reached_with_it():
    async with canary() as (port, seen):
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
            assert (await send(f"http://{host}:{port}/x")).outcome == "refused"
        assert seen == []
        assert (await send(f"http://127.0.0.1:{port}/x", allow_private=True)).delivered
        assert len(seen) == 1


@pytest.mark.acceptance("WH1")
async def test_a_redirect_is_not_followed_and_neither_proxy_nor_cookie_has_a_say(monkeypatch: pytest.MonkeyPatch):
    requests: list[bytes] = []
    async with canary() as (elsewhere, seen):
        for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{elsewhere}")

        async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            fields = f"Location: http://127.0.0.1:{elsewhere}/\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n"
            writer.write(f"HTTP/1.1 307 X\r\n{fields}\r\n".encode())
            writer.close()

        server = await asyncio.start_server(redirect, "127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
            answers = [await send(url, allow_private=True) for _ in range(2)]
    assert [(answer.outcome, answer.status_code) for answer in answers] == [("status", 307)] * 2
    assert seen == []
    assert len(requests) == 2
    assert all(b"cookie" not in request.lower() for request in requests)
    assert all(request.startswith(b"POST /x HTTP/1.1\r\n") for request in requests)


async def test_tls_must_prove_the_name_although_an_address_is_connected_to(tmp_path, monkeypatch: pytest.MonkeyPatch):
    file, context = certificate(tmp_path)
    trust = ssl.create_default_context(cafile=str(file))
    monkeypatch.setattr(sending, "_trust", lambda: trust)
    monkeypatch.setattr(network, "resolve", lambda host, port: ["127.0.0.1"])

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        proven = await send(f"https://127.0.0.1:{port}/", allow_private=True)
        another = await send(f"https://hooks.example.com:{port}/", allow_private=True)
    assert (proven.outcome, another.outcome) == ("delivered", "tls")
    assert ipaddress.ip_address("127.0.0.1").is_loopback


async def test_http_is_refused_in_production_and_private_addresses_are_open_where_they_are_allowed():
    refused = "http://example.com/x"
    for settings, url, good in (
        ({"environment": "production"}, refused, False),
        ({"environment": "production"}, "https://example.com/x", True),
        ({"environment": "production", "webhook_allow_private": True}, "http://10.0.0.1/x", True),
        ({}, refused, True),
        ({}, "http://10.0.0.1/x", False),
        ({"webhook_allow_private": True}, "http://localhost:8080/x", True),
        ({"webhook_allow_private": True}, "http://2130706433/x", False),
        ({"webhook_allow_private": True}, "http://localhost:6379/x", False),
    ):
        more = {"public_url": "https://x.example", "cors_origins": []} if "environment" in settings else {}
        async with kernel_client(make_app(None, [], jwt_secret=SECRET, **settings, **more)) as client:
            if good:
                await create_webhook(client.db, "w1", url=url, events=["*"])
            else:
                with pytest.raises(InvalidWebhook):
                    await create_webhook(client.db, "w1", url=url, events=["*"])


async def test_a_refused_address_counts_as_a_failed_attempt_and_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    async with serving(monkeypatch) as service:
        hook = await create_webhook(service.db, "w1", url=URL, events=["*"])
        service.receivers.answers(Answer("refused"), Answer("delivered", 200))
        await trigger_webhook_event(service.db, "w1", event="a.b")
        await service.drain()
        (row,) = await service.deliveries(hook["id"])
        assert (row["status"], row["outcome"]) == ("pending", "refused")
        assert service.attempts() == ["refused"]
        await service.advance(6)
        assert service.attempts() == ["refused", "delivered"]


@pytest.mark.acceptance("WH1")
async def test_over_http_a_private_address_is_422_and_says_why(monkeypatch: pytest.MonkeyPatch):
    async with serving(monkeypatch, frozen_at=None) as service:
        admin = await service.client.log_in_as("root@example.com", role="admin")
        answer = await admin.post("/admin/webhooks", json={"url": "http://169.254.169.254/x", "events": ["*"]})
        assert (answer.status_code, answer.json()["detail"]) == (422, WebhookAddressRefused().message)
        with pytest.raises(WebhookAddressRefused):
            check_url("https://169.254.169.254/", https_only=True, allow_private=False)
        assert isinstance(service, Service)
