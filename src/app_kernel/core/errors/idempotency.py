"""Why a request with an Idempotency-Key gets neither a new nor the stored answer."""

from typing import ClassVar

from app_kernel.core.errors.base import KernelError


class IdempotencyError(KernelError):
    """This Idempotency-Key cannot be used for this request."""


class InvalidIdempotencyKey(IdempotencyError):
    """An Idempotency-Key is 1 to 255 visible ASCII characters, sent once."""

    status = 400
    title = "Bad Request"


class IdempotencyKeyReused(IdempotencyError):
    """This Idempotency-Key was used for another request; use a new key for each request."""

    status = 422
    title = "Unprocessable Content"


class RequestInProgress(IdempotencyError):
    """A request with this Idempotency-Key is under way; try again in a moment."""

    status = 409
    title = "Conflict"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class OutcomeUnknown(IdempotencyError):
    """A request with this Idempotency-Key broke off and nobody knows how far it came: the outcome is unknown.

    Look whether it took effect, then send it again under a new key.
    """

    status = 409
    title = "Conflict"


class AnswerNotKept(IdempotencyError):
    """A request with this Idempotency-Key was carried out, but its answer is not kept, so it cannot be given again.

    Look at what is there; use a new key for another request.
    """

    status = 409
    title = "Conflict"
