"""Signing in with a password: held back before any hashing, and the same answer and work whoever asks."""

from datetime import datetime, timedelta
from typing import Any

from app_kernel.auth import store
from app_kernel.auth.accounts import replace_password, upgrade_hash
from app_kernel.auth.identifiers import account_key, login_key
from app_kernel.auth.issuer import Issuer, SignedIn
from app_kernel.auth.mailing import tell
from app_kernel.auth.passwords import DUMMY_HASH, needs_rehash, verify_in_thread
from app_kernel.auth.security_events import emit_security
from app_kernel.auth.throttle import PER_ACCOUNT, PER_NETWORK, network_of, seconds_until_free
from app_kernel.auth.turns import ACCOUNT_AT_ONCE, NETWORK_AT_ONCE
from app_kernel.core import clock
from app_kernel.core.context import current_context
from app_kernel.core.errors import EmailNotVerified, NotAuthenticated, PermissionDenied, ServerBusy, TooManyAttempts
from app_kernel.core.ports import EntityStore

Row = dict[str, Any]

FRESH = timedelta(minutes=10)
WRONG = "Wrong email, username or password."
"""The one answer to every login that fails, so that it tells nobody which accounts exist."""


async def login(
    db: EntityStore, issuer: Issuer, identifier: str, password: str, user_agent: str | None, *, cookie: bool = False
) -> SignedIn:
    """Signs in an account by its email or username.

    Raises NotAuthenticated with one text for every reason, TooManyAttempts before the password is looked at,
    EmailNotVerified once it was right, and ServerBusy when too many passwords wait to be checked.
    """
    field, value = login_key(identifier)
    user = await store.find_user_row(db, field, value)
    account = account_key(*(("email", user["email"]) if user else (field, value)))
    if not await _try_password(db, issuer, user, account, password) or user is None:
        await _report_failure(user)
        raise NotAuthenticated(WRONG)
    await _upgrade(db, user, password)
    return await start_session(db, issuer, user, user_agent, method="password", cookie=cookie)


async def start_session(
    db: EntityStore, issuer: Issuer, user: Row, user_agent: str | None, *, method: str, cookie: bool
) -> SignedIn:
    """Signs in who has proved, by `method`, to be the owner of the account that was read as `user`.

    Raises NotAuthenticated when it is deactivated or changed meanwhile, and EmailNotVerified.
    """
    if not user["is_active"]:
        raise NotAuthenticated(WRONG)
    if issuer.config.email_verification == "required" and user["email_verified_at"] is None:
        raise EmailNotVerified
    async with db.transaction():
        await store.take_account_turn(db, user["id"])
        await _require_unchanged(db, user)
        signed_in = await issuer.start(db, user, user_agent, cookie=cookie)
        await emit_security("auth.login", user["id"], method=method)
    return signed_in


async def change_password(
    db: EntityStore, issuer: Issuer, user_id: str, session_id: str, current: str, new: str
) -> None:
    """Replaces a password by its owner and ends all other sessions.

    The current password is asked for and guarded like a login, because a stolen token must not be enough. Raises
    PermissionDenied when it is wrong, TooManyAttempts, WeakPassword, ServerBusy.
    """
    user = await require_user(db, user_id)
    await prove_password(db, issuer, user, current)
    await replace_password(db, issuer.config, user, new, keep_session=session_id)
    # In a transaction, so that the mail waits in the database while the queue is away.
    async with db.transaction():
        # A reset link that somebody was mailed before is a way in too.
        await store.use_up_email_tokens(db, user_id)
        await tell(issuer.config, user["email"], "password_changed")


async def prove_password(db: EntityStore, issuer: Issuer, user: Row, password: str) -> None:
    """Returns when the password is the account's; guarded like a login.

    Raises PermissionDenied when it is wrong, TooManyAttempts, ServerBusy.
    """
    if not await _try_password(db, issuer, user, account_key("email", user["email"]), password):
        await _report_failure(user)
        raise PermissionDenied("The current password is wrong.")


