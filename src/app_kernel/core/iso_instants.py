"""Instants in requests: ISO 8601 text, and no number, which pydantic would take for seconds since 1970."""

import re
from datetime import datetime
from typing import Any

from pydantic import BeforeValidator

_begins_with_date = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").match


def _only_iso(value: Any) -> Any:
    if value is None or isinstance(value, datetime) or (isinstance(value, str) and _begins_with_date(value)):
        return value
    raise ValueError("must be an instant such as 2026-01-31T12:00:00Z")


ISO_ONLY = BeforeValidator(_only_iso)
"""For `Annotated[AwareDatetime, ISO_ONLY]`."""
