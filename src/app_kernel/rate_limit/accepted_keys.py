"""Whose API keys have been accepted lately, so that their requests need not count as those of nobody.

Whether a key is good is known only in the route that takes it, after the request has been counted. So a request counts
by its address until its key has been accepted here once, and from then on against the key's owner. Keys that were made
up never are accepted: they are no way around the limit of their address.
"""

import hashlib
from collections import OrderedDict

from starlette.types import Message, Scope, Send

from app_kernel.core import clock
from app_kernel.core.context import Context

REMEMBER = 60.0
"""Seconds for which a key counts for its owner after it was accepted. A key that is revoked meanwhile is forgotten with
the first route that refuses it; until then routes that ask for no key go on counting it for its owner."""
CAPACITY = 10_000
"""Keys remembered; beyond them the one that was accepted the longest ago is forgotten."""


class AcceptedKeys:
    """Of one process; keeps the SHA-256 of keys, and no key."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._known: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def owner_of(self, mark: bytes | None) -> str | None:
        """The id of the user whose key this is; None for one that was not accepted lately, and for none at all."""
        known = self._known.get(mark) if mark is not None else None
        # Both bounds, so that a clock which moved back does not keep an answer for ever.
        if known is None or not 0 <= clock.monotonic() - known[1] < REMEMBER:
            return None
        return known[0]

    def note(self, mark: bytes, user_id: str) -> None:
        """Remembers a key that was accepted just now."""
        self._known[mark] = (user_id, clock.monotonic())
        self._known.move_to_end(mark)
        if len(self._known) > self._capacity:
            self._known.popitem(last=False)

    def forget(self, mark: bytes) -> None:
        """Takes back that a key was accepted."""
        self._known.pop(mark, None)

    def learning(self, mark: bytes, context: Context, send: Send) -> Send:
        """A `send` that learns from the answer whether the key that came with a request was accepted."""

        async def send_and_learn(message: Message) -> None:
            if context.api_key_id is not None and context.actor_id is not None:
                self.note(mark, context.actor_id)
            elif message.get("status") in (401, 429):
                self.forget(mark)
            await send(message)

        return send_and_learn


def mark_of(scope: Scope) -> bytes | None:
    """What an API key is remembered by that came with a request; None where nothing came that might be one."""
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return hashlib.sha256(value.strip()).digest()
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            token = token.strip()
            if scheme.lower() == b"bearer" and token.startswith(b"sk_"):
                return hashlib.sha256(token).digest()
    return None
