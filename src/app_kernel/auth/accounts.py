"""Accounts: making, finding and changing them, from routes, scripts, the command line and start-up code alike."""

import logging
import re
from collections.abc import Mapping
from typing import Any

from app_kernel.auth import store
from app_kernel.auth.identifiers import canonical_email, canonical_username, login_key
from app_kernel.auth.live import forget_user
from app_kernel.auth.password_rules import check_password_length, find_weakness
from app_kernel.auth.passwords import hash_in_thread
from app_kernel.auth.security_events import emit, emit_security, find_kernel
from app_kernel.auth.tables import TABLES
from app_kernel.core import clock
from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import (
    AccountError,
    AccountExists,
    AccountNotFound,
    VersionConflict,
    WeakPassword,
)
from app_kernel.core.events import UserDeleted, UserRegistered
from app_kernel.core.identity import UserIdentity
from app_kernel.core.ports import EntityStore

MAX_NAME = 200

_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,49}")
_log = logging.getLogger("app_kernel.auth")

Row = dict[str, Any]


async def create_user(
    db: EntityStore,
    email: str,
    password: str | None,
    *,
    role: str = "user",
    name: str | None = None,
    username: str | None = None,
    email_verified: bool = False,
    config: ServiceConfig | None = None,
) -> UserIdentity:
    """Makes an account and returns its identity: in `db_seed`, in a script, or from code of the application.

    `email_verified` says that the address is known to be its owner's; with `email_verification="required"` the account
    signs in only then, or once its owner followed a link. Without a password it is signed in to by other ways. The
    rules for passwords are those of `config`, which is the running service's when it is left out. A password that is
    too common is refused in production and warned about elsewhere. Listeners hear UserRegistered when a service runs
    here. Raises AccountExists (also when the race for an email is lost), InvalidEmail, InvalidUsername, WeakPassword,
    AccountError, and ServerBusy when too many passwords wait to be hashed.
    """
    await db.privileged.ensure_tables(TABLES)
    row = await create_account(
        db,
        _settings(config),
        email,
        password,
        role=role,
        name=name,
        username=username,
        email_verified=email_verified,
    )
    return identity_of(row)


async def get_user(db: EntityStore, user_id: str) -> UserIdentity | None:
    """The account with this id, disabled or not, or None."""
    row = await store.get_user_row(db, user_id)
    return None if row is None else identity_of(row)


async def find_user(db: EntityStore, email_or_username: str) -> UserIdentity | None:
    """The account with this email or username, in any spelling of it, or None."""
    row = await store.find_user_row(db, *login_key(email_or_username))
    return None if row is None else identity_of(row)


async def list_users(db: EntityStore, limit: int = 100) -> list[UserIdentity]:
    """The accounts, the oldest first, at most `limit`."""
    return [identity_of(row) for row in await store.list_user_rows(db, limit)]


async def set_role(db: EntityStore, user_id: str, role: str) -> UserIdentity:
    """Gives an account another role, from its next request on (in other processes within a second).

    Raises AccountNotFound, and AccountError for text that cannot be a role.
    """
    return await _change(db, user_id, {"role": _checked_role(role)}, "auth.role_changed")


async def deactivate_user(db: EntityStore, user_id: str) -> UserIdentity:
    """Shuts an account out: it cannot sign in, and its sessions end now (in other processes within a second).

    Raises AccountNotFound.
    """
    async with db.transaction():
        await end_sessions(db, user_id)
        await _require_row(db, user_id)
        row = await store.update_user(db, user_id, {"is_active": False})
        await emit_security("auth.deactivated", user_id)
    return identity_of(row)


async def activate_user(db: EntityStore, user_id: str) -> UserIdentity:
    """Lets a deactivated account sign in again; raises AccountNotFound."""
    return await _change(db, user_id, {"is_active": True}, "auth.activated")


