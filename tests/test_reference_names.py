"""Names in the code and names in the documentation are the same, in both directions: metrics, events, settings.

tests/test_docs.py compares whole pages with what renders them; here what is compared is found in another way, so that a
renderer that leaves something out is found too.
"""

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from app_kernel import ServiceConfig
from app_kernel.core import errors, events
from app_kernel.core.config import environment_name
from app_kernel.webhooks.deliveries import TEST_EVENT
from tests.small_service import serving

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "app_kernel"
REFERENCE = ROOT / "docs" / "reference"
OPERATIONS = ROOT / "docs" / "operations.md"
SECURITY_NAME = re.compile(r"(auth|oauth|api_key|workspace|webhook|flag)\.[a-z_]+")
NO_SECURITY_EVENTS = {"auth.mail_link", TEST_EVENT}
"""The job that mails a link, and what a webhook's test sends."""
METRIC = re.compile(r"\bapp_kernel_[a-z_]+\b")
OF_HISTOGRAMS = ("_bucket", "_sum", "_count")

Difference = tuple[set[str], set[str]]


def differences(real: set[str], documented: set[str]) -> Difference:
    """What is real and not documented, and what is documented and not real."""
    return real - documented, documented - real


def first_column(page: str) -> set[str]:
    """The names in the first column of a page's tables."""
    return set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE))


async def shown_metrics() -> dict[str, str]:
    """Names and types of what a running service with all that can be switched on shows; without the library's own."""
    settings = {"saas_enabled": True, "webhook_entity_events": ["*"], "rate_limit_anonymous": True}
    async with serving(**settings) as client:
        text = (await client.get("/metrics")).text
    found = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    return {name: kind for name, kind in found if name.startswith("app_kernel_") and not name.endswith("_created")}


def metrics_in(text: str) -> set[str]:
    """The metrics that a text names, those of a histogram by the name of the whole."""
    names = set(METRIC.findall(text))
    return {next((name.removesuffix(end) for end in OF_HISTOGRAMS if name.endswith(end)), name) for name in names}


def emitted_security_names() -> set[str]:
    """Every text in the code that looks like the name of a security event."""
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        if path != SOURCE / "core" / "events.py":
            texts = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
            found |= {text for text in texts if isinstance(text, str) and SECURITY_NAME.fullmatch(text)}
    return found - NO_SECURITY_EVENTS


async def test_every_metric_is_in_the_reference_and_the_other_way_round() -> None:
    shown = await shown_metrics()
    assert len(shown) > 40
    assert differences(set(shown), first_column((REFERENCE / "metrics.md").read_text())) == (set(), set())


async def test_every_metric_that_a_page_names_exists() -> None:
    shown = set(await shown_metrics())
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {str(page.relative_to(ROOT)): metrics_in(page.read_text()) - shown for page in pages}
    named["docs/reference/jobs.md"] -= {"app_kernel_job"}  # with which they begin
    # A decision of the past may name what is called otherwise today.
    assert {page: names for page, names in named.items() if names and "/adr/" not in page} == {}


async def test_operations_say_what_every_metric_means_that_tells_of_trouble() -> None:
    shown = await shown_metrics()
    named = metrics_in(OPERATIONS.read_text())
    trouble = {name for name in shown if re.search(r"errors|timeouts|dead|lost|dropped|oldest|stale|fail|wait", name)}
    assert len(trouble) > 8
    assert trouble - named <= {"app_kernel_outbox_failures_total", "app_kernel_job_wait_seconds"}


def reference_metrics() -> dict[str, tuple[str, set[str]]]:
    """Types and labels of metrics, as the reference has them, which is compared with what is shown."""
    page = (REFERENCE / "metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|[^|]*\|([^|]*)\|", page, re.MULTILINE)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def wrong_expressions(text: str) -> list[str]:
    """Expressions that would never be true: of labels or types that a metric has not, or sums of what may not be."""
    metrics, wrong = reference_metrics(), []
    for expression in re.findall(r"expr: (.+)", text):
        if re.search(r"\)\)? [+-] ", expression):
            # Nothing plus something is nothing.
            wrong.append(expression)
        for name, matchers, window in re.findall(r"\b(app_kernel_\w+)(\{[^}]*\})?(\[\w+\])?", expression):
            bare = next((name.removesuffix(end) for end in OF_HISTOGRAMS if name.endswith(end)), name)
            kind, labels = metrics.get(bare if metrics.get(name) is None else name, ("", set()))
            asked = set(re.findall(r"(\w+)(?:=~|!=|!~|=)", matchers))
            asked |= set(", ".join(re.findall(r"by \(([^)]*)\)", expression)).split(", ")) - {"job", "le", ""}
            if not kind or not asked <= labels or bool(window) != (kind != "gauge"):
                wrong.append(expression)
    return wrong


def test_every_alert_asks_for_labels_and_types_that_its_metrics_have() -> None:
    text = OPERATIONS.read_text()
    assert text.count("expr: ") == text.count("alert: ") > 15
    assert wrong_expressions(text) == []
    for expression in (
        "rate(app_kernel_jobs[5m]) > 0", "app_kernel_http_requests_total > 0", 'app_kernel_jobs{state="dead"} > 0',
        "sum by (task) (app_kernel_jobs) > 0", "app_kernel_nothing > 0",
        "sum(rate(app_kernel_http_requests_total[5m])) + sum(rate(app_kernel_job_attempts_total[5m])) > 0",
    ):  # fmt: skip
        assert wrong_expressions(f"expr: {expression}\n"), expression


def test_every_error_that_an_alert_names_exists() -> None:
    named = re.findall(r'error=~"([^"]+)"', OPERATIONS.read_text())
    assert named
    assert [error for each in named for error in each.split("|") if not hasattr(errors, error)] == []


def test_every_event_class_is_in_the_reference_and_the_other_way_round() -> None:
    page = (REFERENCE / "events.md").read_text()
    real = {
        name
        for name, event in inspect.getmembers(events, inspect.isclass)
        if dataclasses.is_dataclass(event) and event.__module__ == events.__name__
    }
    assert len(real) > 10
    assert differences(real, set(re.findall(r"^## (\w+)$", page, re.MULTILINE))) == (set(), set())


@pytest.mark.parametrize("place", ["docstring", "reference"])
def test_every_security_event_is_documented_and_the_other_way_round(place: str) -> None:
    text = {
        "docstring": events.SecurityEvent.__doc__ or "",
        "reference": (REFERENCE / "events.md").read_text().partition("## SecurityEvent")[2].partition("\n## ")[0],
    }[place]
    documented = {found[0] for found in SECURITY_NAME.finditer(text)}
    assert len(documented) > 40
    assert differences(emitted_security_names(), documented) == (set(), set())


def test_every_refusal_is_a_security_event() -> None:
    assert emitted_security_names() >= events.REFUSALS


def test_every_setting_and_its_variable_are_in_the_reference_and_the_other_way_round() -> None:
    page = (REFERENCE / "settings.md").read_text()
    documented = set(re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", page, re.MULTILINE))
    real = {(name, environment_name(name, field)) for name, field in ServiceConfig.model_fields.items()}
    assert (real - documented, documented - real) == (set(), set())


def test_what_is_missing_on_either_side_is_found() -> None:
    page = "| `a_total` | counter |\n| `gone` | gauge |\n"
    assert differences({"a_total", "new"}, first_column(page)) == ({"new"}, {"gone"})
    assert metrics_in("rate(app_kernel_x_seconds_bucket[5m]) of `app_kernel_y_total{a=1}`") == {
        "app_kernel_x_seconds",
        "app_kernel_y_total",
    }
