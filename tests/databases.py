"""Which databases the suites of features run on.

A test of a feature differs by database in what the conformance suite of the store shows anyway. So on MySQL one flow of
each feature runs every time (those marked `mysql_flow`), and the whole of the suites in the long run alone.
"""

from collections.abc import Iterable, Iterator

import pytest

from tests.faults.figures import SOAK

SUITE = "mysql_suite"
FLOW = "mysql_flow"
DATABASES = ["sqlite", "postgres", pytest.param("mysql", marks=[pytest.mark.mysql_suite, pytest.mark.soak])]
"""Parameters of a fixture that makes a database, or a service on one."""


def left_for_the_long_run(items: Iterable[pytest.Item], expression: str) -> Iterator[pytest.Item]:
    """What stays out of this run; `expression` is that of `-m`, which may ask for the whole: `-m mysql_suite`."""
    if SOAK or SUITE in expression:
        return
    for item in items:
        if item.get_closest_marker(SUITE) and not item.get_closest_marker(FLOW):
            yield item
