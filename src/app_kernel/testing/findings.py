"""What a proof has found, and what everybody was answered."""

import re
from dataclasses import dataclass, field

from app_kernel.testing.callers import CALLERS
from app_kernel.testing.routes import ServiceRoute

_CROSSES = frozenset({"leak", "changed", "told"})
"""Kinds of findings that one workspace has reached into another one, or learned of it."""
_ADVICE = (
    "Read and write what belongs to a workspace through db.in_workspace(member.workspace_id): it reaches no row of"
    " another one, and what is not there is a 404."
)
_VARIES = re.compile(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\bworkspace [AB]\b")


@dataclass(slots=True)
class Finding:
    """One thing that should not be."""

    kind: str
    """undeclared, leak, changed, told (that something exists), open, failed or never exercised."""
    text: str
    route: str = ""
    examples: list[str] = field(default_factory=list)
    """What was sent: one request for each place that what is foreign stood in, `place: request`."""
    callers: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"[{self.kind}]", self.route, self.text]
        if self.callers:
            parts.append(f"(as {', '.join(self.callers)})")
        text = " ".join(part for part in parts if part)
        return "\n      ".join((text, *self.examples))

    @property
    def gist(self) -> str:
        """The text without what differs from request to request."""
        return _VARIES.sub("*", self.text.partition(":")[0])

    @property
    def places(self) -> set[str]:
        """Where in its requests something foreign stood."""
        return {example.partition(":")[0] for example in self.examples}


@dataclass(slots=True)
class IsolationReport:
    """The outcome of a proof."""

    findings: list[Finding] = field(default_factory=list)
    matrix: dict[str, dict[str, int]] = field(default_factory=dict)
    """By route and caller the status of the answer to a request about workspace A."""
    policies: dict[str, str] = field(default_factory=dict)
    """By route who may call it."""
    requests: int = 0
    """How many were sent."""
    doubts: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, finding: Finding, caller: str) -> None:
        """Notes a finding; the same one of several callers, or with what is foreign in several places, is one."""
        for known in self.findings:
            same = (known.kind, known.route) == (finding.kind, finding.route)
            if same and (known.gist == finding.gist or finding.places <= known.places):
                if caller not in known.callers:
                    known.callers.append(caller)
                if not finding.places <= known.places:
                    known.examples += finding.examples
                return
        finding.callers.append(caller)
        self.findings.append(finding)

    def note(self, route: ServiceRoute, caller: str, status: int) -> None:
        """Notes what somebody was answered."""
        self.matrix.setdefault(route.name, {})[caller] = status
        self.policies[route.name] = route.policy or "?"

    def text(self) -> str:
        """All findings, one after another, and what to do about those that cross from one workspace to another."""
        number = f"{len(self.findings)} finding{'s' if len(self.findings) > 1 else ''}"
        lines = [f"{number} about the isolation of workspaces:", *(f"  - {finding}" for finding in self.findings)]
        if any(finding.kind in _CROSSES for finding in self.findings):
            lines.append(_ADVICE)
        return "\n".join(lines)

    def has(self, kind: str, route: str) -> bool:
        """Whether something of this kind was found of a route."""
        return any((finding.kind, finding.route) == (kind, route) for finding in self.findings)

    def table(self) -> str:
        """The access matrix: a line for each route, with its policy and the outcome for everybody.

        `ok` is any answer of 2xx or 3xx, everything else the status itself.
        """
        lines = []
        for route in sorted(self.matrix, key=lambda name: (name.split(" ")[1], name)):
            row = self.matrix[route]
            cells = [f"{name}={_outcome(row[name])}" for name in CALLERS if name in row]
            lines.append(f"{route} [{self.policies[route]}] {' '.join(cells)}")
        return "\n".join((*lines, ""))


def _outcome(status: int) -> str:
    return "ok" if 200 <= status < 400 else str(status)
