"""What every error of the kernel is, and those that concern the service as a whole."""

from collections.abc import Sequence
from typing import ClassVar


class KernelError(Exception):
    """Something the kernel refuses or cannot do; the message says what to do about it."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal Server Error"
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or " ".join((type(self).__doc__ or "").split()))

    @property
    def message(self) -> str:
        """The sentence for the caller: never SQL, a file path or a secret."""
        return str(self.args[0])


class ConfigurationError(KernelError, SystemExit):
    """The service cannot start with these settings.

    It is a SystemExit too, so that a server or script which lets it through prints the one message
    and exits with status 1, instead of a traceback whose source lines may show a secret.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        text = f"app_kernel cannot start, {len(self.problems)} problem(s) in its configuration:\n{lines}"
        super().__init__(text)
        self.code = text


class NoRunningKernel(KernelError):
    """No kernel is running here: the service's lifespan has not started.

    In a script, call it while the service runs: `async with app.router.lifespan_context(app):`; for rows alone,
    `app_kernel.db.connect(url)` is enough. A sub-application that is mounted into another one does not get its own
    lifespan run; start the outer application with `create_service()` or run the inner one's lifespan yourself.
    """


class AmbiguousKernel(KernelError):
    """Several kernels run in this process and no request or job says which one is meant."""


class ResponseAborted(KernelError):
    """The answer broke off after its first byte, so the connection is closed; the cause is in the log."""


class ServerBusy(KernelError):
    """The server is busy; try again in a moment."""

    status = 503
    title = "Service Unavailable"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class SealBroken(KernelError):
    """What was sealed cannot be opened: it was altered, is too old, or its key is gone."""
