"""The job that all sides of P6 and P7 run."""

from __future__ import annotations

from typing import Any

NAME = "noop"
TIMEOUT = 60
ATTEMPTS = 3
RESULT_SECONDS = 600
PAD = "x" * 100


def payload(number: int) -> dict[str, Any]:
    """What a job carries."""
    return {"i": number, "pad": PAD}