async def set_password(db: EntityStore, user_id: str, password: str, *, config: ServiceConfig | None = None) -> None:
    """Gives an account another password and ends all its sessions; raises AccountNotFound and WeakPassword."""
    row = await _require_row(db, user_id)
    await replace_password(db, _settings(config), row, password, keep_session=None)
    await store.use_up_email_tokens(db, user_id)


async def create_account(
    db: EntityStore,
    config: ServiceConfig,
    email: str,
    password: str | None,
    *,
    role: str = "user",
    name: str | None = None,
    username: str | None = None,
    email_verified: bool = False,
) -> Row:
    """As `create_user`, in tables that are there; returns the whole row."""
    values = new_account(config, email, password, name=name, username=username, role=role)
    await refuse_taken(db, values)
    return await insert_account(db, values, await hash_new_password(password), email_verified=email_verified)


def new_account(
    config: ServiceConfig,
    email: str,
    password: str | None,
    *,
    name: str | None = None,
    username: str | None = None,
    role: str = "user",
) -> Row:
    """The checked values of an account to be; raises AccountError, among them WeakPassword."""
    values = {
        "email": canonical_email(email, allow_test_domains=not config.production),
        "username": None if username is None else canonical_username(username),
        "name": checked_name(name),
        "role": _checked_role(role),
    }
    if password is not None:
        check_new_password(config, password, values)
    return values


async def hash_new_password(password: str | None) -> str | None:
    """The hash to store; None for an account without a password."""
    return None if password is None else await hash_in_thread(password)


async def insert_account(
    db: EntityStore, values: Mapping[str, Any], password_hash: str | None, *, email_verified: bool
) -> Row:
    """Stores an account, in one commit with what listeners write; raises AccountExists, however close the race."""
    now = clock.now()
    secret = {"password_hash": password_hash, "password_changed_at": now}
    verified = {"email_verified_at": now if email_verified else None}
    async with db.transaction():
        row = await store.insert_user(db, {**values, **secret, **verified, "is_active": True})
        await emit(UserRegistered(row["id"], row["email"], row["role"]))
        await emit_security("auth.registered", row["id"])
    return row


async def delete_user(db: EntityStore, user_id: str) -> None:
    """Deletes an account for good, with its sessions and all that the kernel's features keep of it, in one commit.

    Rows of the application that carry its id stay as they are: listen to UserDeleted to delete or change them in the
    same commit. Raises AccountNotFound.
    """
    async with db.transaction():
        await store.take_account_turn(db, user_id)
        row = await _require_row(db, user_id)
        await emit(UserDeleted(user_id, row["email"]))
        await store.delete_user_rows(db, user_id)
        db.after_commit(lambda: forget_user(user_id))
        await emit_security("auth.deleted", user_id)


async def confirm_email(db: EntityStore, user_id: str) -> UserIdentity:
    """Notes that the account as it stands, its password and sessions included, is of who reads mail at its address.

    For accounts that were made by who vouches for them. Where anybody could sign up under the address, set another
    password first. Raises AccountNotFound.
    """
    row = await _require_row(db, user_id)
    if row["email_verified_at"] is None:
        await _change(db, user_id, {"email_verified_at": clock.now()}, "auth.email_verified")
    return identity_of(row)


async def replace_password(
    db: EntityStore, config: ServiceConfig, row: Row, password: str, *, keep_session: str | None
) -> None:
    """Stores a new password of the account and ends its sessions but `keep_session`.

    Raises WeakPassword, and VersionConflict when somebody changed the account since `row` was read.
    """
    check_new_password(config, password, row)
    password_hash = await hash_in_thread(password)
    async with db.transaction():
        await store_password(db, row, password_hash, keep_session=keep_session)
        await emit_security("auth.password_changed", row["id"])


