"""Starts, renews and ends sessions, and issues the two tokens of each."""

import hmac
from dataclasses import dataclass, replace
from typing import Any

from app_kernel.auth import store
from app_kernel.auth.accounts import end_sessions
from app_kernel.auth.cookies import SessionCookies
from app_kernel.auth.live import LiveSessions
from app_kernel.auth.refresh import (
    GRACE,
    RefreshToken,
    RefreshTokens,
    hash_refresh_token,
    new_nonce,
    parse_refresh_token,
)
from app_kernel.auth.security_events import emit_security
from app_kernel.auth.sessions import Lifetimes
from app_kernel.auth.throttle import network_of
from app_kernel.auth.tokens import AccessTokens
from app_kernel.auth.turns import Turns
from app_kernel.core import clock
from app_kernel.core.config import ServiceConfig
from app_kernel.core.context import current_context
from app_kernel.core.errors import ConfigurationError, DatabaseBusy, InvalidToken, VersionConflict
from app_kernel.core.ports import EntityStore

Row = dict[str, Any]

MAX_USER_AGENT = 255
_ATTEMPTS = 20
_REFUSED = "The refresh token is invalid, expired or revoked."


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session's tokens and the account behind it."""

    access_token: str
    refresh_token: str
    expires_in: int
    """Seconds for which the access token is accepted."""
    user: Row
    session_id: str
    session_seconds: int = 0
    """Seconds until the session ends in any case."""
    cookie: bool = False
    """Whether the tokens go into cookies instead of the answer's body."""


class Issuer:
    """The sessions of one service."""

    def __init__(self, config: ServiceConfig) -> None:
        if config.jwt_secret is None:
            raise ConfigurationError(
                ["JWT_SECRET: needed to sign access tokens, or turn auth off with AUTH_ENABLED=false"]
            )
        secrets = [secret for secret in (config.jwt_secret, config.jwt_secret_previous) if secret]
        self.config = config
        self._access = AccessTokens(config.name or "", secrets)
        self._refresh = RefreshTokens(secrets)
        self._lifetimes = Lifetimes.of(config)
        self.turns = Turns()
        self.cookies = SessionCookies(config, secrets)
        self.live = LiveSessions(self._access, self._lifetimes, self.cookies)

    async def start(self, db: EntityStore, user: Row, user_agent: str | None, *, cookie: bool = False) -> SignedIn:
        """Signs a user in from the address of the running request."""
        now, session_id, nonce = clock.now(), clock.new_id(), new_nonce()
        address = current_context().address
        token = self._refresh.derive(session_id, 1, nonce)
        session = await store.insert_session(
            db,
            {
                "id": session_id,
                "user_id": user["id"],
                "refresh_hash": hash_refresh_token(token),
                "generation": 1,
                "nonce": nonce,
                "rotated_at": now,
                "last_used_at": now,
                "expires_at": now + self._lifetimes.absolute,
                "revoked_at": None,
                "address": address,
                "network": network_of(address),
                "user_agent": (user_agent or "")[:MAX_USER_AGENT] or None,
            },
        )
        return replace(self._signed_in(user, session, token), cookie=cookie)

    async def renew(self, db: EntityStore, text: str) -> SignedIn:
        """The next tokens of a session, for its refresh token.

        Of parallel calls with one token, one rotates it and the others get the same successor, for 10 s. A token older
        than that was copied: its session ends. Raises InvalidToken.
        """
        token = parse_refresh_token(text)
        for _ in range(_ATTEMPTS):
            session, user = await self._require_session(db, token)
            if token.generation == session["generation"]:
                try:
                    return await self._rotate(db, session, user, text)
                except VersionConflict:
                    continue
            if token.generation == session["generation"] - 1 and clock.now() - session["rotated_at"] <= GRACE:
                return self._repeat(session, user)
            if token.generation < session["generation"]:
                await self.end(db, session["id"], session["user_id"], "auth.refresh_reused")
            raise InvalidToken(_REFUSED)
        raise DatabaseBusy("The session is being changed by too many requests at once.")

    async def find_renewable(self, db: EntityStore, text: str) -> str | None:
        """The id of the live session that a refresh token of its current generation belongs to, or None."""
        try:
            token = parse_refresh_token(text)
            session, _ = await self._require_session(db, token)
        except InvalidToken:
            return None
        is_current = hmac.compare_digest(hash_refresh_token(text), session["refresh_hash"])
        return str(session["id"]) if is_current else None

    async def end(self, db: EntityStore, session_id: str, user_id: str | None, event: str = "auth.logout") -> None:
        """Ends one session and everything issued from it; `event` is what it is in the security log."""
        async with db.transaction():
            await store.revoke_session(db, session_id)
            db.after_commit(lambda: self.live.forget_session(session_id))
            await emit_security(event, user_id, session_id=session_id)

    async def end_all(self, db: EntityStore, user_id: str) -> None:
        """Ends every session of a user."""
        async with db.transaction():
            await end_sessions(db, user_id)
            await emit_security("auth.logout_all", user_id)

    async def list_sessions(self, db: EntityStore, user_id: str) -> list[Row]:
        """A user's live sessions, the newest first."""
        return await store.list_live_sessions(db, user_id, self._lifetimes.idle)

    async def find_live(self, db: EntityStore, user_id: str, session_id: str) -> Row | None:
        """The session, if it is the user's and still alive."""
        session = await store.get_session(db, session_id)
        if session is None or session["user_id"] != user_id or not self._lifetimes.is_live(session, clock.now()):
            return None
        return session

    async def _require_session(self, db: EntityStore, token: RefreshToken) -> tuple[Row, Row]:
        """The live session and active user of a token that we made; a forged one changes nothing."""
        session = await store.get_session(db, token.session_id)
        if session is None or not self._refresh.is_genuine(token, session["nonce"]):
            raise InvalidToken(_REFUSED)
        user = await store.get_user_row(db, session["user_id"])
        if user is None or not user["is_active"] or not self._lifetimes.is_live(session, clock.now()):
            raise InvalidToken(_REFUSED)
        return session, user

    async def _rotate(self, db: EntityStore, session: Row, user: Row, text: str) -> SignedIn:
        if hash_refresh_token(text) != session["refresh_hash"]:
            raise InvalidToken(_REFUSED)
        now = clock.now()
        successor = self._refresh.derive(session["id"], session["generation"] + 1, session["nonce"])
        changes = {"refresh_hash": hash_refresh_token(successor), "rotated_at": now, "last_used_at": now}
        rotated = await store.rotate_session(db, session, {**changes, "address": current_context().address})
        return self._signed_in(user, rotated, successor)

    def _repeat(self, session: Row, user: Row) -> SignedIn:
        successor = self._refresh.derive_stored(
            session["id"], session["generation"], session["nonce"], session["refresh_hash"]
        )
        if successor is None:
            raise InvalidToken(_REFUSED)
        return self._signed_in(user, session, successor)

    def _signed_in(self, user: Row, session: Row, refresh_token: str) -> SignedIn:
        now = clock.now()
        expires_at = self._lifetimes.access_expiry(session, now)
        access_token = self._access.issue(user["id"], session["id"], user["role"], expires_at)
        seconds = int((session["expires_at"] - now).total_seconds())
        return SignedIn(access_token, refresh_token, expires_at - int(now.timestamp()), user, session["id"], seconds)
