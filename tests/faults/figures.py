"""How much the fault tests do: full figures with APP_KERNEL_SOAK=1, small ones otherwise."""

import os
from typing import TypeVar

T = TypeVar("T")

SOAK = os.environ.get("APP_KERNEL_SOAK") == "1"


def figure(*, short: T, long: T) -> T:
    """One of two figures, by the kind of run."""
    return long if SOAK else short
