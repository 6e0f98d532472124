"""What leads to each security event. A case prepares before its `yield`; after it comes what the event tells of."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from app_kernel.api_keys import create_api_key, revoke_api_key, rotate_api_key
from app_kernel.auth import activate_user, create_user, deactivate_user, delete_user, set_password, set_role
from app_kernel.auth.email_tokens import LIFETIMES, new_email_token
from app_kernel.auth.identifiers import account_key
from app_kernel.auth.mailing import ask_for_link
from app_kernel.auth.registration import confirm, reset_password
from app_kernel.auth.sign_in import login
from app_kernel.auth.store import insert_email_token, insert_login_failure
from app_kernel.core import clock
from app_kernel.core.errors import InvalidToken
from app_kernel.core.networks import network_of
from app_kernel.saas import add_member, create_workspace
from tests.security.event_world import PASSWORD, World

Steps = AsyncIterator[None]


@dataclass(frozen=True)
class Case:
    """How an event comes about."""

    event: str
    steps: Callable[[World], Steps]
    names: tuple[str, ...]
    """Everything that is told."""

    @property
    def id(self) -> str:
        return self.steps.__name__.strip("_")


CASES: list[Case] = []


def tells(event: str, *more: str) -> Callable[[Callable[[World], Steps]], Callable[[World], Steps]]:
    def note(steps: Callable[[World], Steps]) -> Callable[[World], Steps]:
        CASES.append(Case(event, steps, (event, *more)))
        return steps

    return note


async def link(w: World, user: Any, purpose: Any, email: str | None = None) -> str:
    """The token of a mailed link."""
    token = new_email_token(purpose)
    values = {"token_hash": token.token_hash, "purpose": purpose, "user_id": user.id, "email": email or user.email}
    expires_at = clock.now() + LIFETIMES[purpose]
    await insert_email_token(w.db, {**values, "expires_at": expires_at, "used_at": None})
    return token.text


async def workspace(w: World, *roles: str) -> tuple[str, list[Any]]:
    """A workspace, and who is in it: an owner, then others in these roles."""
    people = [await w.person() for _ in ("owner", *roles)]
    made = await create_workspace(w.db, "Engines", people[0].id)
    for person, role in zip(people[1:], roles, strict=True):
        await add_member(w.db, made["id"], person.id, role)
    return made["id"], people


# --- accounts


@tells("auth.registered")
async def an_account_made_by_code(w: World) -> Steps:
    yield
    await create_user(w.db, f"{clock.new_id()}@example.com", None)


@tells("auth.login")
async def a_login(w: World) -> Steps:
    ada = await w.person(PASSWORD)
    yield
    await login(w.db, w.issuer, ada.email, PASSWORD, None)


@tells("auth.logout")
async def a_logout(w: World) -> Steps:
    ada = await w.person()
    session = await w.session(ada)
    yield
    await w.issuer.end(w.db, session.session_id, ada.id)


@tells("auth.logout_all")
async def a_logout_everywhere(w: World) -> Steps:
    ada = await w.person()
    await w.session(ada)
    yield
    await w.issuer.end_all(w.db, ada.id)


@tells("auth.refresh_reused")
async def a_refresh_token_that_was_copied(w: World) -> Steps:
    first = await w.session(await w.person())
    second = await w.issuer.renew(w.db, first.refresh_token)
    await w.issuer.renew(w.db, second.refresh_token)
    yield
    with pytest.raises(InvalidToken):
        await w.issuer.renew(w.db, first.refresh_token)


@tells("auth.password_changed")
async def a_new_password(w: World) -> Steps:
    ada = await w.person()
    yield
    await set_password(w.db, ada.id, PASSWORD)


@tells("auth.password_reset_requested")
async def a_forgotten_password(w: World) -> Steps:
    ada = await w.person()
    yield
    await ask_for_link(w.kernel.config, ada.email, "reset", "http://testserver")


@tells("auth.password_reset")
async def a_password_by_a_mailed_link(w: World) -> Steps:
    token = await link(w, await w.person(), "reset")
    yield
    await reset_password(w.db, w.issuer, token, PASSWORD)


@tells("auth.email_verified")
async def an_address_confirmed_by_its_signed_in_owner(w: World) -> Steps:
    ada = await w.person(verified=False)
    token, session = await link(w, ada, "verify"), await w.session(ada)
    yield
    await confirm(w.db, w.issuer, token, None, (ada.id, session.session_id))


@tells("auth.email_verified")
async def an_address_confirmed_by_who_reads_its_mail(w: World) -> Steps:
    token = await link(w, await w.person(PASSWORD, verified=False), "verify")
    yield
    await confirm(w.db, w.issuer, token, None, None)


@tells("auth.email_changed")
async def another_address(w: World) -> Steps:
    ada = await w.person()
    token, session = await link(w, ada, "change", f"{clock.new_id()}@example.com"), await w.session(ada)
    yield
    await confirm(w.db, w.issuer, token, None, (ada.id, session.session_id))


@tells("auth.role_changed")
async def another_role(w: World) -> Steps:
    ada = await w.person()
    yield
    await set_role(w.db, ada.id, "auditor")


@tells("auth.deactivated")
async def an_account_shut_out(w: World) -> Steps:
    ada = await w.person()
    yield
    await deactivate_user(w.db, ada.id)


@tells("auth.activated")
async def an_account_let_in_again(w: World) -> Steps:
    ada = await w.person()
    await deactivate_user(w.db, ada.id)
    yield
    await activate_user(w.db, ada.id)


@tells("auth.deleted")
async def an_account_deleted(w: World) -> Steps:
    ada = await w.person()
    yield
    await delete_user(w.db, ada.id)


@tells("auth.deleted", "workspace.role_changed")
async def the_account_of_an_owner_deleted(w: World) -> Steps:
    _, (owner, _) = await workspace(w, "member")
    yield
    await delete_user(w.db, owner.id)


@tells("auth.deleted", "workspace.deleted")
async def the_account_of_the_last_member_deleted(w: World) -> Steps:
    _, (owner,) = await workspace(w)
    yield
    await delete_user(w.db, owner.id)


# --- identities elsewhere and API keys


@tells("oauth.linked")
async def an_identity_linked(w: World) -> Steps:
    ada = await w.person()
    yield
    await w.linking.link(w.db, ada.id, w.identity(ada), verified=True)


@tells("auth.registered", "oauth.linked")
async def a_sign_up_by_an_identity(w: World) -> Steps:
    nobody = w.identity(await w.person())
    await delete_user(w.db, (await w.linking.accounts.find_account(w.db, nobody.email or "")).id)
    yield
    await w.linking.account_for(w.db, nobody)


@tells("oauth.unlinked")
async def an_identity_taken_away(w: World) -> Steps:
    ada = await w.person(PASSWORD)
    await w.linking.link(w.db, ada.id, w.identity(ada), verified=True)
    yield
    await w.linking.unlink(w.db, ada.id, "stub", {"stub"})


@tells("api_key.created")
async def a_key_made(w: World) -> Steps:
    ada = await w.person()
    yield
    await create_api_key(w.db, ada.id, name="ci")


@tells("api_key.rotated")
async def a_key_rotated(w: World) -> Steps:
    made = await create_api_key(w.db, (await w.person()).id, name="ci")
    yield
    await rotate_api_key(w.db, made["id"])


@tells("api_key.revoked")
async def a_key_revoked(w: World) -> Steps:
    made = await create_api_key(w.db, (await w.person()).id, name="ci")
    yield
    assert await revoke_api_key(w.db, made["id"])


REFUSED: list[Case] = []


def refuses(event: str) -> Callable[[Callable[[World], Steps]], Callable[[World], Steps]]:
    def note(steps: Callable[[World], Steps]) -> Callable[[World], Steps]:
        REFUSED.append(Case(event, steps, (event,)))
        return steps

    return note


@refuses("auth.login_failed")
async def a_wrong_password(w: World) -> Steps:
    ada = await w.person(PASSWORD)
    yield
    answer = await w.client.post("/auth/login", json={"email": ada.email, "password": "wrong one"})
    assert answer.status_code == 401, answer.text


@refuses("auth.login_throttled")
async def too_many_wrong_passwords(w: World) -> Steps:
    ada = await w.person()
    for _ in range(10):
        await insert_login_failure(w.db, account_key("email", ada.email), network_of("198.51.100.1"))
    yield
    answer = await w.client.post("/auth/login", json={"email": ada.email, "password": "wrong one"})
    assert answer.status_code == 429, answer.text


@refuses("auth.csrf_refused")
async def a_page_of_another_site(w: World) -> Steps:
    session = await w.session(await w.person())
    yield
    cookie = {"Cookie": f"session={session.access_token}"}
    answer = await w.client.patch("/auth/me", json={"name": "Eve"}, headers=cookie)
    assert answer.status_code == 403, answer.text


@refuses("api_key.refused")
async def a_wrong_key(w: World) -> Steps:
    yield
    answer = await w.client.get("/key", headers={"X-API-Key": "sk_wrong"})
    assert answer.status_code == 401, answer.text


@refuses("oauth.refused")
async def a_state_of_nobody(w: World) -> Steps:
    yield
    answer = await w.client.get("/auth/oauth/stub/callback", params={"state": "x", "code": "y"})
    assert answer.status_code == 400, answer.text
