"""Invites: for one address, once, for a time, and never in a place where others read the token."""

import hashlib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app_kernel.auth import activate_user, confirm_email, deactivate_user
from app_kernel.auth.store import update_user
from app_kernel.saas import invite_mail
from app_kernel.saas.tables import INVITES
from tests.conformance.backends import SERVICE_BACKENDS
from tests.saas.serving import fresh_database, serving
from tests.security.test_api_keys_takeover import follow_link

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(params=SERVICE_BACKENDS)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with fresh_database(request, tmp_path) as url:
        yield url


@pytest.mark.acceptance("AZ7")
@pytest.mark.parametrize("refused", ["foreign", "unverified", "expired", "cancelled", "replayed"])
async def test_an_invite_is_no_good_to_anybody_else_or_at_another_time(database: str, refused: str) -> None:
    async with serving(database, frozen_at=START, jwt_expiry_hours=24 * 30) as service:
        ada, bob, mallory = await service.people("ada", "bob", "mallory")
        if refused == "unverified":
            bob = await service.person("bobby", verified=False)
        workspace_id = await ada.made("Top secret plans")
        invite = await ada.invite(workspace_id, bob.email)
        caller, status = (mallory if refused == "foreign" else bob), 404
        if refused in ("foreign", "unverified"):
            status = 403
        elif refused == "expired":
            service.client.clock.advance(7 * 86_400)
            bob = caller = await service.signed_in(await service.kernel_user(bob.id))
        elif refused == "cancelled":
            await ada.status("DELETE", f"/workspaces/{workspace_id}/invites/{invite['id']}")
        else:
            assert await bob.status("POST", "/invites/accept", {"token": invite["token"]}) == 200
            assert await bob.status("POST", f"/workspaces/{workspace_id}/leave") == 204
        for verb in ("accept", "decline"):
            answer = await caller.post(f"/invites/{verb}", {"token": invite["token"]})
            assert answer.status_code == status, (verb, answer.text)
            for hint in (bob.email, workspace_id, "Top secret plans", invite["token"]):
                assert hint not in answer.text
        assert (await caller.get("/invites")).json() == []
        assert (await caller.get("/workspaces")).json() == []
        if refused == "unverified":
            await confirm_email(service.db, bob.id)
            assert await bob.status("POST", "/invites/accept", {"token": invite["token"]}) == 200
        if refused == "foreign":
            # Nor does a change of name of the account's address that nobody confirmed help.
            values = {"email": "mallory+bob@example.com", "email_verified_at": None}
            await update_user(service.db, mallory.id, values)
            assert await mallory.status("POST", "/invites/accept", {"token": invite["token"]}) == 403
            assert await bob.status("POST", "/invites/accept", {"token": invite["token"]}) == 200
            # A member keeps an invite that cannot be used a second time.
            assert await ada.status("POST", f"/workspaces/{workspace_id}/invites", {"email": bob.email}) == 409


@pytest.mark.acceptance("AZ7")
async def test_accepting_as_a_member_leaves_the_invite_for_later(database: str) -> None:
    async with serving(database) as service:
        ada, bob = await service.people("ada", "bob")
        workspace_id = await ada.made()
        invite = await ada.invite(workspace_id, "later@example.com", "admin")
        await service.join(workspace_id, bob, "viewer")
        await update_user(service.db, bob.id, {"email": "later@example.com"})
        assert await bob.status("POST", "/invites/accept", {"token": invite["token"]}) == 409
        assert await bob.status("GET", f"/w/{workspace_id}/admin") == 403
        assert await bob.status("POST", f"/workspaces/{workspace_id}/leave") == 204
        assert await bob.status("POST", "/invites/accept", {"token": invite["token"]}) == 200


