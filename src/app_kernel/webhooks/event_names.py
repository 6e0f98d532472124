"""What events are called, and which of them a webhook listens to."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from app_kernel.core.errors import InvalidWebhook

LONGEST_NAME = 191
MOST_PATTERNS = 100

_NAME = r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*"
_is_name = re.compile(_NAME).fullmatch
_is_pattern = re.compile(rf"\*|{_NAME}(?:\.\*)?").fullmatch


def check_event_name(name: Any) -> str:
    """A name such as `deployment.succeeded`; raises InvalidWebhook for anything else."""
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not _is_name(name):
        raise InvalidWebhook(
            f"An event is named by words of A-Z a-z 0-9 _ - joined by dots, such as deployment.succeeded, of at most"
            f" {LONGEST_NAME} characters."
        )
    return name


def check_patterns(patterns: Any) -> list[str]:
    """What a webhook listens to, each once; raises InvalidWebhook.

    A pattern is the name of an event, one with `.*` in the place of its last words, or `*` for all events.
    """
    if not isinstance(patterns, list | tuple | set | frozenset) or not 0 < len(patterns) <= MOST_PATTERNS:
        raise InvalidWebhook(f"events is a list of 1 to {MOST_PATTERNS} names or patterns, such as deployment.*")
    for pattern in patterns:
        if not isinstance(pattern, str) or len(pattern) > LONGEST_NAME or not _is_pattern(pattern):
            raise InvalidWebhook(
                f"{str(pattern)[:100]!r} is no event; write a name such as deployment.succeeded, deployment.* or *"
            )
    return list(dict.fromkeys(sorted(patterns) if isinstance(patterns, set | frozenset) else patterns))


def listens(patterns: Sequence[str], name: str) -> bool:
    """Whether an event is one of those that the patterns name. `deployment.*` does not name `deployment` itself."""
    return any(
        pattern in {"*", name} or (pattern[-2:] == ".*" and name.startswith(pattern[:-1])) for pattern in patterns
    )


def find_entity_problems(entities: Iterable[str]) -> list[str]:
    """What is wrong with the setting `webhook_entity_events`, one sentence each."""
    return [
        f"webhook_entity_events (WEBHOOK_ENTITY_EVENTS): {entity!r} is no name of an entity; write names, or * for all"
        for entity in entities
        if entity != "*" and (not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", entity) or entity.startswith("kernel_"))
    ]
