"""The pages on jobs say what the code says: each option, limit, setting, metric and log line that asks for somebody."""

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from app_kernel import ServiceConfig
from app_kernel.core import errors
from app_kernel.core.config import environment_name
from app_kernel.core.jobs import DEAD_TTL, EnqueueResult, JobFigures, JobView, Status, Task
from app_kernel.jobs import JobClient, JobContext, JobRegistry, context, payload, registry, upkeep, worker
from app_kernel.jobs.queues import base
from app_kernel.metrics import ServiceFigures
from app_kernel.testing import ServiceTestJobs

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
HOWTO = (DOCS / "howto" / "jobs.md").read_text()
WORKERS = (DOCS / "howto" / "deploy-workers.md").read_text()
REFERENCE = (DOCS / "reference" / "jobs.md").read_text()
DISCUSSION = (DOCS / "discussions" / "jobs.md").read_text()
LEVELS = {"warning", "error", "critical", "exception", "log"}


def told() -> Iterator[str]:
    """Every event of the jobs that is logged as a warning or worse."""
    for path in sorted((ROOT / "src" / "app_kernel" / "jobs").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS):
                continue
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "_log":
                yield from (
                    each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)
                )


def code(text: str) -> set[str]:
    """What stands in a page as code: whole spans, and each name in them."""
    spans = re.findall(r"`([^`\n]+)`", text)
    return {name for span in spans for name in (span, *re.findall(r"\w+", span))}


def public(thing: type) -> set[str]:
    return {name for name in vars(thing) if not name.startswith("_")}


def test_every_log_line_that_asks_for_somebody_is_explained() -> None:
    events = set(told())
    assert {"job_failed", "job_rescued", "job_queue_away"} <= events
    explained = set(re.findall(r"^\| `(\w+)` \| (?:warning|error) \|", WORKERS, re.MULTILINE))
    assert explained == events


def test_every_setting_of_workers_is_explained() -> None:
    settings = [name for name in ServiceConfig.model_fields if name.startswith("worker_") or name == "embedded_worker"]
    assert len(settings) >= 4
    missing = [name for name in settings if environment_name(name, ServiceConfig.model_fields[name]) not in WORKERS]
    assert missing == []
    assert [name for name in settings if name not in code(REFERENCE)] == []


def test_every_metric_of_jobs_is_explained() -> None:
    families = {family.name: family.type for family in ServiceFigures().registry.collect()}
    names = [f"{name}_total" if families[name] == "counter" else name for name in families if "_job" in name]
    assert len(names) >= 7
    assert [name for name in names if name not in code(WORKERS)] == []


def test_every_option_of_the_worker_is_explained() -> None:
    options = [f"--{name.replace('_', '-')}" for name in inspect.signature(worker.command).parameters]
    assert "--tasks" in options
    assert [option for option in options if f"`{option}`" not in WORKERS] == []


def test_the_guide_has_every_option_of_a_task_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `?([\w.-]+)`? \|", HOWTO, re.MULTILINE))
    for option in dataclasses.fields(Task):
        if option.name in ("handler", "cron", "timezone"):
            continue
        shown = rows[option.name]
        assert shown == option.default or float(shown) == option.default, option.name
    assert "| `cron`, `timezone` | none, `UTC` |" in HOWTO


def test_the_guide_has_every_option_of_a_job() -> None:
    options = [name for name in inspect.signature(JobClient.enqueue).parameters if name not in ("self", "name")]
    assert len(options) >= 12
    assert [name for name in options if name not in code(HOWTO)] == []


@pytest.mark.parametrize(
    "names",
    [
        public(JobRegistry),
        public(JobClient) - {"attach", "backend", "add"},
        set(inspect.signature(JobClient.enqueue).parameters) - {"self"},
        {field.name for shown in (JobView, EnqueueResult, JobFigures, Task) for field in dataclasses.fields(shown)},
        {name for name in JobContext.__slots__ if not name.startswith("_")} - {"latest"},
        public(JobContext) - {"latest"},
        set(get_args(Status)),
        public(ServiceTestJobs),
        {name for name, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, errors.JobError)}
        - {"JobError"},
    ],
    ids=["registry", "client", "enqueue", "fields", "context", "methods", "statuses", "testing", "errors"],
)
def test_the_reference_names_everything(names: set[str]) -> None:
    assert names
    assert sorted(names - code(REFERENCE)) == []


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        (payload.LONGEST_BODY, "{:,} bytes"),
        (payload.DEEPEST, "nested {} deep"),
        (registry.HIGHEST_PRIORITY, "-{0} to {0}"),
        (registry.LONGEST_NAME, "1 to {} of `A-Z"),
        (registry.MOST_ATTEMPTS, "| 1 to {} |"),
        (int(registry.LONGEST_TIMEOUT) // 86400, "above 0, to {} days"),
        (context.LONGEST_TEXT, "{} characters |"),
        (base.LONGEST_ERROR, "{:,} characters"),
        (int(DEAD_TTL) // 86400, "| dead and cancelled jobs are kept | {} days |"),
        (int(upkeep.BEAT_SECONDS), "every {} seconds"),
        (upkeep.LOOKS, "stood still in {} looks"),
    ],
)
def test_the_limits_are_those_of_the_code(limit: Any, shown: str) -> None:
    assert shown.format(limit) in DISCUSSION
