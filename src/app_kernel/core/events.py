"""What happens in process: an event is a frozen value, a listener hears of it after the fact."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


# One is made for every request, and freezing it would cost more than making it.
@dataclass(slots=True)
class RequestFinished:
    """A request was answered, or its connection was lost."""

    method: str
    route: str
    """The route's template, such as /widgets/{id}; empty when no route matched."""
    path: str
    status: int
    """The status sent; 499 when the client left before the answer began."""
    duration: float
    """Seconds from the first byte of the request to the last byte of the answer."""
    user_id: str | None
    request_id: str
    workspace_id: str | None = None
    """The workspace that the request was made in, as a route has verified it."""
    api_key_id: str | None = None
    """The API key that it came with, once a route has accepted it."""
    traceparent: str | None = None
    """The trace that it was a part of (W3C Trace Context); None for one that has none."""
    error: str | None = None
    """The type of the exception that it failed of, where that is the service's fault."""


@dataclass(frozen=True, slots=True)
class EntityChanged:
    """One change of one entity, as recorders see it inside its transaction."""

    entity: str
    id: str | int
    version: int
    """From 1; each change counts one up."""
    action: str
    """create, update, delete, restore or purge."""
    before: Mapping[str, Any] | None
    """The whole row before the change; None when there was none."""
    after: Mapping[str, Any] | None
    """The whole row after the change; None when it is gone."""
    at: str
    """When, as UTC ISO 8601 text."""
    actor_id: str | None
    comment: str | None
    request_id: str | None
    address: str | None
    """The client's address."""
    workspace_id: str | None
    api_key_id: str | None = None
    """The API key that the request came with."""
    job_id: str | None = None
    """The job that made the change."""
    command: str | None = None
    """The command of a terminal that made the change."""
    traceparent: str | None = None

    @property
    def changes(self) -> dict[str, list[Any]]:
        """What differs, as field to [old, new], without the fields that every change moves."""
        return changed_fields(self.before, self.after)


