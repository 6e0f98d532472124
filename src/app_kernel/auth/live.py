"""Who a request's access token stands for, now: the session and user behind it, remembered for at most a second."""

import asyncio
from contextvars import Context
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakSet

from starlette.types import Scope

from app_kernel.auth import store
from app_kernel.auth.cookies import SessionCookies
from app_kernel.auth.security_events import emit_security
from app_kernel.auth.sessions import Lifetimes
from app_kernel.auth.tokens import AccessClaims, AccessTokens
from app_kernel.core import clock
from app_kernel.core.errors import CrossSiteRequest, InvalidToken
from app_kernel.core.identity import UserIdentity
from app_kernel.core.kernel import Kernel

REMEMBER = 1.0
"""Seconds for which a session and its user are not read again; a change made by this process counts at once."""
CAPACITY = 10_000
"""Tokens and sessions remembered; beyond them the oldest are forgotten first."""

K = TypeVar("K")

_everywhere: "WeakSet[LiveSessions]" = WeakSet()


@dataclass(frozen=True, slots=True)
class _Known:
    user: UserIdentity | None
    """None: the session is over, or its user may not sign in."""
    user_id: str
    read_at: float


class LiveSessions:
    """The authenticator of one service."""

    def __init__(self, tokens: AccessTokens, lifetimes: Lifetimes, cookies: SessionCookies) -> None:
        self._tokens = tokens
        self._lifetimes = lifetimes
        self._cookies = cookies
        self._verified: dict[bytes, AccessClaims] = {}
        self._known: dict[str, _Known] = {}
        self._loading: dict[str, tuple[str, asyncio.Task[_Known]]] = {}
        _everywhere.add(self)

    async def identify(self, kernel: Kernel, scope: Scope) -> UserIdentity | None:
        """The user whose access token came with the request, None without one; raises InvalidToken.

        Raises CrossSiteRequest for a cookie that another site's page may have sent along, and Unavailable when the
        database cannot tell: a session nobody can check is not let in.
        """
        try:
            claims = self.find_claims(scope)
        except CrossSiteRequest:
            await emit_security("auth.csrf_refused", None, path=scope["path"])
            raise
        if claims is None:
            return None
        known = self._known.get(claims.session_id)
        # Both bounds, so that a clock which moved back does not keep an answer for ever.
        if known is None or not 0 <= clock.monotonic() - known.read_at < REMEMBER:
            known = await self._read(kernel, claims)
        if known.user is None or known.user_id != claims.user_id:
            raise InvalidToken
        return known.user

    def find_claims(self, scope: Scope) -> AccessClaims | None:
        """What the request's access token says, None without one; raises InvalidToken, CrossSiteRequest.

        A token in the Authorization header comes before one in a cookie.
        """
        token, has_cookies = _bearer_token(scope)
        if token is not None:
            return self._checked(token)
        value = self._cookies.read(scope, self._cookies.session) if has_cookies else None
        if value is None:
            return None
        claims = self._checked(value.encode("latin-1"))
        self._cookies.require_same_site(scope, claims.session_id)
        return claims

    def _checked(self, token: bytes) -> AccessClaims:
        claims = self._verified.get(token)
        if claims is None:
            return self._verify(token)
        if claims.expires_at <= clock.epoch():
            self._verified.pop(token, None)
            raise InvalidToken
        return claims

    def forget_session(self, session_id: str) -> None:
        """Makes the next request of this session read it again."""
        self._known.pop(session_id, None)
        # A read under way may have seen the old row: it answers those who wait for it and is not kept.
        self._loading.pop(session_id, None)

    def forget_user(self, user_id: str) -> None:
        """Makes the next request of each of this user's sessions read it again."""
        for session_id in [sid for sid, known in self._known.items() if known.user_id == user_id]:
            del self._known[session_id]
        for session_id in [sid for sid, (owner, _) in self._loading.items() if owner == user_id]:
            del self._loading[session_id]

    def _verify(self, token: bytes) -> AccessClaims:
        if token.startswith(b"sk_"):
            raise InvalidToken("An API key is not accepted here; it needs the access token of a user.")
        claims = self._tokens.verify(token)
        _make_room(self._verified)
        self._verified[token] = claims
        return claims

    async def _read(self, kernel: Kernel, claims: AccessClaims) -> _Known:
        """Reads a session once for all who ask at the same time."""
        under_way = self._loading.get(claims.session_id)
        if under_way is not None:
            return await asyncio.shield(under_way[1])
        # A context of its own: the read must not join a transaction of whoever asked first, nor die with them.
        task = asyncio.get_running_loop().create_task(self._load(kernel, claims), context=Context())
        self._loading[claims.session_id] = (claims.user_id, task)
        task.add_done_callback(lambda done: self._finish(claims.session_id, done))
        return await asyncio.shield(task)

    async def _load(self, kernel: Kernel, claims: AccessClaims) -> _Known:
        read_at = clock.monotonic()
        db = kernel.db.connection()
        session = await store.get_session(db, claims.session_id)
        if session is None or not self._lifetimes.is_live(session, clock.now()):
            return _Known(None, claims.user_id, read_at)
        # By the session's own user: a token that names another one must not decide what this session is.
        row = await store.get_user_row(db, session["user_id"])
        if row is None or not row["is_active"]:
            return _Known(None, session["user_id"], read_at)
        memberships = kernel.memberships
        workspace_id = None if memberships is None else await memberships.current_workspace(db, row["id"])
        user = UserIdentity(row["id"], row["email"], row["role"], workspace_id=workspace_id)
        return _Known(user, session["user_id"], read_at)

    def _finish(self, session_id: str, task: "asyncio.Task[_Known]") -> None:
        under_way = self._loading.get(session_id)
        current = under_way is not None and under_way[1] is task
        if current:
            del self._loading[session_id]
        if not task.cancelled() and task.exception() is None and current:
            _make_room(self._known)
            self._known[session_id] = task.result()


def forget_user(user_id: str) -> None:
    """Makes every service of this process read a user again at the next request."""
    for live in list(_everywhere):
        live.forget_user(user_id)


def _bearer_token(scope: Scope) -> tuple[bytes | None, bool]:
    """The token in the Authorization header, and whether there are cookies."""
    value: bytes | None = None
    has_cookies = False
    for name, given in scope["headers"]:
        if name == b"authorization":
            if value is not None:
                raise InvalidToken("The request has more than one Authorization header.")
            value = given
        elif name == b"cookie":
            has_cookies = True
    if value is None:
        return None, has_cookies
    return (value[7:].strip() if value[:7].lower() == b"bearer " else None), has_cookies


def _make_room(remembered: dict[K, Any]) -> None:
    if len(remembered) >= CAPACITY:
        remembered.pop(next(iter(remembered)))
