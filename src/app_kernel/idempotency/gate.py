"""Stands between a route's dependencies and its handler, for one request with an Idempotency-Key.

Here the caller is authenticated and allowed in and the request is valid, so a kept answer goes to nobody who would not
get a new one, and a key is used up by a handler that runs, not by a request that is refused before.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import Context, ContextVar
from datetime import timedelta
from typing import Any

from anyio import from_thread
from starlette.responses import Response
from starlette.types import Scope

from app_kernel.core.errors import KernelError, RequestInProgress
from app_kernel.core.kernel import Kernel
from app_kernel.idempotency.answers import Vault, asks_to_try_again
from app_kernel.idempotency.claims import BEAT, Claim, Wanted, break_claim, claim_key, renew_claim, settle_claim
from app_kernel.idempotency.requests import describe, identify
from app_kernel.logs import get_logger

LARGE = 1024 * 1024
"""A body from which on it is hashed in a thread, in bytes: hashing takes 1 to 2 ms for each MB."""

_log = get_logger("app_kernel.idempotency")


class NotCommitted(Exception):
    """What the handler did was taken back at the last moment; its cause is what the caller gets to know."""


class _TakenBack(Exception):
    """Ends a transaction without a commit."""


class Gate:
    """One request on its way through its handler."""

    def __init__(
        self, kernel: Kernel, vault: Vault, scope: Scope, key: bytes, body: bytes, *, one_commit: bool
    ) -> None:
        self._db = kernel.db.connection()
        self._vault = vault
        self._scope = scope
        self._key = key
        self._body = body
        self.one_commit = one_commit
        """Whether the handler's work and its kept answer are one transaction."""
        self._keep = timedelta(hours=kernel.config.idempotency_hours)
        self._reached = False
        self._claim: Claim | None = None
        self._settled = False
        self._transaction: AbstractAsyncContextManager[Any] | None = None
        self._beat: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the handler was let in for the only time and it is not noted yet what became of it."""
        return self._claim is not None and not self._settled

    @property
    def in_transaction(self) -> bool:
        """Whether what the handler does now is committed together with its answer."""
        return self._transaction is not None

    async def run(self, handler: Callable[..., Any], values: Mapping[str, Any]) -> Any:
        """What the handler returns, or the kept answer of the request that had the key before."""
        kept = await self._let_in()
        if kept is not None:
            return kept
        try:
            result = await handler(**values)
        except BaseException:
            await self._take_back()
            raise
        if self.in_transaction and _is_stream(result):
            # It is sent from another task, which has no part in the transaction, and after the handler's work.
            taken_back = asks_to_try_again(result.status_code, result.raw_headers)
            await (self.break_off() if taken_back else self.settle(result.status_code, [], None))
        return result

    def run_in_thread(self, handler: Callable[..., Any], values: Mapping[str, Any]) -> Any:
        """The same for a plain function, in a thread of FastAPI's."""
        kept = from_thread.run(self._let_in)
        return handler(**values) if kept is None else kept

    async def settle(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes | None) -> None:
        """Keeps the answer, or with `body` None only that there was one, and commits.

        Raises NotCommitted, and then nothing of the handler's work is left.
        """
        if self._claim is None:
            return
        answer = None if body is None else self._vault.seal(status, headers, body)
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            await self._commit(transaction, self._claim, answer)
            self._settled = True
            return
        self._settled = True
        await self._end_beat()
        try:
            await settle_claim(self._db, self._claim, answer)
        except KernelError as exc:
            # The work is done and the caller may know it; a repeat will be told that the outcome is unknown.
            _log.error("idempotency_answer_lost", error=type(exc).__name__, exc_info=exc)

    async def break_off(self) -> None:
        """Takes back what can be taken back, and notes that the request broke off."""
        await self._take_back()
        await self._end_beat()
        if self._claim is None or self._settled:
            return
        self._settled = True
        try:
            await break_claim(self._db, self._claim)
        except KernelError as exc:  # the claim runs out, which says the same some seconds later
            _log.warning("idempotency_claim_left", error=type(exc).__name__)

    async def abandon(self) -> None:
        """Ends what belongs to a task that is being cancelled; the claim runs out by itself."""
        await self._take_back()
        await self._end_beat()

    async def _let_in(self) -> Response | None:
        owner_and_key = None if self._reached else identify(self._scope, self._key)
        self._reached = True
        if owner_and_key is None:
            return None
        prints = self._vault.fingerprints(await self._describe())
        found = await claim_key(self._db, Wanted(owner_and_key, prints, self.one_commit, self._keep))
        if isinstance(found, str):
            return self._vault.open(found)
        self._claim = found
        if self.one_commit:
            transaction = self._db.transaction()
            await transaction.__aenter__()
            self._transaction = transaction
        else:
            # A context of its own: it must not join a transaction of the handler's.
            self._beat = asyncio.get_running_loop().create_task(self._renew(found), context=Context())
        return None

    async def _describe(self) -> bytes:
        """What the request is. Only here, as it costs time, which nobody may take who was not let in."""
        body, self._body = self._body, b""
        if len(body) < LARGE:
            return describe(self._scope, body)
        return await asyncio.to_thread(describe, self._scope, body)

    async def _commit(self, transaction: AbstractAsyncContextManager[Any], claim: Claim, answer: str | None) -> None:
        try:
            if not await settle_claim(self._db, claim, answer):
                raise RequestInProgress  # another one has taken the claim over and answers for it
        except BaseException as exc:
            await roll_back(transaction)
            if isinstance(exc, Exception):
                raise NotCommitted from exc
            raise
        try:
            await transaction.__aexit__(None, None, None)
        except Exception as exc:
            raise NotCommitted from exc

    async def _take_back(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            await roll_back(transaction)

    async def _renew(self, claim: Claim) -> None:
        while True:
            await asyncio.sleep(BEAT)
            try:
                await renew_claim(self._db, claim)
            except KernelError as exc:  # the next beat may come through in time
                _log.warning("idempotency_beat_failed", error=type(exc).__name__)

    async def _end_beat(self) -> None:
        beat, self._beat = self._beat, None
        if beat is not None:
            beat.cancel()
            await asyncio.wait((beat,))


def _is_stream(result: Any) -> bool:
    return isinstance(result, Response) and not isinstance(getattr(result, "body", None), bytes)


async def roll_back(transaction: AbstractAsyncContextManager[Any]) -> None:
    """Ends a transaction that was entered, and takes everything in it back."""
    taken_back = _TakenBack()
    await transaction.__aexit__(_TakenBack, taken_back, None)


_gate: ContextVar[Gate | None] = ContextVar("app_kernel_idempotency", default=None)


def current_gate() -> Gate | None:
    """The gate of the running request, where it has an Idempotency-Key."""
    return _gate.get()


def enter_gate(gate: Gate | None) -> None:
    """Makes a gate the one of the running request; None when it is over."""
    _gate.set(gate)
