"""docs/reference/errors.md: every error of the kernel."""

import inspect
from collections.abc import Iterator

from app_kernel.core import errors
from tools.reference.page import first, page, table


def render_errors() -> str:
    """Every error of the kernel."""
    rows = (
        (
            f"`{error.__name__}`",
            str(error.status) if error.status != 500 else "",
            f"`{error.__mro__[1].__name__}`",
            _meaning(error),
        )
        for error in _kernel_errors()
    )
    return page(
        "Errors",
        "All are in `app_kernel.core.errors` and derive from `KernelError`. Over HTTP they become"
        " `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) with"
        " `status`, `title`, `detail` and `request_id`; one without a status in this table is a 500, whose cause is in"
        " the log only. `error.message` is the sentence of `detail`: it says what is wrong with what value, and never"
        " shows SQL, a path or a secret.",
        table(("error", "status", "is a", "meaning"), rows),
    )


def _kernel_errors() -> Iterator[type[errors.KernelError]]:
    for _, member in inspect.getmembers(errors, inspect.isclass):
        if issubclass(member, errors.KernelError) and member is not errors.KernelError:
            yield member


def _meaning(error: type[errors.KernelError]) -> str:
    carried = [name for name in inspect.signature(error.__init__).parameters if name not in ("self", "message")]
    known = [f"`{name}`" for name in carried if name not in ("args", "kwargs")]
    return first(error) + (f" It has {' and '.join(known)}." if known else "")
