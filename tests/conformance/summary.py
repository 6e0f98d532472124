"""One line for each backend at the end of a run, so that backends can be seen to have passed the same cases.

Counts come from the reports, which also reach the process that prints when pytest-xdist runs the tests in others.
"""

from collections import Counter
from typing import Any

import pytest

PROPERTY = "conformance"
_printed = pytest.StashKey[bool]()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.stash.get(_printed, False):
        return
    config.stash[_printed] = True
    for backend, cases in sorted(count(terminalreporter.stats.get("passed", ())).items()):
        terminalreporter.write_line(f"conformance: {backend} {cases} cases")


def count(reports: Any) -> Counter[str]:
    """Passed cases by backend."""
    return Counter(
        value
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == PROPERTY
    )