@pytest.mark.acceptance("AZ7")
@pytest.mark.acceptance("AU3")
async def test_the_token_is_nowhere_but_in_the_first_answer_and_the_mail(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(database) as service:
        ada, bob, mallory = await service.people("ada", "bob", "mallory")
        workspace_id = await ada.made()
        invite = await ada.invite(workspace_id, bob.email)
        token = invite["token"]
        assert re.fullmatch(r"wi_[A-Za-z0-9_-]{43}", token)
        [row] = await service.db.privileged.find_entities(INVITES)
        assert row["token_hash"] == hashlib.sha256(token.encode()).hexdigest()
        assert token not in repr(row)
        answers = [
            await ada.get(f"/workspaces/{workspace_id}/invites"),
            await ada.get(f"/workspaces/{workspace_id}"),
            await ada.get(f"/workspaces/{workspace_id}/members"),
            await bob.get("/invites"),
            await ada.get("/jobs"),
            await mallory.post("/invites/accept", {"token": token}),
            # A token in the path or query is no way to use one, and an invite is no way to sign in.
            await bob.get(f"/invites/{token}"),
            await bob.post(f"/invites/accept?token={token}", {}),
            await service.call("GET", "/whoami", token),
            await service.call("GET", "/key", token),
            await service.call("POST", "/auth/refresh", None, {"refresh_token": token}),
            await service.call("POST", "/auth/reset-password", None, {"token": token, "new_password": "x" * 12}),
            await service.call("POST", "/auth/verify-email", None, {"token": token}),
        ]
        statuses = [answer.status_code for answer in answers]
        assert statuses == [200, 200, 200, 200, 200, 403, 404, 422, 401, 401, 401, 400, 400]
        for answer in answers:
            assert token not in answer.text
            assert row["token_hash"] not in answer.text
            if answer.request.url.path.startswith(("/workspaces", "/invites/accept")):
                assert answer.headers["cache-control"] == "no-store"
        for wrong in (
            bob.token,
            "",
            "wi_",
            token[:-1],
            f"{token}x",
            token.upper(),
            row["token_hash"],
            "\x00",
            "é" * 500,
        ):
            answer = await bob.post("/invites/accept", {"token": wrong})
            assert answer.status_code in (404, 422), wrong
        [mail] = [each for each in await service.client.mails() if each.to == bob.email]
        assert token in mail.text
    printed = capsys.readouterr()
    # What a client puts into an address is its own doing: the rest of the log has it nowhere.
    said = [line for line in (printed.out + printed.err).splitlines() if f"/invites/{token}" not in line]
    assert not [line for line in said if token in line]
    assert any("workspace.invited" in line for line in said)


HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}{% raw %}"
UNSEEN = (
    *("a\r\nBcc: x@evil.example", "a\nb", "a\x00b", "a\u2028b", "\x1b[31m"),
    *("\u202eabc", "a\u2066b", "\u200b", "\u3164 \u0301", "\ufeff\u2800"),
)
"""Names that do other things than be read, or cannot be."""
SPOOF = "Ada\u202e\u2066 Bcc: x@evil.example"


@pytest.mark.acceptance("OP4")
async def test_names_in_a_mail_are_text_and_nothing_else() -> None:
    async with serving() as service:
        ada, bob = await service.people("ada", "bob")
        for name in UNSEEN:
            assert await ada.status("POST", "/workspaces", {"name": name}) == 422
            assert await ada.status("PATCH", f"/workspaces/{await ada.made()}", {"name": name}) == 422
        await update_user(service.db, ada.id, {"name": SPOOF})
        workspace_id = await ada.made(HOSTILE)
        invite = await ada.invite(workspace_id, bob.email)
        # Even where a name came into the database by another way.
        await update_user(service.db, ada.id, {"name": "Ada\r\nBcc: x@evil.example\r\n\r\n<b>"})
        await ada.post(f"/workspaces/{workspace_id}/invites/{invite['id']}/resend")
        first, second = await service.client.mails()
        for mail in (first, second):
            assert mail.to == bob.email
            assert "\n" not in mail.subject
            assert "\r" not in mail.subject
            assert HOSTILE in mail.subject
            assert "<script>" not in (mail.html or "")
            assert "&lt;script&gt;" in (mail.html or "")
            assert "{{ 7*7 }}" in mail.text
            assert "\nBcc" not in mail.text
            assert mail.links[0].startswith("https://app.example/join#token=wi_")
        assert "\u202e" not in first.text
        assert "<b>" not in (second.html or "").replace("<body", "")


async def test_a_mail_without_a_page_for_invites_carries_the_token() -> None:
    async with serving(accept_invite_url=None) as service:
        ada = await service.person()
        invite = await ada.invite(await ada.made(), "bob@example.com")
        assert invite["link"] is None
        [mail] = await service.client.mails()
        assert invite["token"] in mail.text
        assert invite["token"] in (mail.html or "")
        assert mail.links == ()


