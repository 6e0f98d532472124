"""The page on limits runs, and names what there is."""

import re
import subprocess
import sys
from pathlib import Path

from app_kernel import ServiceConfig
from app_kernel.metrics import ServiceFigures
from app_kernel.rate_limit import accepted_keys, memory, shared, window

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "howto" / "limit-requests.md").read_text()


def test_the_example_runs() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_setting_and_its_default_is_on_the_page() -> None:
    defaults = dict(re.findall(r"^\| `(rate_limit_\w+)` \| (\S+) \|", PAGE, re.MULTILINE))
    fields = {
        name: field.default for name, field in ServiceConfig.model_fields.items() if name.startswith("rate_limit")
    }
    spelled = {None: "none", True: "on"}
    assert defaults == {name: spelled.get(value, str(value)) for name, value in fields.items()}


def test_every_metric_and_log_line_is_on_the_page() -> None:
    families = [family for family in ServiceFigures().registry.collect() if "rate_limit" in family.name]
    assert len(families) == 2
    assert all(f"`{family.name}_total`" in PAGE for family in families)
    source = (ROOT / "src/app_kernel/rate_limit/limiter.py").read_text()
    events = re.findall(r'_log\.\w+\("(\w+)"', source)
    assert len(events) == 2
    assert all(f"`{event}`" in PAGE for event in events)


def test_the_figures_on_the_page_are_those_of_the_code() -> None:
    assert f"{memory.CAPACITY:,} buckets" in PAGE
    assert f"at most {window.SLOTS + 2:,} entries" in PAGE
    assert f"above {window.SLOTS} " in PAGE
    assert f"longer than {shared.HIT_SECONDS * 1000:.0f} ms" in PAGE
    assert PAGE.count(f"{accepted_keys.REMEMBER:.0f} seconds") >= 3
    assert shared.HIT_SECONDS + shared.TURN_SECONDS * shared.LEAST_TURNS <= 0.05