async def prove_owner(db: EntityStore, issuer: Issuer, user: Row, session_id: str, password: str | None) -> None:
    """Returns when the caller has shown that the account is theirs, by more than a token that may be stolen.

    By its password; where it has none, by a session that began within the last ten minutes. Raises PermissionDenied.
    """
    if user["password_hash"] is not None:
        if password is None:
            raise PermissionDenied("This needs the current password.")
        await prove_password(db, issuer, user, password)
        return
    session = await store.get_session(db, session_id)
    if session is None or clock.now() - datetime.fromisoformat(session["created_at"]) > FRESH:
        raise PermissionDenied("This needs a fresh sign-in: sign in again, then repeat it within ten minutes.")


async def require_user(db: EntityStore, user_id: str) -> Row:
    """The account's row; raises NotAuthenticated when it is gone."""
    user = await store.get_user_row(db, user_id)
    if user is None:
        raise NotAuthenticated
    return user


async def _try_password(db: EntityStore, issuer: Issuer, user: Row | None, account: str, password: str) -> bool:
    """Whether the password is right, tried when it is the attempt's turn; raises TooManyAttempts, ServerBusy."""
    network = network_of(current_context().address)
    known = await store.is_known_network(db, user["id"] if user else "", network)
    own_network = network if known else None
    turns = issuer.turns
    async with (
        turns.take(f"account {account} {own_network or ''}", ACCOUNT_AT_ONCE),
        turns.take(f"network {network or ''}", NETWORK_AT_ONCE),
    ):
        failure_id = await _begin_attempt(db, user, account, own_network, network)
        fits = await _password_fits(db, user, password, failure_id)
        if fits and user is not None:
            await store.delete_login_failure(db, failure_id)
        return fits


async def _begin_attempt(
    db: EntityStore, user: Row | None, account: str, own_network: str | None, network: str | None
) -> str:
    """Notes the attempt as a failure before it is tried, so that parallel guesses count each other.

    Each of them counts itself and everything noted before it, so that of any number at once at most ten go on. A
    refused one leaves no note: it does not prolong the wait. Raises TooManyAttempts.
    """
    try:
        await _refuse_over_limit(db, account, own_network, network, noted=0)
        failure_id = await store.insert_login_failure(db, account, network)
        try:
            await _refuse_over_limit(db, account, own_network, network, noted=1)
        except TooManyAttempts:
            await store.delete_login_failure(db, failure_id)
            raise
    except TooManyAttempts:
        await emit_security("auth.login_throttled", user["id"] if user else None)
        raise
    return failure_id


async def _refuse_over_limit(
    db: EntityStore, account: str, own_network: str | None, network: str | None, *, noted: int
) -> None:
    """`noted` is 1 once the attempt itself stands among the failures."""
    by_account = await store.recent_failures(db, account=account, network=own_network, limit=PER_ACCOUNT + noted)
    _refuse_if_full(by_account, PER_ACCOUNT + noted)
    if network is not None:
        by_network = await store.recent_failures(db, network=network, limit=PER_NETWORK + noted)
        _refuse_if_full(by_network, PER_NETWORK + noted)


def _refuse_if_full(newest_first: list[datetime], limit: int) -> None:
    if len(newest_first) >= limit:
        raise TooManyAttempts(seconds_until_free(newest_first[-1], clock.now()))


async def _password_fits(db: EntityStore, user: Row | None, password: str, failure_id: str) -> bool:
    """One hash call on every path; an attempt that could not be tried is no failure."""
    may_sign_in = user is not None and user["is_active"] and user["password_hash"] is not None
    stored = user["password_hash"] if user is not None and may_sign_in else DUMMY_HASH
    try:
        return await verify_in_thread(password, stored)
    except ServerBusy:
        await store.delete_login_failure(db, failure_id)
        raise


async def _upgrade(db: EntityStore, user: Row, password: str) -> None:
    if needs_rehash(user["password_hash"]):
        try:
            await upgrade_hash(db, user, password)
        except ServerBusy:
            return  # the old hash still works; the next login tries again


async def _require_unchanged(db: EntityStore, user: Row) -> None:
    """A password change or deactivation while the old password was being checked must not leave a session behind."""
    now = await store.get_user_row(db, user["id"])
    if now is None or not now["is_active"] or now["password_changed_at"] != user["password_changed_at"]:
        raise NotAuthenticated(WRONG)


async def _report_failure(user: Row | None) -> None:
    """Says what happened, never what was typed: people type passwords into the wrong box."""
    await emit_security("auth.login_failed", user["id"] if user else None)