def changed_fields(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> dict[str, list[Any]]:
    """What differs between two states of a row, as field to [old, new], without what every change moves.

    None is a state in which there is no row; a field that one of them lacks is None in it.
    """
    old, new = before or {}, after or {}
    return {
        name: [old.get(name), new.get(name)]
        for name in dict.fromkeys((*old, *new))
        if name not in _MOVED_BY_EVERY_CHANGE and old.get(name) != new.get(name)
    }


_MOVED_BY_EVERY_CHANGE = frozenset({"updated_at", "updated_by", "_version"})


@dataclass(frozen=True, slots=True)
class UserRegistered:
    """An account is being made, by sign-up, by an administrator or by code.

    What a listener writes is part of the same commit, and one that raises refuses it. The commit may still fail, so
    mail and the like belong into a job, which is enqueued with it.
    """

    user_id: str
    email: str
    role: str


@dataclass(frozen=True, slots=True)
class UserDeleted:
    """An account is being deleted.

    What a listener writes is part of the same commit, and one that raises refuses it.
    """

    user_id: str
    email: str


@dataclass(frozen=True, slots=True)
class OwnershipProven:
    """Who reads mail at an account's address has shown it for the first time, and need not be who made the account.

    Other ways in that were attached to it before are no longer to be trusted; what a listener writes is part of the
    same commit.
    """

    user_id: str


PART_OF_THE_COMMIT = (UserRegistered, UserDeleted, OwnershipProven)
"""Events of which listeners are a part of what happens: when one fails, it does not happen."""


@dataclass(frozen=True, slots=True)
class SecurityEvent:
    """Something a security log must show: who did what, from where, and whether it worked.

    `name` is one of auth.login, auth.login_failed, auth.login_throttled, auth.logout, auth.logout_all,
    auth.password_changed, auth.password_reset_requested, auth.password_reset, auth.email_verified, auth.email_changed,
    auth.refresh_reused, auth.registered, auth.role_changed, auth.deactivated, auth.activated, auth.deleted,
    auth.csrf_refused, oauth.linked, oauth.unlinked, oauth.refused, api_key.created, api_key.rotated, api_key.revoked,
    api_key.refused, workspace.created, workspace.deleted, workspace.restored, workspace.joined, workspace.left,
    workspace.member_removed, workspace.role_changed, workspace.ownership_transferred, workspace.invited,
    workspace.invite_cancelled, workspace.selected (the user works in it, or in none, from now on), webhook.created,
    webhook.changed, webhook.deleted, webhook.secret_rotated, webhook.disabled, webhook.enabled, flag.changed,
    flag.deleted.
    """

    name: str
    user_id: str | None
    """Whose account it is about; None when there is none."""
    address: str | None
    """The client's address."""
    detail: Mapping[str, Any]
    actor_id: str | None = None
    """Who did it, as far as they were signed in: the user themselves, or an admin."""


AFTER_THE_COMMIT = (SecurityEvent,)
"""Events that tell of a change: emitted inside its transaction they are recorded with it, and listeners hear of them
once it is committed."""

REFUSALS = frozenset(
    {"api_key.refused", "auth.csrf_refused", "auth.login_failed", "auth.login_throttled", "oauth.refused"}
)
"""Names of the security events that tell of no change: listeners hear of each at once, whatever becomes of an open
transaction. They are recorded apart from it, as many as one address and one minute have a share of; where that cannot
be done, the refusal stands."""


@dataclass(frozen=True, slots=True)
class RequestLimited:
    """A request was refused, as its caller's limit was used up."""

    policy: str
    """default (of a user), anonymous, auth, route for a route with a limit of its own, or keys for wrong API keys."""


@dataclass(frozen=True, slots=True)
class HitCountedLocally:
    """A hit was counted by this process alone, as Redis, which all processes share, did not answer."""


@dataclass(frozen=True, slots=True)
class WebhookAttempted:
    """A webhook was sent to its receiver, or that was tried."""

    outcome: str
    """delivered, failed (it is tried again), dead (it is not) or refused (an address that nothing is sent to)."""
    attempt: int
    duration: float
    """Seconds from the first byte sent to the answer."""


@dataclass(frozen=True, slots=True)
class CachesUsed:
    """What the caches of this process did since it was last told, about once a second."""

    counts: Mapping[tuple[str, str, str], int]
    """How often, by operation, outcome and backend (redis, memory or none).

    get: hit, miss or error (bytes that are no cached value); set: done, late (taken away while it was computed),
    too_large or error; delete: done; outage: error.
    """
    entries: int
    """Values in the memory of this process."""


@dataclass(frozen=True, slots=True)
class MessagesCarried:
    """The relay took messages of one topic out of the outbox, or tried to."""

    topic: str
    sent: int = 0
    """Arrived: committed by their sink, or in the Redis stream."""
    failed: int = 0
    """Refused by their sink, this time."""
    dead: int = 0
    """Of those, the ones that became dead letters."""
    interrupted: bool = False
    """Whether the receiver was away, so that all of them are tried again."""


@dataclass(frozen=True, slots=True)
class JobFinished:
    """An attempt of a background job came to its end, in the process that ran it."""

    task_name: str
    queue_name: str
    job_id: str
    outcome: str
    """completed, retried, dead, cancelled, released (handed back at a shutdown) or lost (another worker has it)."""
    attempt: int
    waited: float
    """Seconds from when it was due to its start."""
    ran: float
    """Seconds from its start to its end."""
    user_id: str | None = None
    """On whose behalf."""
    workspace_id: str | None = None
    request_id: str | None = None
    """The request that enqueued the job."""
    traceparent: str | None = None
    """The trace that it was a part of (W3C Trace Context)."""
    error: str | None = None
    """The type of the exception that the attempt failed of."""
    trace: Any = None
    """What of it was traced (`core.tracing.Trace`); None where it was not."""
