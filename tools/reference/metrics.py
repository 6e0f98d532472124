"""docs/reference/metrics.md: every metric that /metrics shows."""

from typing import Any

from app_kernel.metrics import ServiceFigures
from tools.reference.page import page, table


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
    return page("Metrics", introduction, table(("metric", "type", "unit", "labels", "meaning"), rows))


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
