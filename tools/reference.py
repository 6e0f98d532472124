"""Writes docs/reference/{settings,errors,events,metrics,commands,routes}.md from the code: `python -m tools.reference`.

tests/test_docs.py fails while a page differs from the code.
"""

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic.fields import FieldInfo

from app_kernel import ServiceConfig, create_service
from app_kernel.cli import app as cli_app
from app_kernel.core import errors, events
from app_kernel.core.config import environment_name
from app_kernel.core.identity import OptionalUser
from app_kernel.core.route_walk import SeenRoute, walk_routes
from app_kernel.metrics import ServiceFigures

PAGES = Path(__file__).parent.parent / "docs" / "reference"
_NOTE = "<!-- Written by `python -m tools.reference`; do not edit. -->\n"
_NOT_BUILT: set[str] = set()


def render_settings() -> str:
    """Every field of ServiceConfig."""
    rows = (_setting(name, field) for name, field in ServiceConfig.model_fields.items())
    return _page(
        "Settings",
        "`ServiceConfig(...)` takes these as keywords and reads no environment; `ServiceConfig.from_env()` reads the"
        " variables, and a file `.env` for those that are not set. `DATABASE_URL` may name the database instead of"
        " `DATABASE_PATH` and wins over it and over the parts of a server's address; `DATABASE_NAME` is another name of"
        " `DATABASE_PATH`. Lists are separated by commas, objects are JSON."
        " Everything that is wrong is"
        " reported in one message when the service starts.",
        _table(("setting", "variable", "default", "meaning"), rows),
    )


def _setting(name: str, field: FieldInfo) -> tuple[str, ...]:
    default = "" if field.default in (None, [], {}) else f"`{field.default}`"
    return (f"`{name}`", f"`{environment_name(name, field)}`", default, f"{field.description}")


def render_errors() -> str:
    """Every error of the kernel."""
    rows = (
        (
            f"`{error.__name__}`",
            str(error.status) if error.status != 500 else "",
            f"`{error.__mro__[1].__name__}`",
            _first(error),
        )
        for error in _kernel_errors()
    )
    return _page(
        "Errors",
        "All are in `app_kernel.core.errors` and derive from `KernelError`. Over HTTP they become"
        " `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) with"
        " `status`, `title`, `detail`"
        " and `request_id`; one without a status in this table is a 500, whose cause is in the log only.",
        _table(("error", "status", "is a", "meaning"), rows),
    )


def _kernel_errors() -> Iterator[type[errors.KernelError]]:
    for _, member in inspect.getmembers(errors, inspect.isclass):
        if issubclass(member, errors.KernelError) and member is not errors.KernelError:
            yield member


def render_events() -> str:
    """Every event that a feature may listen to."""
    parts = []
    for name, event in inspect.getmembers(events, dataclasses.is_dataclass):
        fields = ", ".join(f"`{field.name}`" for field in dataclasses.fields(event))
        parts.append(f"## {name}\n\n{_paragraphs(event)}\n\nFields: {fields}.\n")
    return _page(
        "Events",
        "A feature hears of an event after the fact, of `UserRegistered`, `UserDeleted` and `OwnershipProven` inside"
        " the transaction, so that what it writes is part of the same commit:"
        " `Feature(name=..., listeners={UserRegistered: on_registered})`, where"
        " `on_registered(kernel, event)` is plain or async. A listener that fails is logged and"
        " counted, and harms nobody. `SecurityEvent` is told once the change is committed, and never if it is rolled"
        " back; async listeners of it run in a task then. `Feature(event_recorders={SecurityEvent: record})`, where"
        " `record(kernel, event)` gives outbox messages, sends them in the change's own commit; where it raises, the"
        " change is refused. What tells of a refusal alone (`auth.login_failed`, `auth.login_throttled`,"
        " `auth.csrf_refused`, `oauth.refused`, `api_key.refused`) is told at once and recorded in a commit of its own,"
        " 30 of a kind from one address and 1000 by one process in a minute at most.",
        "\n".join(parts),
    )


def render_metrics() -> str:
    """Every metric that /metrics shows."""
    rows = [_metric(collector) for collector in metric_collectors()]
    introduction = (
        "`GET /metrics` gives these in the text format of Prometheus. In production it answers the bearer of"
        " `metrics_token` and admins alone; elsewhere everybody while no token is set. With `uvicorn --workers N` they"
        " are those of all workers, whichever answers; a process of its own shows `process_*` and `python_info` of"
        " prometheus_client besides. A histogram has `_bucket`, `_sum` and `_count`. Counters begin anew with the"
        " server. A gauge is `NaN` while what it tells of does not answer. What to watch is in"
        " [operations](../operations.md)."
    )
    return _page("Metrics", introduction, _table(("metric", "type", "unit", "labels", "meaning"), rows))


