"""Sign-up, and how an address is shown to be its owner's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app_kernel.auth import store
from app_kernel.auth.accounts import (
    check_new_password,
    create_account,
    hash_new_password,
    insert_account,
    new_account,
    store_password,
)
from app_kernel.auth.email_tokens import Purpose, hash_email_token, purpose_of
from app_kernel.auth.identifiers import canonical_email
from app_kernel.auth.issuer import Issuer, SignedIn
from app_kernel.auth.live import forget_user
from app_kernel.auth.mailing import give_choose_token, mailer, send_link, tell, tell_of_account
from app_kernel.auth.security_events import emit, emit_security
from app_kernel.auth.sign_in import prove_owner, prove_password
from app_kernel.core import clock
from app_kernel.core.errors import (
    AccountError,
    AccountExists,
    InvalidEmail,
    InvalidLink,
    PermissionDenied,
    SignupDisabled,
    VersionConflict,
)
from app_kernel.core.events import OwnershipProven
from app_kernel.core.ports import EntityStore

Row = dict[str, Any]


async def register(
    db: EntityStore, issuer: Issuer, values: dict[str, Any], user_agent: str | None, base: str
) -> SignedIn | None:
    """Makes an account by sign-up and signs it in; its role is `user`, whatever the client sent.

    With `email_verification="required"` it is None: nobody is signed in, a mail is on its way, and an address that has
    an account gets another mail, at the same cost. Raises SignupDisabled, AccountExists, and what `create_user` raises.
    """
    config = issuer.config
    if not config.allow_self_signup:
        raise SignupDisabled
    if config.email_verification == "required":
        await _register_by_mail(db, issuer, values, base)
        return None
    row = await create_account(
        db,
        config,
        values["email"],
        values["password"],
        name=values.get("name"),
        username=values.get("username"),
    )
    return await issuer.start(db, row, user_agent, cookie=bool(values.get("cookie")))


async def _register_by_mail(db: EntityStore, issuer: Issuer, values: dict[str, Any], base: str) -> None:
    config = issuer.config
    mailer()
    if values.get("username") is not None:
        # A username that is taken afterwards, or is not, would tell whether the address had an account.
        raise AccountError("A username is chosen after signing in: sign up without one, then PATCH /auth/me.")
    account = new_account(config, values["email"], values["password"], name=values.get("name"))
    password_hash = await hash_new_password(values["password"])
    try:
        async with db.transaction():
            if not await store.find_user_row(db, "email", account["email"]):
                row = await insert_account(db, account, password_hash, email_verified=False)
                await send_link(db, config, row, "verify", base)
                return
    except AccountExists:
        pass  # somebody was faster: the address has an account now
    owner = await store.find_user_row(db, "email", account["email"])
    if owner is not None and owner["email_verified_at"] is None:
        await send_link(db, config, owner, "verify", base)
    elif owner is not None:
        await tell_of_account(db, config, owner, base)


async def confirm(
    db: EntityStore, issuer: Issuer, token: str, password: str | None, caller: tuple[str, str] | None
) -> tuple[Row, str | None]:
    """Uses up a link that shows that an address is its owner's; the account, and a token to choose a password or None.

    Whoever made the account with this address may not be who reads mail there. So unless the caller is signed in to it
    (`caller` is their user and session id) or knows its password, that password is removed and every session ends
    before the address counts as confirmed (OWASP on pre-hijacked accounts). A change of address needs one of both, as
    the account is not known to belong to who reads mail at the new address. Raises InvalidLink, PermissionDenied,
    AccountExists, TooManyAttempts.
    """
    link, user = await open_link(db, token, ("verify", "change"))
    owned = caller is not None and caller[0] == user["id"]
    if not owned and password is not None:
        if user["password_hash"] is None:
            raise PermissionDenied("The current password is wrong.")
        await prove_password(db, issuer, user, password)
        owned = True
    if link["purpose"] == "change":
        if not owned:
            raise PermissionDenied("Sign in to the account first, or give its password.")
        return await _change_email(db, issuer, link, user), None
    if not owned and user["email_verified_at"] is not None:
        # An older mail of one whose address is confirmed already: it must not take the password away.
        raise InvalidLink("This address is confirmed already; sign in.")
    if owned:
        async with _used_up(db, link):
            verified = user["email_verified_at"] or clock.now()
            changed = await store.update_user(db, user["id"], {"email_verified_at": verified})
            await emit_security("auth.email_verified", user["id"])
        return changed, None
    return await _take_over(db, link, user)


async def _take_over(db: EntityStore, link: Row, user: Row) -> tuple[Row, str]:
    async with _used_up(db, link):
        changed = await store_password(db, user, None, email_verified_at=clock.now())
        await _forget_what_came_before(db, user)
        chosen = await give_choose_token(db, changed)
        await emit_security("auth.email_verified", user["id"], password="removed")  # noqa: S106 - what became of it
    return changed, chosen


async def _change_email(db: EntityStore, issuer: Issuer, link: Row, user: Row) -> Row:
    async with _used_up(db, link):
        values = {"email": link["email"], "email_verified_at": clock.now()}
        changed = await store.update_user(db, user["id"], values, user["_version"])
        await store.use_up_email_tokens(db, user["id"])
        await tell(issuer.config, user["email"], "email_changed", new_email=link["email"])
        db.after_commit(lambda: forget_user(user["id"]))
        await emit_security("auth.email_changed", user["id"])
    return changed


async def request_email_change(
    db: EntityStore, issuer: Issuer, user: Row, session_id: str, given: tuple[str, str | None], base: str
) -> None:
    """Mails a link to the address to come (`given` is that and the password); nothing changes before it is followed.

    An address that has an account gets a notice instead, so that the caller learns nothing of it. Raises InvalidEmail,
    PermissionDenied, MailNotConfigured, TooManyAttempts.
    """
    mailer()
    config = issuer.config
    email = canonical_email(given[0], allow_test_domains=not config.production)
    await prove_owner(db, issuer, user, session_id, given[1])
    if email == user["email"]:
        raise InvalidEmail("This is the address of the account already.")
    owner = await store.find_user_row(db, "email", email)
    if owner is not None:
        await tell_of_account(db, config, owner, base)
        return
    await send_link(db, config, user, "change", base, to=email)


async def reset_password(db: EntityStore, issuer: Issuer, token: str, password: str) -> None:
    """Sets the password of an account by a mailed link, ends all its sessions and uses up its other links.

    The address is confirmed by that. Raises InvalidLink and WeakPassword, which leaves the link to be used again.
    """
    link, user = await open_link(db, token, ("reset", "choose"))
    check_new_password(issuer.config, password, user)
    password_hash = await hash_new_password(password)
    async with _used_up(db, link):
        verified = user["email_verified_at"]
        await store_password(db, user, password_hash, email_verified_at=verified or clock.now())
        if verified is None:
            await _forget_what_came_before(db, user)
        await store.use_up_email_tokens(db, user["id"])
        await tell(issuer.config, user["email"], "password_changed")
        await emit_security("auth.password_reset", user["id"])


async def _forget_what_came_before(db: EntityStore, user: Row) -> None:
    """The owner of the address shows up for the first time: what was attached to the account may be somebody else's.

    Called once the sessions are ended and with the account's turn, so that nothing more is attached by them.
    """
    await store.use_up_email_tokens(db, user["id"])
    await emit(OwnershipProven(user["id"]))


@asynccontextmanager
async def _used_up(db: EntityStore, link: Row) -> AsyncIterator[None]:
    """One commit in which a link is used up, by one caller only; raises InvalidLink to the others."""
    async with db.transaction():
        await store.take_account_turn(db, link["user_id"])
        try:
            await store.use_email_token(db, link)
        except VersionConflict:
            raise InvalidLink from None
        yield


async def open_link(db: EntityStore, token: str, purposes: tuple[Purpose, ...]) -> tuple[Row, Row]:
    """The link and the account of a token for one of these purposes; raises InvalidLink for every other one."""
    if purpose_of(token) not in purposes:
        raise InvalidLink
    link = await store.find_email_token(db, hash_email_token(token))
    if link is None or link["purpose"] not in purposes or link["used_at"] is not None:
        raise InvalidLink
    if link["expires_at"] <= clock.now():
        raise InvalidLink
    user = await store.get_user_row(db, link["user_id"])
    if user is None or not user["is_active"]:
        raise InvalidLink
    if link["purpose"] != "change" and user["email"] != link["email"]:
        raise InvalidLink
    return link, user