async def store_password(
    db: EntityStore, row: Row, password_hash: str | None, *, keep_session: str | None = None, **more: Any
) -> Row:
    """Stores a hash, or None for no password, and `more` values with it, and ends the sessions but `keep_session`.

    Raises VersionConflict when the password, the address or the state of the account changed since `row` was read; its
    name or role may have, or whoever holds a session could keep its owner from a new password by changing its name.
    """
    values = {"password_hash": password_hash, "password_changed_at": clock.now(), **more}
    async with db.transaction():
        await end_sessions(db, row["id"], keep=keep_session)
        now = await store.get_user_row(db, row["id"])
        if now is None or any(now[field] != row[field] for field in ("password_changed_at", "email", "is_active")):
            raise VersionConflict("The account was changed meanwhile; try again.")
        return await store.update_user(db, row["id"], values)


async def update_profile(db: EntityStore, user_id: str, given: Mapping[str, Any]) -> Row:
    """Changes the name and username that are given; raises AccountExists, InvalidUsername, AccountNotFound."""
    values: Row = {}
    if "name" in given:
        values["name"] = checked_name(given["name"])
    if "username" in given:
        values["username"] = None if given["username"] is None else canonical_username(given["username"])
    await _require_row(db, user_id)
    return await store.update_user(db, user_id, values)


async def end_sessions(db: EntityStore, user_id: str, *, keep: str | None = None) -> None:
    """Ends the sessions of a user but `keep`, from the next request on, in one commit.

    Who signs in or does something lasting with a session at this moment does it before, or is refused.
    """
    async with db.transaction():
        await store.take_account_turn(db, user_id)
        await store.revoke_sessions(db, user_id, keep=keep)
        db.after_commit(lambda: forget_user(user_id))


async def upgrade_hash(db: EntityStore, row: Row, password: str) -> None:
    """Replaces a hash of an older kind or cost, now that the password is known; a newer change of the row wins."""
    values = {"password_hash": await hash_in_thread(password)}
    await store.update_if_unchanged(db, row, values)


def check_new_password(config: ServiceConfig, password: str, account: Mapping[str, Any]) -> None:
    """Raises WeakPassword for a password this account may not choose; outside production a common one only warns."""
    check_password_length(password, config.password_min_length)
    context = [config.name, account.get("username"), str(account["email"]).rpartition("@")[0]]
    weakness = find_weakness(password, [word for word in context if word])
    if weakness is None:
        return
    if config.production:
        raise WeakPassword(weakness)
    _log.warning("weak_password_accepted", extra={"reason": weakness, "in_production": "refused"})


def identity_of(row: Mapping[str, Any]) -> UserIdentity:
    """The account as the rest of the kernel knows it."""
    return UserIdentity(row["id"], row["email"], row["role"], row["is_active"])


def checked_name(name: str | None) -> str | None:
    """A display name without space around it, or None for an empty one; raises AccountError when it is too long."""
    text = (name or "").strip()
    if len(text) > MAX_NAME:
        raise AccountError(f"A name has at most {MAX_NAME} characters.")
    return text or None


async def _change(db: EntityStore, user_id: str, values: Row, event: str) -> UserIdentity:
    async with db.transaction():
        await _require_row(db, user_id)
        row = await store.update_user(db, user_id, values)
        db.after_commit(lambda: forget_user(user_id))
        await emit_security(event, user_id)
    return identity_of(row)


async def _require_row(db: EntityStore, user_id: str) -> Row:
    row = await store.get_user_row(db, user_id)
    if row is None:
        raise AccountNotFound
    return row


async def refuse_taken(db: EntityStore, values: Mapping[str, Any]) -> None:
    """Saves the work of hashing; what decides is the unique index."""
    for field in ("email", "username"):
        if values[field] is not None and await store.find_user_row(db, field, values[field]):
            raise AccountExists


def _checked_role(role: str) -> str:
    if not _ROLE.fullmatch(role):
        raise AccountError("A role is 1 to 50 letters, digits and the signs . _ : -, beginning with a letter or digit.")
    return role


def _settings(config: ServiceConfig | None) -> ServiceConfig:
    """The settings given, else the running service's, else the defaults."""
    if config is not None:
        return config
    kernel = find_kernel()
    return ServiceConfig() if kernel is None else kernel.config