def metric_collectors() -> list[Any]:
    """What makes the metrics of a service, in their order; without those of prometheus_client itself."""
    registry: Any = ServiceFigures().registry
    return [each for each in registry._collector_to_names if hasattr(each, "_labelnames")]  # noqa: SLF001 - nothing public tells the labels


def _metric(collector: Any) -> tuple[str, ...]:
    (family,) = collector.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    unit = next((unit for unit in ("seconds", "bytes") if family.name.endswith(unit)), "")
    labels = ", ".join(f"`{label}`" for label in collector._labelnames)  # noqa: SLF001 - as above
    return f"`{name}`", family.type, unit, labels, family.documentation


def render_commands() -> str:
    """Every command of `app-kernel`."""
    command = typer.main.get_command(cli_app)
    parts: list[str] = []
    _describe_command("app-kernel", command, parts)
    return _page("Commands", "`app-kernel` reads the settings as the service does.", "\n".join(parts))


def _describe_command(path: str, command: Any, parts: list[str]) -> None:
    children = getattr(command, "commands", {})
    for name in sorted(children):
        _describe_command(f"{path} {name}", children[name], parts)
    if children:
        return
    parts.append(f"## {path}\n\n{textwrap.dedent(command.help or '').strip()}\n")
    rows = []
    for parameter in command.params:
        if parameter.name == "help":
            continue
        names = ", ".join(f"`{option}`" for option in parameter.opts) if parameter.opts else f"`{parameter.name}`"
        rows.append((names, " ".join((getattr(parameter, "help", "") or "").split())))
    if rows:
        parts.append(_table(("argument", "meaning"), rows) + "\n")


def render_routes() -> str:
    """Every route of the kernel."""
    service = _sample_service()
    optional = {
        (method, seen.path)
        for seen in walk_routes(service.routes)
        if _asks_nobody(seen)
        for method in seen.methods or ()
    }
    rows = [
        (
            f"`{method.upper()} {path}`",
            operation.get("summary", ""),
            "yes" if operation.get("security") and (method.upper(), path) not in optional else "",
        )
        for path, operations in service.openapi()["paths"].items()
        for method, operation in operations.items()
    ]
    rows += [
        ("`GET /healthz`", "Alive", ""),
        ("`GET /readyz`", "Ready", ""),
        ("`GET /metrics`", "Metrics", "in production"),
    ]
    return _page(
        "Routes",
        "What the kernel adds to your own routes. `api_prefix` goes before all but `/healthz`,"
        " `/readyz` and `/metrics`. Those of workspaces, invites and"
        " `/auth/me/workspace` come with `saas_enabled` or `create_saas_router()`, and `/webhooks` is for workspaces."
        " With `oauth_providers` come those of [sign-in elsewhere](../howto/sign-in-with.md),"
        " with `debug` the page of [mails](../howto/send-mail.md). `GET /auth/verify-email` and"
        " `GET /auth/reset-password` are the service's own pages for mailed links.",
        _table(("route", "what it does", "signed in"), sorted(set(rows))),
    )


def _asks_nobody(route: SeenRoute) -> bool:
    """Whether it takes a user, and answers others too."""
    dependant = getattr(route.original_route, "dependant", None)
    return dependant is not None and any(isinstance(each.call, OptionalUser) for each in dependant.dependencies)


def _sample_service() -> Any:
    config = ServiceConfig(jwt_secret="x" * 40, database_name=":memory:", saas_enabled=True)
    return create_service(name="reference", config=config)


RENDERERS: dict[str, Callable[[], str]] = {
    "settings.md": render_settings,
    "errors.md": render_errors,
    "events.md": render_events,
    "metrics.md": render_metrics,
    "commands.md": render_commands,
    "routes.md": render_routes,
}


def _page(title: str, introduction: str, body: str) -> str:
    return f"# {title}\n\n{_NOTE}\n{textwrap.fill(introduction, 120, break_on_hyphens=False)}\n\n{body.rstrip()}\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _first(thing: Any) -> str:
    return re.sub(r"\s+", " ", (inspect.getdoc(thing) or "").split("\n\n")[0])


def _paragraphs(thing: Any) -> str:
    return inspect.getdoc(thing) or ""


def main() -> None:
    """Writes every page."""
    for name, render in RENDERERS.items():
        (PAGES / name).write_text(render())


if __name__ == "__main__":
    main()
