"""One run of schemathesis over a service in this process: every check, every operation, then paths through several."""

import re
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from fastapi import FastAPI
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events
from schemathesis.engine.recorder import ScenarioRecorder
from schemathesis.python import asgi

from tests.fuzzing.full_service import PASSWORD, PATIENCE, FullService

REFUSED = ["400", "401", "403", "404", "405", "406", "409", "413", "414", "415", "422", "428", "429", "431"]
"""How data that violates the schema is turned away. A query may be too long before it is looked at."""
ACCEPTED = ["2xx", "3xx", "401", "403", "404", "409", "429"]
"""What may become of data that the schema allows."""

BEYOND_THE_SCHEMA: dict[str, tuple[str, str]] = {
    "no workspace is chosen, or it was deleted meanwhile": ("400", r"(/webhooks|/own/lists)(/.*)?"),
    "takes a token or code that only a mail or a provider gives": (
        "400",
        r"/auth/(token|reset-password|verify-email|oauth/.*)",
    ),
    "control characters; a common password; an address that only looks like one; 24.0 where only 24 is an integer": (
        "422",
        r"(/auth|/workspaces|/api-keys|/flags|/webhooks|/admin/webhooks)(/.*)?",
    ),
    "a cursor is one that a page ended with, and an instant is not before the year 1": ("422", r".*/audit-logs(/.*)?"),
    "a day such as February the 30th": ("422", r".*/usage(/.*)?"),
    "a NUL in a text, which databases do not store": ("422", r"/widgets"),
}
"""Why a request that the schema allows may be refused all the same: the status, and the paths."""

PATHS_PER_EXAMPLE = 5
"""Each path leads through a few operations of some hundred."""

ABOUT_OTHERS = ("/workspaces/{workspace_id}/transfer", "/auth/me/workspace")
"""Paths whose 404 may be about what the body names, though what the path names was just created."""

NO_NULL = "/own/files"
"""A form of several parts has no null: it is sent as a part, which is a file."""

OVERLAPPING = ("/flags/check", "/flags/unused", "/auth/oauth/accounts", "/auth/oauth/exchange")
"""Paths that a template takes too (/flags/{name}), so that `Allow` names its methods, which the document has there."""


@dataclass
class Outcome:
    """What came of a run."""

    calls: Counter[str] = field(default_factory=Counter)
    """Requests by phase."""
    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    """How each operation was answered."""
    failures: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    """By check and operation: what was wrong, and a request to see it with."""
    errors: list[str] = field(default_factory=list)
    """What kept operations from being tested."""

    def text(self) -> str:
        """Every kind of failure once."""
        found = [f"{check}: {operation}: {texts[0]}" for (check, operation), texts in sorted(self.failures.items())]
        return "\n\n".join([*self.errors, *found])


@contextmanager
def running(app: FastAPI) -> Iterator[None]:
    """Ends what runs in schemathesis's thread, whose loop the application lives in."""
    try:
        yield
    finally:
        asgi.shutdown_lifespans()


def fuzz(
    app: FastAPI, *, examples: int, coverage: bool = True, caller: "Caller | None" = None, paths: str = ""
) -> Outcome:
    """Goes through the document of an application, or the paths that match, with so many examples an operation."""
    schema = schemathesis.openapi.from_asgi(
        "/openapi.json", app, config=_config(app, examples, coverage, caller, paths)
    )
    if caller is not None:
        schema.auth(refresh_interval=100_000, retry_on=[401])(_provider(caller))
    outcome = Outcome()
    for event in engine.from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _note(outcome, event.phase.name, event.recorder)
        elif isinstance(event, events.NonFatalError):
            outcome.errors.append(f"{event.label}: {''.join(traceback.format_exception(event.value))[-3000:]}")
        elif isinstance(event, events.FatalError):
            raise event.exception
    return outcome


class Caller:
    """Somebody with a role, who signs in again when their session has ended, and as somebody new when they are gone."""

    def __init__(self, service: FullService, role: str) -> None:
        self._service = service
        self._role = role
        self._email: str | None = None

    def token(self) -> str:
        with asgi.get_client(self._service.app) as client:
            for _ in range(2):
                if self._email is None:
                    self._email = self._service.make_account(self._role)
                answer = client.post("/auth/login", json={"email": self._email, "password": PASSWORD}, timeout=PATIENCE)
                if answer.status_code == 200:
                    token: str = answer.json()["access_token"]
                    return token
                self._email = None
        raise AssertionError(f"nobody can sign in: {answer.status_code} {answer.text}")


def _provider(caller: Caller) -> type:
    class Provider:
        def get(self, case: schemathesis.Case, context: schemathesis.AuthContext) -> str:
            return caller.token()

        def set(self, case: schemathesis.Case, data: str, context: schemathesis.AuthContext) -> None:
            case.headers["Authorization"] = f"Bearer {data}"

    return Provider


def _config(app: FastAPI, examples: int, coverage: bool, caller: Caller | None, paths: str) -> SchemathesisConfig:
    return SchemathesisConfig.from_dict(
        {
            "seed": 20_260_131,
            "continue-on-failure": True,
            "request-timeout": PATIENCE,
            # What an earlier run has learned would make this one another.
            "cache": {"enabled": False},
            "suppress-health-check": ["all"],
            "generation": {
                "max-examples": examples,
                "deterministic": True,
                "database": "none",
                "no-shrink": True,
                # A second credential beside that of the caller would be refused; `ignored_auth` makes up its own.
                "with-security-parameters": caller is None,
            },
            "phases": {
                "coverage": {"enabled": coverage},
                "stateful": {"generation": {"max-examples": PATHS_PER_EXAMPLE * examples}},
            },
            # It would read what modules this process happens to have loaded, and so make other data each time.
            "analysis": {"constants": {"enabled": False}},
            "checks": {
                "negative_data_rejection": {"expected-statuses": REFUSED},
                "positive_data_acceptance": {"expected-statuses": ACCEPTED},
            },
            "operations": list(_operations(app.openapi()["paths"], paths)),
            "output": {"sanitization": {"enabled": False}},
        }
    )


def _operations(paths: Mapping[str, Mapping[str, Any]], wanted: str) -> Iterator[Mapping[str, Any]]:
    """What is expected of single operations. Of several entries for one, schemathesis would take the first alone."""
    for path, operations in paths.items():
        statuses = {status for status, pattern in BEYOND_THE_SCHEMA.values() if re.fullmatch(pattern, path)}
        checks: dict[str, Any] = {"positive_data_acceptance": {"expected-statuses": [*ACCEPTED, *sorted(statuses)]}}
        if path in OVERLAPPING:
            checks["allow_header_conformance"] = {"enabled": False}
        if path == NO_NULL:
            checks["negative_data_rejection"] = {"enabled": False}
        if path in ABOUT_OTHERS:
            checks["ensure_resource_availability"] = {"enabled": False}
        for method in operations:
            is_wanted = re.match(wanted, path) is not None
            yield {"include-name": f"{method.upper()} {path}", "enabled": is_wanted, "checks": checks}


def _note(outcome: Outcome, phase: str, recorder: ScenarioRecorder) -> None:
    for id, interaction in recorder.interactions.items():
        outcome.calls[phase] += 1
        if interaction.response is not None:
            outcome.statuses[recorder.cases[id].value.operation.label][interaction.response.status_code] += 1
    for id, checks in recorder.checks.items():
        label = recorder.cases[id].value.operation.label
        for each in checks:
            if each.failure_info is not None:
                told = f"{each.failure_info.failure}\n{each.failure_info.code_sample}"
                outcome.failures[each.name, label].append(told)
