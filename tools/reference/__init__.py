"""Writes the generated pages of docs/reference from the code: `python -m tools.reference`.

tests/test_docs.py fails while a page differs from the code.
"""

from collections.abc import Callable

from tools.reference.commands import render_commands
from tools.reference.errors import render_errors
from tools.reference.events import render_events
from tools.reference.metrics import metric_collectors, render_metrics
from tools.reference.page import PAGES
from tools.reference.python_api import PUBLIC_MODULES, render_python
from tools.reference.routes import render_routes
from tools.reference.settings import render_settings

__all__ = ["PAGES", "PUBLIC_MODULES", "RENDERERS", "metric_collectors", "write"]

RENDERERS: dict[str, Callable[[], str]] = {
    "settings.md": render_settings,
    "errors.md": render_errors,
    "events.md": render_events,
    "metrics.md": render_metrics,
    "commands.md": render_commands,
    "routes.md": render_routes,
    "python.md": render_python,
}


def write() -> None:
    """Writes every page."""
    for name, render in RENDERERS.items():
        (PAGES / name).write_text(render())
