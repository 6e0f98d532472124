"""Whether a request's API key is live and what it may do, now: remembered for at most a second."""

import asyncio
import hashlib
import hmac
from contextvars import Context as TaskContext
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from weakref import WeakSet

from app_kernel.api_keys import store
from app_kernel.api_keys.credential import Auth
from app_kernel.api_keys.key_text import looks_like_api_key, prefix_of
from app_kernel.api_keys.last_used import LastUses, OpenDb
from app_kernel.api_keys.scopes import granted_to, usable
from app_kernel.api_keys.wrong_keys import WrongKeys
from app_kernel.core import clock
from app_kernel.core.context import Context, current_context, enter_context
from app_kernel.core.errors import InvalidToken
from app_kernel.core.events import SecurityEvent
from app_kernel.core.identity import UserIdentity
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Accounts, EntityStore, Memberships
from app_kernel.encryption import key_ring

REMEMBER = 1.0
"""Seconds for which a key and its owner are not read again; a change made by this process counts at once."""
CAPACITY = 10_000
"""Keys remembered; beyond them the oldest are forgotten first."""
PURPOSE = "api_keys"
REFUSED = "The API key is invalid, expired or revoked."

_NO_HASH = "0" * 64
_everywhere: "WeakSet[LiveKeys]" = WeakSet()

Place = tuple[OpenDb, str]
"""Where a key is kept, and its SHA-256: the plaintext is not."""


@dataclass(frozen=True, slots=True)
class _Known:
    auth: Auth | None
    """None: the key is not accepted."""
    reason: str
    key_id: str | None
    user_id: str | None
    expires_at: datetime | None
    read_at: float


