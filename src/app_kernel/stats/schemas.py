"""What the route of request figures answers."""

from pydantic import BaseModel, Field

from app_kernel.core.model_docs import SOME_ID, SOME_INSTANT, TRACE_ID, example


class RouteStats(BaseModel):
    """The requests of one method and route template."""

    model_config = example(
        method="GET",
        route="/widgets/{id}",
        count=4521,
        errors=2,
        client_errors=17,
        error_rate=0.0004,
        mean_ms=3.4,
        p50_ms=2.9,
        p95_ms=8.1,
        p99_ms=21.5,
        slowest_ms=310.2,
        slowest_request_id=SOME_ID,
        slowest_trace_id=TRACE_ID,
        slowest_at=SOME_INSTANT,
    )

    method: str
    route: str = Field(description="The route's template; `(unmatched)` of requests that no route matched.")
    count: int
    errors: int = Field(description="Answered with 500 and above.")
    client_errors: int = Field(description="Answered with 400 to 499.")
    error_rate: float = Field(description="`errors` by `count`.")
    mean_ms: float
    p50_ms: float = Field(description="Half of the requests were not slower; at most 5 % off, as p95 and p99 are.")
    p95_ms: float
    p99_ms: float
    slowest_ms: float
    slowest_request_id: str | None
    slowest_trace_id: str | None
    slowest_at: str | None