async def test_nobody_floods_a_mailbox_with_invites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invite_mail, "MOST_TO_ADDRESS", 3)
    monkeypatch.setattr(invite_mail, "MOST_BY_USER", 5)
    async with serving() as service:
        ada, eve = await service.people("ada", "eve")
        for _ in range(3):
            await ada.invite(await ada.made(), "Bob@example.com")
        # Whoever fills a mailbox keeps nobody else from inviting its owner.
        quiet = await eve.invite(await eve.made(), "bob@example.com")
        assert (quiet["mailed"], quiet["token"][:3]) == (False, "wi_")
        workspace_id = await ada.made()
        invites = [await ada.invite(workspace_id, f"b{number}@example.com") for number in range(2)]
        assert [each["mailed"] for each in invites] == [True, True]
        path = f"/workspaces/{workspace_id}/invites"
        refused = await ada.post(path, {"email": "c@example.com"})
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= 3600
        assert await ada.status("POST", f"{path}/{invites[0]['id']}/resend") == 429
        assert len(await service.client.mails()) == 5


@pytest.mark.acceptance("AZ7")
async def test_what_was_prepared_under_an_address_is_over_when_its_owner_shows_up(database: str) -> None:
    async with serving(database, personal_workspaces=True) as service:
        # Mallory signs up as Ada, and has herself invited into what is to be Ada's workspace.
        ada, mallory, pal = await service.person("ada", verified=False), *await service.people("mallory", "pal")
        workspace_id = (await ada.get("/auth/me/workspace")).json()["workspace_id"]
        invite = await ada.invite(workspace_id, mallory.email, "admin")
        others = await pal.invite(await pal.made(), "ida@example.com")
        lonely = await service.person("lonely", verified=False)
        before = (await lonely.get("/auth/me/workspace")).json()
        joined = await ada.made("Joined already")
        await service.join(joined, mallory, "admin")
        await ada.call("PUT", "/auth/me/workspace", {"workspace_id": joined})
        for person in (ada, lonely):
            await follow_link(service, person.id, "verify", "/auth/verify-email")
        assert await mallory.status("POST", "/invites/accept", {"token": invite["token"]}) == 404
        assert [row["id"] for row in await service.db.privileged.find_entities(INVITES)] == [others["id"]]
        ended = [event for event in service.events if event.detail.get("reason") == "ownership_proven"]
        assert [event.detail["invite_id"] for event in ended] == [invite["id"]]
        # The owner keeps what is theirs, but nobody else chose for them to work where others are.
        ada, lonely = [await service.signed_in(await service.kernel_user(each.id)) for each in (ada, lonely)]
        assert (await ada.get("/auth/me/workspace")).json() == {"workspace_id": None, "role": None}
        assert (await lonely.get("/auth/me/workspace")).json() == before
        assert {each["role"] for each in (await ada.get("/workspaces")).json()} == {"owner"}
        assert await ada.status("DELETE", f"/workspaces/{joined}/members/{mallory.id}") == 204


@pytest.mark.acceptance("AZ7")
async def test_a_sender_who_may_no_longer_invite_lets_nobody_in(database: str) -> None:
    async with serving(database) as service:
        ada, bob, eve = await service.people("ada", "bob", "eve")
        workspace_id = await ada.made()
        await service.join(workspace_id, bob, "admin")
        token = {"token": (await bob.invite(workspace_id, eve.email, "admin"))["token"]}
        await ada.call("PATCH", f"/workspaces/{workspace_id}/members/{bob.id}", {"role": "member"})
        assert (await eve.get("/invites")).json() == []
        assert await eve.status("POST", "/invites/accept", token) == 404
        await ada.call("PATCH", f"/workspaces/{workspace_id}/members/{bob.id}", {"role": "admin"})
        await deactivate_user(service.db, bob.id)
        assert await eve.status("POST", "/invites/accept", token) == 404
        # Nor does who cannot sign in become an owner, who could be left as the only one.
        path = f"/workspaces/{workspace_id}/members/{bob.id}"
        assert await ada.status("PATCH", path, {"role": "owner"}) == 403
        await activate_user(service.db, bob.id)
        assert await ada.status("PATCH", path, {"role": "owner"}) == 200
        await deactivate_user(service.db, bob.id)
        assert await ada.status("PATCH", path, {"role": "owner"}) == 200, "who is one already stays one"
        assert await eve.status("POST", "/invites/accept", token) == 404
