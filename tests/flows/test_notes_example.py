"""examples/notes as its page and a script use it: cookies, an API key, limits, repeats, and a forgotten password."""

import re
import sys
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from app_kernel.testing import KernelClient, kernel_client

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "notes"
PASSWORD = "plum tree over water"
ADA = {"email": "ada@example.com", "password": PASSWORD, "cookie": True}


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KernelClient]:
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.setenv("JWT_SECRET", "a-secret-for-the-example-of-32-bytes")
    monkeypatch.setenv("ALLOW_SELF_SIGNUP", "true")
    monkeypatch.setenv("DEBUG", "true")
    monkeypatch.delitem(sys.modules, "main", raising=False)
    try:
        async with kernel_client(import_module("main").app) as client:
            yield client
    finally:
        del sys.modules["main"]


async def signed_up(client: KernelClient) -> dict[str, str]:
    """Signs the client up by cookies; the header that its page sends."""
    answer = await client.post("/auth/register", json=ADA)
    assert answer.status_code == 201, answer.text
    assert "access_token" not in answer.json()
    return {"X-CSRF-Token": answer.json()["csrf_token"]}


async def written(client: Any, text: str, **headers: str) -> Any:
    return await client.post("/notes", json={"text": text}, headers=headers)


async def test_the_page_signs_up_with_cookies_and_keeps_notes(client: KernelClient) -> None:
    assert "Sign up" in (await client.get("/")).text
    page = await signed_up(client)
    assert (await written(client, "without the token")).status_code == 403
    made = await written(client, "buy milk", **page)
    assert (made.status_code, made.json()["written_with"]) == (201, "user")
    assert [note["text"] for note in (await client.get("/notes")).json()] == ["buy milk"]
    assert (await client.post("/auth/logout", headers=page)).status_code == 204
    assert (await client.get("/notes")).status_code == 401


async def test_a_script_reads_with_the_key_that_the_page_made_and_may_do_no_more(client: KernelClient) -> None:
    page = await signed_up(client)
    await written(client, "buy milk", **page)
    body = {"name": "from the page", "scopes": ["notes:read"], "expires_in_days": 30}
    key = (await client.post("/api-keys", json=body, headers=page)).json()["key"]
    client.cookies.clear()
    script = {"Authorization": f"Bearer {key}"}
    assert [note["text"] for note in (await client.get("/notes", headers=script)).json()] == ["buy milk"]
    assert (await written(client, "by a script", **script)).status_code == 403
    assert (await client.get("/auth/me", headers=script)).status_code == 401


async def test_a_note_that_is_sent_twice_is_kept_once(client: KernelClient) -> None:
    page = {**await signed_up(client), "Idempotency-Key": "one-note"}
    first, second = await written(client, "buy milk", **page), await written(client, "buy milk", **page)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert len((await client.get("/notes")).json()) == 1
    assert (await written(client, "something else", **page)).status_code == 422


async def test_the_thirty_first_note_of_a_minute_waits(client: KernelClient) -> None:
    page = await signed_up(client)
    statuses = [(await written(client, f"note {number}", **page)).status_code for number in range(31)]
    assert statuses == [201] * 30 + [429]
    assert (await client.get("/notes")).status_code == 200


async def test_a_forgotten_password_is_replaced_by_the_link_in_a_mail(client: KernelClient) -> None:
    await signed_up(client)
    answer = await client.post("/auth/forgot-password", json={"email": ADA["email"]})
    assert answer.status_code == 202
    await client.jobs.drain()
    (mail,) = await client.mails()
    found = re.search(r"/auth/reset-password#token=(\S+)", mail.text)
    assert found is not None
    body = {"token": found[1], "new_password": "river stone under moon"}
    assert (await client.post("/auth/reset-password", json=body)).status_code == 204
    assert (await client.get("/notes")).status_code == 401
    assert (await client.post("/auth/login", json=ADA)).status_code == 401
    new = {**ADA, "password": "river stone under moon"}
    assert (await client.post("/auth/login", json=new)).status_code == 200