class LiveKeys:
    """What checks the API keys of one service."""

    def __init__(self, kernel: Kernel) -> None:
        self.uses = LastUses(kernel)
        self._kernel = kernel
        self._ring = key_ring(kernel.config)
        self._wrong = WrongKeys(kernel)
        self._known: dict[Place, _Known] = {}
        self._genuine: dict[Place, None] = {}
        """Keys of ours, live or not, whatever is to be read again: who sends one of them does not guess."""
        self._loading: dict[Place, asyncio.Task[_Known]] = {}
        _everywhere.add(self)

    async def check(self, text: str, open_db: OpenDb) -> Auth:
        """What the key in plaintext `text`, kept in the database of `open_db`, may do now.

        Raises InvalidToken for a key that is not accepted, RateLimited when too many of those came from the address
        of the running request, and Unavailable when the database cannot tell.
        """
        place = (open_db, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())
        known = self._known.get(place)
        # Both bounds, so that a clock which moved back does not keep an answer for ever.
        if known is None or not 0 <= clock.monotonic() - known.read_at < REMEMBER:
            known = await self._look_up(place, text)
        if known.auth is None or known.key_id is None:
            await self._refuse(known.reason, known, place)
            raise InvalidToken(REFUSED)
        if known.expires_at is not None and known.expires_at <= clock.now():
            self._known.pop(place, None)
            await self._refuse("expired", known, place)
            raise InvalidToken(REFUSED)
        self.uses.note(open_db, known.key_id)
        return known.auth

    def forget(self, *, key_id: str | None = None, user_id: str | None = None) -> None:
        """Makes the next request with this key, or with any key of this user, read it again."""
        for place, known in list(self._known.items()):
            if known.key_id == key_id or known.user_id == user_id:
                del self._known[place]
        # A read under way may have seen the old row: it answers those who wait for it and is not kept.
        self._loading.clear()

    async def _look_up(self, place: Place, text: str) -> _Known:
        address = current_context().address
        if place in self._genuine:
            # A key of ours is looked up even where others at its address guess.
            await self._wrong.check(address, place[1])
        elif looks_like_api_key(text):
            await self._wrong.check(address)
        else:
            await self._refuse("malformed", None, place)
            raise InvalidToken(REFUSED)
        known = await self._read(place, text)
        if known.auth is None:
            self._known.pop(place, None)
        if known.key_id is None:
            self._genuine.pop(place, None)
        elif place not in self._genuine:
            _make_room(self._genuine)
            self._genuine[place] = None
        return known

    async def _refuse(self, reason: str, known: _Known | None, place: Place) -> None:
        """Counts a wrong key, and says so unless there were too many from its address already."""
        address = current_context().address
        # The key is told apart by its hash: nobody learns it from where hits are counted.
        ended = place[1] if known is not None and known.key_id is not None else None
        await self._wrong.check(address, ended)
        detail = {"reason": reason} if known is None else {"reason": reason, "key_id": known.key_id}
        await self._kernel.emit(
            SecurityEvent("api_key.refused", None if known is None else known.user_id, address, detail)
        )
        await self._wrong.count(address, ended)

    async def _read(self, place: Place, text: str) -> _Known:
        """Reads a key once for all who ask at the same time."""
        task = self._loading.get(place)
        if task is None:
            # A context of its own: the read must not join a transaction of whoever asked first, nor die with them.
            task = asyncio.get_running_loop().create_task(self._load(place[0], text), context=TaskContext())
            self._loading[place] = task
            task.add_done_callback(lambda done: self._finish(place, done))
        return await asyncio.shield(task)

    async def _load(self, open_db: OpenDb, text: str) -> _Known:
        enter_context(Context(kernel=self._kernel))
        read_at = clock.monotonic()
        async with open_db() as db:
            row = await store.find_key(db, prefix_of(text))
            macs = self._ring.macs(PURPOSE, text.encode())
            kept = _NO_HASH if row is None else row["key_hash"]
            # Every secret of the ring is tried, whether or not one fits, so that the time tells nothing.
            fits = [hmac.compare_digest(mac, kept) for mac in macs]
            if row is None or not any(fits):
                return _Known(None, "unknown", None, None, None, read_at)
            owner, reason = await self._owner_of(db, row)
        auth = None if owner is None else self._auth_of(row, owner)
        if auth is not None and not fits[0]:
            self.uses.note_hash(open_db, row, macs[0])
        return _Known(auth, reason, row["id"], row["user_id"], row["expires_at"], read_at)

    async def _owner_of(self, db: EntityStore, row: dict[str, Any]) -> tuple[UserIdentity | None, str]:
        """Whose key it is, or None and why it is not accepted."""
        if row["revoked_at"] is not None:
            return None, "revoked"
        accounts = self._kernel.port(Accounts)  # type: ignore[type-abstract]  # a port is asked for by its protocol
        owner = await accounts.get_user(db, row["user_id"])
        if owner is None or not owner.is_active:
            return None, "owner"
        if row["workspace_id"] is None:
            return owner, ""
        memberships = self._kernel.find_port(Memberships)  # type: ignore[type-abstract]  # as above
        role = None if memberships is None else await memberships.role_in(db, row["workspace_id"], owner.id)
        return (None, "membership") if role is None else (owner, "")

    def _auth_of(self, row: dict[str, Any], owner: UserIdentity) -> Auth:
        user = UserIdentity(owner.id, owner.email, owner.role, owner.is_active, row["workspace_id"])
        granted = granted_to(owner.role, self._kernel.config.role_scopes)
        scopes = usable(row["scopes"], granted, owner.role)
        return Auth("api_key", owner.id, user, row["id"], row["name"], row["workspace_id"], scopes)

    def _finish(self, place: Place, task: "asyncio.Task[_Known]") -> None:
        current = self._loading.get(place) is task
        if current:
            del self._loading[place]
        if not task.cancelled() and task.exception() is None and current and task.result().auth is not None:
            _make_room(self._known)
            self._known[place] = task.result()


def _make_room(remembered: dict[Place, Any]) -> None:
    if len(remembered) >= CAPACITY:
        remembered.pop(next(iter(remembered)))


def forget(*, key_id: str | None = None, user_id: str | None = None) -> None:
    """Makes every service of this process read a key, or all keys of a user, again at the next request."""
    for live in list(_everywhere):
        live.forget(key_id=key_id, user_id=user_id)
