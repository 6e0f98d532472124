"""A provider that is down, slow or hostile harms one sign-in for seconds, and nothing that it says is repeated."""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app_kernel import ServiceConfig
from app_kernel.oauth import wire
from tests.oauth.conftest import Serve
from tests.oauth.provider import CLIENT_SECRET, TOLD
from tests.oauth.serving import SECRET, Service, StubProvider, serving

FAULTS = ["slow", "drip", "500", "html", "text", "broken", "list", "big", "redirect", "gzip", "400"]
PLACES = {
    "stub": ["/.well-known/openid-configuration", "/token", "/jwks", "/userinfo"],
    "github": ["/token", "/api/user", "/api/user/emails"],
}
FORGIVEN = {("/api/user/emails", "400"), ("/api/user/emails", "list")}
"""Of GitHub's list of addresses a refusal and an odd entry only mean that there is no address."""


async def forget(service: Service) -> None:
    from app_kernel.oauth.flow import OAuth

    provider: Any = service.kernel.port(OAuth)._providers["stub"]
    provider._discovered = provider._keys = None


@pytest.mark.acceptance("OA7")
@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in PLACES.items() for path in paths])
async def test_whatever_a_provider_does_wrong_the_answer_is_the_same_and_in_time(
    light: Service, impatient: Any, name: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = []
    for fault in FAULTS:
        await forget(light)
        light.provider.behave(faults={path: fault}, bare_token=path == "/userinfo")
        browser, began = light.browser(), time.monotonic()
        answer = await browser.start(name)
        if answer.status_code == 303:
            answer = await browser.come_back(await browser.at_provider(answer))
        allowed = {409} if (path, fault) in FORGIVEN else {502}
        if answer.status_code not in allowed or TOLD[:20] in answer.text:
            wrong.append((fault, answer.status_code, answer.text))
        assert time.monotonic() - began < 10
        assert not any("/elsewhere" in line for line in light.provider.log())
    assert wrong == []
    assert await light.sessions() == 0
    text = caplog.text + " ".join(str(record.__dict__) for record in caplog.records)
    assert TOLD[:20] not in text
    assert CLIENT_SECRET not in text
    assert "oauth_provider_failed" in text


@pytest.mark.acceptance("OA7")
async def test_of_a_flood_no_more_is_read_than_an_answer_may_have() -> None:
    read = 0

    class Flood(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal read
            while read < 100 * wire.LARGEST_ANSWER:
                read += 65536
                yield b" " * 65536

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "application/json"}, stream=Flood())

    way = wire.Wire()
    way._client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    with pytest.raises(wire.ProviderFailed, match="too_large"):
        await way.fetch("GET", "https://issuer.example")
    await way.close()
    assert read <= wire.LARGEST_ANSWER + 65536


@pytest.mark.acceptance("OA7")
async def test_a_provider_that_is_down_or_nowhere_is_answered_for_in_time(provider: StubProvider) -> None:
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    client = {"client_id": "a", "client_secret": "b"}
    places = {
        "down": {"issuer": f"http://127.0.0.1:{port}", **client},
        "nowhere": {"issuer": "https://issuer.invalid", **client},
        "plain": {"issuer": provider.url.replace("http://", "https://"), **client},
    }
    async with serving(provider, oauth_providers=places) as service:
        for name in places:
            answer = await service.browser().start(name)
            assert answer.status_code == 502, name
            assert answer.json()["detail"] == "The sign-in provider does not answer as it should; try again later."
    assert wire.PROVIDER_SECONDS <= 10


@pytest.mark.acceptance("OA7")
async def test_a_provider_whose_certificate_nobody_vouches_for_is_not_talked_to(
    provider: StubProvider, tmp_path: Path
) -> None:
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1))
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own_certificate(tmp_path))
    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    places = {"stub": {"issuer": f"https://localhost:{port}", "client_id": "a", "client_secret": "b"}}
    async with serving(provider, oauth_providers=places) as service:
        assert (await service.browser().start()).status_code == 502
    server.close()
    assert heard == []


def own_certificate(folder: Path) -> Path:
    """A key and a certificate for localhost that is signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    certificate = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    both = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    file = folder / "own.pem"
    file.write_bytes(both)
    return file


@pytest.mark.acceptance("OA7")
async def test_a_proxy_of_the_environment_does_not_see_a_sign_in(
    light: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    assert (await light.browser().sign_in()).status_code == 200


@pytest.mark.acceptance("OA7")
async def test_a_wrong_client_secret_is_the_services_fault_and_not_shown(
    provider: StubProvider, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"stub": {**provider.settings()["stub"], "client_secret": "a-secret-that-is-wrong"}}
    async with serving(provider, oauth_providers=settings) as service:
        answer = await service.browser().sign_in()
        assert answer.status_code == 502
        text = answer.text + caplog.text + " ".join(str(record.__dict__) for record in caplog.records)
        assert "a-secret-that-is-wrong" not in text
        assert "client_refused" in text


@pytest.mark.acceptance("OA8")
async def test_nothing_that_a_provider_gave_is_kept(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as service:
        await service.browser().sign_in()
        await service.browser().sign_in("github")
        kept = str(await service.links()) + str(await service.db.privileged.find_entities("kernel_oauth_codes"))
        assert "kept-by-nobody" not in kept + caplog.text
        assert set((await service.links())[0]) >= {"provider", "subject"}
        columns = set((await service.links())[0])
        assert not {column for column in columns if "token" in column or "secret" in column}


@pytest.mark.acceptance("OA8")
async def test_the_callback_is_where_the_settings_say_whatever_the_host_header_says(provider: StubProvider) -> None:
    async with serving(provider, public_url="https://api.example.com/v1/") as service:
        for headers in (
            {"Host": "evil.example"},
            {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http", "Forwarded": "host=evil.example"},
            {"Host": "localhost"},
        ):
            answer = await service.client.get("/auth/oauth/stub", headers=headers)
            where = answer.headers["location"]
            assert "redirect_uri=https%3A%2F%2Fapi.example.com%2Fv1%2Fauth%2Foauth%2Fstub%2Fcallback" in where
            assert "evil" not in where


@pytest.mark.acceptance("OA8")
async def test_without_a_public_url_only_this_machines_own_names_are_believed(light: Service) -> None:
    hosts = [
        "evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "",
    ]
    for host in hosts:
        answer = await light.client.get("/auth/oauth/stub", headers={"Host": host})
        assert answer.status_code == 400, (host, answer.headers)
        assert "location" not in answer.headers
    for host in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000", "testserver"):
        answer = await light.client.get("/auth/oauth/stub", headers={"Host": host})
        assert answer.status_code == 303, host


@pytest.mark.acceptance("OA8")
async def test_what_one_provider_sets_does_not_come_along_to_the_next_user(light: Service) -> None:
    from app_kernel.oauth.flow import OAuth

    await light.browser().sign_in()
    client = light.kernel.port(OAuth)._providers["stub"]._wire._client  # type: ignore[attr-defined]
    client.cookies.set("a", "b", domain="127.0.0.1")
    assert client.trust_env is False
    assert client.follow_redirects is False
    assert list(client.cookies.jar._policy.allowed_domains()) == []


def test_no_secret_of_a_provider_is_shown() -> None:
    config = ServiceConfig(
        jwt_secret=SECRET, oauth_providers={"google": {"client_id": "a", "client_secret": "very-secret-value"}}
    )
    from app_kernel.oauth.settings import read_providers

    assert "very-secret-value" not in repr(config) + repr(read_providers(config))
