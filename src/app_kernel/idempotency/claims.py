"""Who may carry out a request: the first one claims its key, everybody else is told how that stands.

A claim is held for some seconds and renewed while its handler runs, so that the death of a process is noticed. It is
settled by its token only: whoever lost it, for instance while the process was stopped, settles nothing.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app_kernel.core import clock
from app_kernel.core.errors import (
    AnswerNotKept,
    IdempotencyKeyReused,
    OutcomeUnknown,
    RequestInProgress,
    StoreError,
    VersionConflict,
)
from app_kernel.core.ports import EntityStore
from app_kernel.idempotency import store
from app_kernel.logs import get_logger

Row = dict[str, Any]

LEASE = timedelta(seconds=15)
"""How long a claim lives without being renewed: longer than a transaction may be open."""
BEAT = 5.0
"""Seconds between two renewals."""

CLAIMED, DONE, UNKNOWN, FREE = "claimed", "done", "unknown", "free"
_ATTEMPTS = 5

_log = get_logger("app_kernel.idempotency")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request that wants to be carried out once."""

    id: str
    """The hash of its key and of whose that is."""
    fingerprints: Sequence[str]
    """What the request is; the first one is kept, any of them is recognised."""
    one_commit: bool
    """Whether its work and its answer are kept by one transaction."""
    keep: timedelta
    """How long the answer is kept."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to carry out a request."""

    id: str
    token: str
    one_commit: bool
    keep: timedelta


async def claim_key(db: EntityStore, wanted: Wanted) -> Claim | str:
    """Claims the key, or gives the kept answer of the request that had it.

    Raises IdempotencyKeyReused, RequestInProgress, OutcomeUnknown or AnswerNotKept.
    """
    for _ in range(_ATTEMPTS):
        row = await store.find_key(db, wanted.id)
        if row is not None and not _is_free(row, wanted):
            return _kept_answer(row)
        claim = Claim(wanted.id, secrets.token_hex(16), wanted.one_commit, wanted.keep)
        values = _claimed(claim, wanted)
        try:
            if row is None:
                await store.insert_key(db, wanted.id, values)
                await _prune(db)
            else:
                await store.change_key(db, row, values)
        except VersionConflict:
            continue
        return claim
    raise RequestInProgress


async def renew_claim(db: EntityStore, claim: Claim) -> None:
    """Keeps a claim for some more seconds."""
    await _change(db, claim, lambda now: {"lease_until": now + LEASE, "expires_at": now + claim.keep + LEASE})


async def settle_claim(db: EntityStore, claim: Claim, answer: str | None) -> bool:
    """Notes that the request was carried out, and its answer where that is kept; False when the claim was lost."""
    return await _change(db, claim, lambda now: {"state": DONE, "answer": answer, "expires_at": now + claim.keep})


async def break_claim(db: EntityStore, claim: Claim) -> None:
    """Notes that the request broke off: it may be carried out anew where nothing of it is left, else nobody knows."""
    if claim.one_commit:
        await _change(db, claim, lambda now: {"state": FREE, "expires_at": now})
    else:
        await _change(db, claim, lambda now: {"state": UNKNOWN, "expires_at": now + claim.keep})


def _claimed(claim: Claim, wanted: Wanted) -> dict[str, Any]:
    now = clock.now()
    return {
        "state": CLAIMED,
        "token": claim.token,
        "fingerprint": wanted.fingerprints[0],
        "one_commit": claim.one_commit,
        "lease_until": now + LEASE,
        "expires_at": now + claim.keep + LEASE,
        "answer": None,
    }


def _is_free(row: Row, wanted: Wanted) -> bool:
    """Whether the key may be claimed as if it were new; raises IdempotencyKeyReused."""
    now: datetime = clock.now()
    if row["state"] == FREE or row["expires_at"] <= now:
        return True
    if row["fingerprint"] not in wanted.fingerprints:
        raise IdempotencyKeyReused
    # Its process is gone, or will find its claim lost before it commits: nothing of it is left.
    return bool(row["state"] == CLAIMED and row["one_commit"] and row["lease_until"] <= now)


def _kept_answer(row: Row) -> str:
    if row["state"] == CLAIMED and row["lease_until"] > clock.now():
        raise RequestInProgress
    if row["state"] != DONE:
        raise OutcomeUnknown
    if row["answer"] is None:
        raise AnswerNotKept
    return str(row["answer"])


async def _change(db: EntityStore, claim: Claim, values: Any) -> bool:
    for _ in range(_ATTEMPTS):
        row = await store.find_key(db, claim.id)
        if row is None or row["token"] != claim.token or row["state"] != CLAIMED:
            return False
        changes: Mapping[str, Any] = values(clock.now())
        try:
            await store.change_key(db, row, changes)
        except VersionConflict:
            continue
        return True
    return False


async def _prune(db: EntityStore) -> None:
    try:
        await store.prune_keys(db, clock.now())
    except StoreError as exc:  # somebody else prunes the same rows; what is left goes with the next key
        _log.debug("idempotency_prune_failed", error=type(exc).__name__)
