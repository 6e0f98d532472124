"""What a proof has found, and what everybody was answered."""

from dataclasses import dataclass, field

from app_kernel.testing.callers import CALLERS
from app_kernel.testing.routes import ServiceRoute


@dataclass(slots=True)
class Finding:
    """One thing that should not be."""

    kind: str
    """undeclared, leak, changed, told (that something exists), open, failed or never exercised."""
    text: str
    route: str = ""
    example: str = ""
    """What was sent."""
    callers: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"[{self.kind}]", self.route, self.text]
        if self.callers:
            parts.append(f"(as {', '.join(self.callers)})")
        text = " ".join(part for part in parts if part)
        return f"{text}\n      {self.example}" if self.example else text


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
        """Notes a finding; the same one of several callers is one."""
        for known in self.findings:
            same = (known.kind, known.route) == (finding.kind, finding.route)
            if same and known.example.partition(":")[0] == finding.example.partition(":")[0]:
                if caller not in known.callers:
                    known.callers.append(caller)
                return
        finding.callers.append(caller)
        self.findings.append(finding)

    def note(self, route: ServiceRoute, caller: str, status: int) -> None:
        """Notes what somebody was answered."""
        self.matrix.setdefault(route.name, {})[caller] = status
        self.policies[route.name] = route.policy or "?"

    def text(self) -> str:
        """All findings, one after another."""
        lines = [f"{len(self.findings)} findings about the isolation of workspaces:"]
        return "\n".join((*lines, *(f"  - {finding}" for finding in self.findings)))

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
