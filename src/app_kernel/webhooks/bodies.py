"""The body of an event: made once, when it is triggered, and sent as these bytes at every attempt."""

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import orjson

from app_kernel.core.errors import InvalidWebhook

LARGEST_BODY = 256 * 1024
"""Bytes of one body."""


def make_body(event_id: str, event: str, at: str, workspace_id: str | None, data: Any) -> str:
    """The JSON that receivers get: `type`, `timestamp` and `data` (Standard Webhooks), `id` and `workspace_id`.

    Decimals, dates, UUIDs and enums become text, bytes Base64. Raises InvalidWebhook for what is no JSON, such as NaN
    or a key that is no text, and for more than 256 KB.
    """
    whole = {"type": event, "timestamp": at, "id": event_id, "workspace_id": workspace_id, "data": data}
    try:
        text = _dumps(whole)
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidWebhook(f"The data of a webhook event is JSON; this is not ({type(exc).__name__}).") from None
    if len(text) > LARGEST_BODY // 4 and len(text.encode()) > LARGEST_BODY:
        raise InvalidWebhook(f"A webhook event has at most {LARGEST_BODY} bytes as JSON; send an id instead.")
    return text


def _dumps(value: Any) -> str:
    try:
        text = orjson.dumps(value, default=_as_json).decode()
    except TypeError:
        # Whole numbers beyond 64 bits, which JSON has and orjson does not write; text must be storable in any case.
        _check_values(value)
        text = json.dumps(value, default=_as_json, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    else:
        if "null" in text:
            # orjson writes it for NaN and the infinities too.
            _check_values(value)
    return text


def _check_values(value: Any) -> None:
    """Refuses numbers and keys that JSON does not have, which would arrive as something else."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(value)
    if isinstance(value, Enum):
        _check_values(value.value)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            if not isinstance(key, str):
                raise TypeError(key)
            _check_values(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            _check_values(each)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            _check_values(getattr(value, field.name))


def _as_json(value: Any) -> Any:
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
