"""What routes that receive webhooks depend on."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from starlette.requests import Request

from app_kernel.core.errors import InvalidSignature, InvalidWebhook
from app_kernel.core.policies import makes_dependency
from app_kernel.webhooks.signing import key_of
from app_kernel.webhooks.verification import TOLERANCE, Secrets, WebhookEvent, verify_webhook

SecretsOf: TypeAlias = Callable[[Request], "Secrets | Awaitable[Secrets | None] | None"]
"""The secrets for a request, such as those of the sender that its path names; None for one that nobody knows."""


class WebhookReceiver:
    """A dependency that gives the verified event of a request; made by `require_webhook`."""

    def __init__(self, secrets: Secrets | SecretsOf, tolerance: int) -> None:
        self._secrets = secrets
        self._tolerance = tolerance

    # `request: Request` alone keeps FastAPI from reading, and so consuming, the body as anything else.
    async def __call__(self, request: Request) -> WebhookEvent:
        """The event; raises InvalidSignature (401)."""
        given: Any = self._secrets(request) if callable(self._secrets) else self._secrets
        secrets: Secrets | None = await given if inspect.isawaitable(given) else given
        if not secrets:
            raise InvalidSignature
        return verify_webhook(secrets, request.headers, await request.body(), tolerance=self._tolerance)


@makes_dependency
def require_webhook(secrets: Secrets | SecretsOf, *, tolerance: int = TOLERANCE) -> WebhookReceiver:
    """A dependency that gives the verified WebhookEvent of a request, and answers 401 to what is not signed.

    `secrets` is one secret or several, or a function of the request that gives them, plain or async. Raises
    InvalidWebhook at once for a secret that is none.
    """
    if not callable(secrets):
        secrets = [secrets] if isinstance(secrets, str) else list(secrets or ())
        if not secrets:
            raise InvalidWebhook("require_webhook() needs a secret, `whsec_...`, or a function that finds one.")
        for secret in secrets:
            key_of(secret)
    return WebhookReceiver(secrets, tolerance)
